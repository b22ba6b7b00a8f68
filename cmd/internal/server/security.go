package server

import (
	"crypto/tls"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/skerrydb/skerry/cmd/internal/certs"
	"github.com/skerrydb/skerry/cmd/internal/config"
)

// security is how connections and callers are checked.
type security struct {
	certs *certs.Reloader // nil without TLS
}

func openSecurity(settings config.Server, log *zap.Logger, metrics prometheus.Registerer) (security, error) {
	var s security
	if !settings.TLS.Enabled() {
		return s, nil
	}
	var err error
	s.certs, err = certs.Open(certs.Options{
		CertFile: settings.TLS.CertFile, KeyFile: settings.TLS.KeyFile, CAFile: settings.TLS.CAFile,
		RequireClientCert: settings.TLS.RequireClientCert,
	}, log.Named("tls"), metrics)
	return s, err
}

// clientTLS is for connections to nodes; nil without TLS.
func (s security) clientTLS() *tls.Config {
	if s.certs == nil {
		return nil
	}
	return s.certs.Client("", "h2")
}

// credentials go with every call to a node; nil for none.
func (s security) credentials() credentials.PerRPCCredentials { return nil }

// serverOptions secure a gRPC port.
func (s security) serverOptions(port certs.Port) ([]grpc.ServerOption, error) {
	if s.certs == nil {
		return nil, nil
	}
	transport, err := s.certs.GRPC(port)
	if err != nil {
		return nil, err
	}
	return []grpc.ServerOption{grpc.Creds(transport)}, nil
}

// httpListener secures the HTTP port: probes and scrapers need no certificate.
func (s security) httpListener(plain net.Listener) (net.Listener, error) {
	if s.certs == nil {
		return plain, nil
	}
	secured, err := s.certs.Server(certs.Port{ClientCert: certs.IfGiven, Protocols: []string{"http/1.1"}})
	if err != nil {
		return nil, err
	}
	return tls.NewListener(plain, secured), nil
}

// httpScheme is how the HTTP port is called.
func (s security) httpScheme() string {
	if s.certs == nil {
		return "http"
	}
	return "https"
}

// rolesEnabled tells whether callers are told apart.
func (s security) rolesEnabled() bool { return false }

func (s security) close() {
	if s.certs != nil {
		s.certs.Close()
	}
}

// warnOfOpenPorts says which ports strangers may use.
func (s *server) warnOfOpenPorts() {
	if s.security.certs != nil {
		return
	}
	for name, listener := range map[string]net.Listener{"grpc.address": s.ports.public, "node.address": s.ports.node, "admin.address": s.ports.admin} {
		if listener != nil && !loopback(listener.Addr()) {
			s.log.Warn("whoever reaches this port may read, change and delete everything: secure it with -tls.cert-file, -tls.key-file, -tls.ca-file and -tls.require-client-cert, or by the network",
				zap.String("setting", name), zap.Stringer("address", listener.Addr()))
		}
	}
}
