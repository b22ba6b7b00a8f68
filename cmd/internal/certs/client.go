package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc/credentials"
)

// Client returns a config for connections to one host, a name or an IP address;
// Options.ServerName takes its place if set. The certificate shown and the
// authorities trusted are those of the moment of each handshake.
func (r *Reloader) Client(host string, protocols ...string) *tls.Config {
	if r.options.ServerName != "" {
		host = r.options.ServerName
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols, ServerName: host,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if shown := r.current.Load().certificate; shown != nil {
				return shown, nil
			}
			return &tls.Certificate{}, nil
		},
		// The library would check against the authorities of this moment, for as
		// long as the config is used. The check below does the same with the current.
		InsecureSkipVerify: true,
		VerifyConnection:   func(state tls.ConnectionState) error { return r.verifyServer(host, state) },
	}
}

// verifyServer does what the library does by default. The host is not taken from
// the connection: there it is missing if it is an IP address.
func (r *Reloader) verifyServer(host string, state tls.ConnectionState) error {
	if host == "" {
		return errors.New("the server's name to check is not known: set the server name")
	}
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range state.PeerCertificates[1:] {
		intermediates.AddCert(certificate)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
		DNSName: host, Intermediates: intermediates, Roots: r.current.Load().authorities,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("the server's certificate is refused: %w", err)
	}
	return nil
}

// ClientGRPC returns credentials for gRPC connections to any host.
func (r *Reloader) ClientGRPC() credentials.TransportCredentials { return clientCredentials{r} }

// clientCredentials make a config for each handshake, so that it knows the host.
type clientCredentials struct{ reloader *Reloader }

func (c clientCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = authority
	}
	return credentials.NewTLS(c.reloader.Client(host)).ClientHandshake(ctx, authority, raw)
}

func (c clientCredentials) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are credentials of clients")
}

func (c clientCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (c clientCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName is not offered: Options.ServerName is for that.
func (c clientCredentials) OverrideServerName(string) error {
	return errors.New("set the server name in the options of the certificates")
}

// DialContext connects and shakes hands: for http.Transport.DialTLSContext and
// for protocols of one's own, which offer none (ALPN).
func (r *Reloader) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return (&tls.Dialer{Config: r.Client(host)}).DialContext(ctx, network, address)
}
