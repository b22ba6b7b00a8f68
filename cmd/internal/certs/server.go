package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/credentials"
)

// ClientCert says what a port wants of its clients.
type ClientCert int

const (
	// AsConfigured follows Options.RequireClientCert.
	AsConfigured ClientCert = iota
	// IfGiven accepts clients without a certificate: ports that a kubelet or a
	// scraper calls.
	IfGiven
	// Required refuses clients without a certificate, whatever the options say:
	// Raft between nodes.
	Required
)

// Port describes how one port differs from the others. The zero value fits the
// gRPC API.
type Port struct {
	ClientCert ClientCert
	// Protocols are offered to clients (ALPN); "h2" and "http/1.1" for HTTP, none
	// for Raft. GRPC adds its own.
	Protocols []string
	// Peer, unless nil, is asked about each client's certificate after it was
	// found to be good; an error refuses the connection. It is not asked about
	// clients without one. Called concurrently.
	Peer func(*x509.Certificate) error
}

// Server returns a config for a listener. Certificate and authorities are those
// of the moment of each handshake. It fails if there is no certificate, or none
// for servers.
func (r *Reloader) Server(port Port) (*tls.Config, error) {
	now := r.current.Load()
	switch {
	case now.certificate == nil:
		return nil, errors.New("a TLS port needs a certificate: name files of a certificate and a key")
	case !usableFor(now.leaf, x509.ExtKeyUsageServerAuth):
		return nil, fmt.Errorf("certificate %s is not for servers: issue it with the extended key usage serverAuth", r.options.CertFile)
	case port.ClientCert == Required && now.authorities == nil:
		return nil, errors.New("the port requires client certificates but no CA could have issued them: name the CA's file")
	}
	base := r.serverNow(port)
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.serverNow(port), nil }
	return base, nil
}

// GRPC returns credentials for a gRPC server.
func (r *Reloader) GRPC(port Port) (credentials.TransportCredentials, error) {
	config, err := r.Server(port)
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(config), nil
}

func (r *Reloader) serverNow(port Port) *tls.Config {
	now := r.current.Load()
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: port.Protocols,
		Certificates: []tls.Certificate{*now.certificate},
		// A resumed session would carry an identity over a change of the
		// authorities. Connections are few and long: full handshakes cost nothing.
		SessionTicketsDisabled: true,
	}
	if now.authorities != nil {
		config.ClientCAs = now.authorities
		config.ClientAuth = tls.VerifyClientCertIfGiven
		if port.ClientCert == Required || port.ClientCert == AsConfigured && r.options.RequireClientCert {
			config.ClientAuth = tls.RequireAndVerifyClientCert
		}
	}
	if port.Peer != nil {
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.VerifiedChains) == 0 {
				return nil // allowed by ClientAuth
			}
			return port.Peer(state.VerifiedChains[0][0])
		}
	}
	return config
}

// usableFor tells whether a certificate may be used so: without any usage it may
// be used for all.
func usableFor(leaf *x509.Certificate, usage x509.ExtKeyUsage) bool {
	return len(leaf.ExtKeyUsage) == 0 && len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(leaf.ExtKeyUsage, usage) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// keepsUsages refuses a certificate that peers would not take for all that they took
// the one before for.
func keepsUsages(before, next *x509.Certificate) error {
	for usage, name := range map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "serverAuth", x509.ExtKeyUsageClientAuth: "clientAuth"} {
		if before != nil && next != nil && usableFor(before, usage) && !usableFor(next, usage) {
			return fmt.Errorf("the new certificate may not be used for %s, as the one in use may: renew it with the same extended key usages", name)
		}
	}
	return nil
}
