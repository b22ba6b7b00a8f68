package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A chain and a bundle of authorities are some kilobytes.
const fileBytesMax = 1 << 20

// material is what the files held at one moment. It is never changed.
type material struct {
	content content
	// Without a certificate, or without authorities, these are nil.
	certificate *tls.Certificate
	leaf        *x509.Certificate
	authorities *x509.CertPool
}

// content is the bytes of the files; those that are not named are empty.
type content struct{ cert, key, ca []byte }

func (c content) equal(other content) bool {
	return bytes.Equal(c.cert, other.cert) && bytes.Equal(c.key, other.key) && bytes.Equal(c.ca, other.ca)
}

// load reads and checks everything.
func (o Options) load(now time.Time) (*material, error) {
	if err := o.shape(); err != nil {
		return nil, err
	}
	read, err := o.read()
	if err != nil {
		return nil, err
	}
	return o.parse(read, now)
}

// read returns the files as they are together. Whoever replaces them one by one,
// or swaps a folder's symlink in the middle, is given the time to finish: they
// are read until two readings agree.
func (o Options) read() (content, error) {
	const readingsMax = 5
	last, err := o.readOnce()
	for range readingsMax {
		again, errAgain := o.readOnce()
		if err == nil && errAgain == nil && again.equal(last) {
			return again, nil
		}
		if err != nil && errAgain != nil {
			return content{}, errAgain
		}
		last, err = again, errAgain
	}
	return content{}, errors.Join(err, errors.New("the certificate files change faster than they can be read"))
}

func (o Options) readOnce() (content, error) {
	var read content
	return read, errors.Join(
		readFile("certificate", o.CertFile, &read.cert),
		readFile("key", o.KeyFile, &read.key),
		readFile("CA", o.CAFile, &read.ca),
	)
}

func readFile(what, path string, into *[]byte) error {
	if path == "" {
		return nil
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("%s cannot be read: %w: check that the path is right and that this user may read it", what, err)
	}
	defer file.Close()
	read, err := io.ReadAll(io.LimitReader(file, fileBytesMax+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s cannot be read: %w", what, err)
	case len(read) > fileBytesMax:
		return fmt.Errorf("%s %s has more than %d bytes: it is no PEM file of certificates", what, path, fileBytesMax)
	}
	*into = read
	return nil
}

// parse checks what was read and reports every fault.
func (o Options) parse(read content, now time.Time) (*material, error) {
	m := &material{content: read}
	return m, errors.Join(o.parsePair(m, now), o.parseAuthorities(m, now))
}

func (o Options) parsePair(m *material, now time.Time) error {
	if o.CertFile == "" {
		return nil
	}
	pair, err := tls.X509KeyPair(m.content.cert, m.content.key)
	if err != nil {
		return o.explainPair(m.content, err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return fmt.Errorf("certificate %s: %w", o.CertFile, err)
	}
	pair.Leaf = leaf
	m.certificate, m.leaf = &pair, leaf
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("certificate %s expired at %s: renew it", o.CertFile, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("certificate %s is not valid before %s: check this machine's clock, or wait", o.CertFile, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// explainPair says which of the two files is at fault.
func (o Options) explainPair(read content, err error) error {
	certificate, _ := pem.Decode(read.cert)
	key, _ := pem.Decode(read.key)
	switch {
	case certificate == nil:
		return fmt.Errorf("certificate %s holds no PEM block: want -----BEGIN CERTIFICATE-----", o.CertFile)
	case key == nil:
		return fmt.Errorf("key %s holds no PEM block: want -----BEGIN PRIVATE KEY-----", o.KeyFile)
	case key.Type == "ENCRYPTED PRIVATE KEY" || key.Headers["DEK-Info"] != "":
		return fmt.Errorf("key %s is encrypted: decrypt it (openssl pkey -in … -out …), nobody can type its password", o.KeyFile)
	}
	return fmt.Errorf("certificate %s and key %s are no pair: %w: name the key that the certificate was made for, leaf certificate first", o.CertFile, o.KeyFile, err)
}

// parseAuthorities takes every certificate of the file. One that has expired is
// no fault as long as another has not: bundles carry old ones along.
func (o Options) parseAuthorities(m *material, now time.Time) error {
	if o.CAFile == "" {
		return nil
	}
	pool, usable, expired := x509.NewCertPool(), 0, time.Time{}
	rest := m.content.ca
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("CA %s holds a %.60q: want certificates only", o.CAFile, block.Type)
		}
		authority, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("CA %s: %w: replace the file", o.CAFile, err)
		}
		if now.After(authority.NotAfter) {
			expired = authority.NotAfter
			continue
		}
		pool.AddCert(authority)
		usable++
	}
	switch {
	case usable > 0:
		m.authorities = pool
		return nil
	case !expired.IsZero():
		return fmt.Errorf("CA %s expired at %s: renew it", o.CAFile, expired.UTC().Format(time.RFC3339))
	}
	return fmt.Errorf("CA %s holds no certificate: want -----BEGIN CERTIFICATE-----", o.CAFile)
}
