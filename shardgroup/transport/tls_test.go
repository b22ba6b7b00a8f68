package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// authority issues certificates for 127.0.0.1.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pool        *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{key: newKey(t), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.certificate, _ = a.sign(t, template, template, a.key)
	a.pool.AddCert(a.certificate)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(t testing.TB, template, parent *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, []byte) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, der
}

func (a *authority) issue(t testing.TB, name string) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	_, der := a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.certificate, key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// rotating is what TLS configurations that are read again look like.
type rotating struct {
	server, client atomic.Pointer[tls.Certificate]
	// Names of the certificates that callers showed.
	callers chan string
}

// mutual returns options for a node with one certificate, and its handle.
func (a *authority) mutual(certificate *tls.Certificate) (Options, *rotating) {
	r := &rotating{callers: make(chan string, 100)}
	r.server.Store(certificate)
	r.client.Store(certificate)
	return Options{
		ServerTLS: &tls.Config{
			MinVersion: tls.VersionTLS13,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				return &tls.Config{
					MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*r.server.Load()},
					ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool,
					VerifyConnection: func(state tls.ConnectionState) error {
						select {
						case r.callers <- state.PeerCertificates[0].Subject.CommonName:
						default:
						}
						return nil
					},
				}, nil
			},
		},
		ClientTLS: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: a.pool,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return r.client.Load(), nil },
		},
	}, r
}

// shows returns the name of the certificate that the listener shows.
func (l *link) shows() string {
	return l.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestCertificatesRotate(t *testing.T) {
	ca := newAuthority(t)
	optionsA, handleA := ca.mutual(ca.issue(t, "a, old"))
	optionsB, handleB := ca.mutual(ca.issue(t, "b, old"))
	a, b := startPeer(t, peerOptions{Options: optionsA}), startPeer(t, peerOptions{Options: optionsB})
	old := a.messageLink(t, b.address)
	if shown, called := old.shows(), receive(t, handleB.callers); shown != "b, old" || called != "a, old" {
		t.Fatalf("%s called %s", called, shown)
	}

	newA, newB := ca.issue(t, "a, new"), ca.issue(t, "b, new")
	handleA.client.Store(newA)
	handleB.server.Store(newB)
	renewed := a.messageLink(t, b.address)
	if shown, called := renewed.shows(), receive(t, handleB.callers); shown != "b, new" || called != "a, new" {
		t.Errorf("after the rotation %s called %s", called, shown)
	}
	for i, l := range []*link{old, renewed} {
		if err := l.SendMessageBatch(batchOf(uint64(i+1), 3*pieceBytes)); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, b.batches); got.Requests[0].ShardID != uint64(i+1) {
			t.Errorf("got %d", got.Requests[0].ShardID)
		}
	}
	// An ordinary end is not told.
	old.Close()
	renewed.Close()
	eventually(t, "no connections", func() bool { return b.value(t, "connections", "in") == 0 })
	if b.logs.Len() != 0 {
		t.Errorf("told: %v", b.logs.All())
	}
}

func TestSnapshotOverTLS(t *testing.T) {
	ca := newAuthority(t)
	options, _ := ca.mutual(ca.issue(t, "node"))
	a, b := startPeer(t, peerOptions{Options: options}), startPeer(t, peerOptions{Options: options})
	l := a.snapshotLink(t, b.address)
	for _, chunk := range chunksOf(3) {
		if err := l.SendChunk(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.chunks) != 3 {
		t.Errorf("%d chunks arrived", len(b.chunks))
	}
}

func TestTLSIsRequired(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	options, _ := ca.mutual(ca.issue(t, "node"))
	strange, _ := other.mutual(other.issue(t, "stranger"))
	trusting, _ := ca.mutual(other.issue(t, "stranger"))
	without := options
	without.ClientTLS = &tls.Config{RootCAs: ca.pool}
	elsewhere := options
	elsewhere.ClientTLS = options.ClientTLS.Clone()
	elsewhere.ClientTLS.ServerName = "elsewhere.example"
	for name, c := range map[string]struct {
		caller, listener Options
		reason           string // why the listener refuses, if it is the listener
		says             string // to the caller
		logged           string
	}{
		"without certificate":   {without, options, "tls", "certificate required", "TLS failed"},
		"of another authority":  {trusting, options, "tls", "certificate", "TLS failed"},
		"to another authority":  {strange, options, "tls", "unknown authority", "TLS failed"},
		"under another name":    {elsewhere, options, "tls", "elsewhere.example", "TLS failed"},
		"plain to TLS":          {Options{}, options, "tls", "one side only uses TLS", "TLS failed"},
		"TLS to plain":          {options, Options{}, "hello", "TLS failed", "it speaks TLS"},
		"nothing wrong":         {options, options, "", "", ""},
		"nothing wrong, no TLS": {Options{}, Options{}, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := startPeer(t, peerOptions{Options: c.caller}), startPeer(t, peerOptions{Options: c.listener})
			l, err := a.connect(t.Context(), b.address, messageKind)
			if c.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				l.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %s", err, c.says)
			}
			b.logged(t, c.logged)
			if got := b.value(t, "refused_connections_total", c.reason); got != 1 {
				t.Errorf("counted %v", got)
			}
		})
	}
}

func TestValidateTLS(t *testing.T) {
	for want, options := range map[string]Options{
		"only one side":      {ServerTLS: &tls.Config{Certificates: make([]tls.Certificate, 1)}},
		"has no certificate": {ServerTLS: &tls.Config{}, ClientTLS: &tls.Config{}},
	} {
		if err := options.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A configuration for each host is asked for with the target's host, and decides.
func TestTLSForEachHost(t *testing.T) {
	ca := newAuthority(t)
	options, _ := ca.mutual(ca.issue(t, "node"))
	b := startPeer(t, peerOptions{Options: options})
	hosts := make(chan string, 10)
	template, name := options.ClientTLS, "127.0.0.1"
	options.ClientTLS = nil
	options.ClientTLSFor = func(host string) *tls.Config {
		hosts <- host
		config := template.Clone()
		config.ServerName = name
		return config
	}
	a := startPeer(t, peerOptions{Options: options})
	if shown := a.messageLink(t, b.address).shows(); shown != "node" {
		t.Errorf("reached %s", shown)
	}
	if host := receive(t, hosts); host != "127.0.0.1" {
		t.Errorf("asked for %q", host)
	}
	name = "elsewhere.example"
	if _, err := a.GetConnection(t.Context(), b.address); err == nil {
		t.Error("took a certificate for another host")
	}
}
