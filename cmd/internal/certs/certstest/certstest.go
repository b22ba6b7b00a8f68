// Package certstest makes authorities and certificates for tests. Nothing but
// tests may use it: its keys are made in a hurry and never protected.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is an authority that lives in memory.
type CA struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	// PEM is the authority's certificate.
	PEM []byte
}

// Leaf says what a certificate is to hold. The zero value is valid for an hour,
// for 127.0.0.1, ::1 and localhost, for servers and for clients.
type Leaf struct {
	CommonName string
	// OrganizationalUnits may name roles: skerry:read.
	OrganizationalUnits []string
	// DNSNames and IPs replace the default names if either is set.
	DNSNames []string
	IPs      []net.IP
	// NotBefore and NotAfter default to an hour ago and an hour from now.
	NotBefore, NotAfter time.Time
	// Usages default to both.
	Usages []x509.ExtKeyUsage
}

// Pair is a certificate and its key, as PEM.
type Pair struct{ Cert, Key []byte }

// NewCA makes an authority, valid for a day.
func NewCA(t testing.TB) *CA {
	t.Helper()
	return NewCAUntil(t, time.Now().Add(24*time.Hour))
}

// NewCAUntil makes an authority that ends at a time, which may have passed.
func NewCAUntil(t testing.TB, notAfter time.Time) *CA {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: notAfter.Add(-48 * time.Hour), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	certificate, err := x509.ParseCertificate(der)
	must(t, err)
	return &CA{certificate: certificate, key: key, PEM: encode("CERTIFICATE", der)}
}

// Issue makes a certificate.
func (ca *CA) Issue(t testing.TB, leaf Leaf) Pair {
	t.Helper()
	if leaf.NotBefore.IsZero() {
		leaf.NotBefore = time.Now().Add(-time.Hour)
	}
	if leaf.NotAfter.IsZero() {
		leaf.NotAfter = time.Now().Add(time.Hour)
	}
	if leaf.DNSNames == nil && leaf.IPs == nil {
		leaf.DNSNames, leaf.IPs = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	if leaf.Usages == nil {
		leaf.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial(t), Subject: pkix.Name{CommonName: leaf.CommonName, OrganizationalUnit: leaf.OrganizationalUnits},
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, DNSNames: leaf.DNSNames, IPAddresses: leaf.IPs,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: leaf.Usages,
	}, ca.certificate, &key.PublicKey, ca.key)
	must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return Pair{encode("CERTIFICATE", der), encode("PRIVATE KEY", keyDER)}
}

// TLS returns the pair for a tls.Config.
func (p Pair) TLS(t testing.TB) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(p.Cert, p.Key)
	must(t, err)
	return pair
}

// Leaf returns the certificate, parsed.
func (p Pair) Leaf(t testing.TB) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(p.Cert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	return leaf
}

// Pool returns a pool with the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.certificate)
	return pool
}

// Files are the paths of a folder with a certificate, its key and an authority.
type Files struct{ Cert, Key, CA string }

// Write puts a pair and an authority into a folder, each file by a rename. What
// is nil stays as it is.
func Write(t testing.TB, dir string, pair Pair, ca []byte) Files {
	t.Helper()
	files := Files{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "ca.crt")}
	replace(t, files.Cert, pair.Cert)
	replace(t, files.Key, pair.Key)
	replace(t, files.CA, ca)
	return files
}

func replace(t testing.TB, path string, content []byte) {
	t.Helper()
	if content == nil {
		return
	}
	must(t, os.WriteFile(path+".new", content, 0o600))
	must(t, os.Rename(path+".new", path))
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

func serial(t testing.TB) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	must(t, err)
	return n
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
