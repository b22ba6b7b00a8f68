package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/cmd/internal/access"
	"github.com/skerrydb/skerry/cmd/internal/audit"
	"github.com/skerrydb/skerry/cmd/internal/certs"
	"github.com/skerrydb/skerry/cmd/internal/config"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	"github.com/skerrydb/skerry/shardgroup/transport"
)

// security is how connections and callers are checked.
type security struct {
	certs *certs.Reloader // nil without TLS
	gate  *access.Gate    // nil lets everybody do everything
	audit *audit.Log
}

func openSecurity(settings config.Server, log *zap.Logger, metrics prometheus.Registerer) (security, error) {
	var s security
	var err error
	if settings.TLS.Enabled() {
		s.certs, err = certs.Open(certs.Options{
			CertFile: settings.TLS.CertFile, KeyFile: settings.TLS.KeyFile, CAFile: settings.TLS.CAFile,
			RequireClientCert: settings.TLS.RequireClientCert,
		}, log.Named("tls"), metrics)
		if err != nil {
			return s, err
		}
	}
	if s.audit, err = audit.Open(audit.Options{Path: settings.AuditFile}, log.Named("audit"), metrics); err != nil {
		return s, err
	}
	if settings.AccessFile != "" {
		s.gate, err = access.New(access.Options{File: settings.AccessFile, Denied: s.audit.Denied}, log.Named("access"), metrics)
	}
	return s, err
}

// dialOptions are for calls to nodes.
func (s security) dialOptions(settings config.Server) ([]grpc.DialOption, error) {
	client := access.Client{TokenFile: settings.TokenFile}
	if s.certs != nil {
		client.TLS = s.certs.ClientGRPC()
	}
	return client.DialOptions()
}

// serverOptions secure a gRPC port and keep a record. They come before others: who
// may not call should not wait in their queues.
func (s security) serverOptions() ([]grpc.ServerOption, error) {
	var options []grpc.ServerOption
	if s.gate != nil || s.certs != nil {
		options = s.gate.ServerOptions() // without a gate, certificates still say who calls
	}
	options = append(options, s.audit.ServerOptions()...)
	options = append(options, grpc.ChainUnaryInterceptor(signed))
	if s.certs == nil {
		return options, nil
	}
	transport, err := s.certs.GRPC(certs.Port{})
	if err != nil {
		return nil, err
	}
	return append(options, grpc.Creds(transport)), nil
}

// signed puts who is known to call into what changes the cluster, whoever it says it is:
// it is kept with operations. The audit log, which comes before, has both. Nodes are
// asked by routers, which have seen the caller.
func signed(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	identity, _ := access.FromContext(ctx)
	if operate, ok := request.(*adminv1.OperateRequest); ok && operate.GetOperation() != nil && identity.Name != "" {
		operate.Operation.Actor = identity.Name
	}
	return handler(ctx, request)
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
func (s security) rolesEnabled() bool { return s.gate != nil }

// raftTransport carries Raft between nodes, each of which shows a certificate of
// one.
func (s security) raftTransport(settings config.Server, log *zap.Logger, metrics prometheus.Registerer) (*transport.Factory, error) {
	options := transport.Options{ListenAddress: settings.RaftAddress}
	if ip, ok := netip.AddrFromSlice(settings.LocalAddress()); ok {
		options.LocalIP = ip.Unmap()
	}
	if s.certs != nil {
		port := certs.Port{ClientCert: certs.Required}
		if s.gate != nil {
			port.Peer = s.gate.CheckPeer
		}
		var err error
		if options.ServerTLS, err = s.certs.Server(port); err != nil {
			return nil, err
		}
		options.ClientTLSFor = func(host string) *tls.Config { return s.certs.Client(host) }
	}
	return transport.NewFactory(options, log.Named("raft"), metrics)
}

func (s security) close() {
	if s.gate != nil {
		s.gate.Close()
	}
	// Its file is synced with every line.
	_ = s.audit.Close()
	if s.certs != nil {
		s.certs.Close()
	}
}

// strangersKnown tells whether callers of the gRPC ports must show who they are. TLS
// alone does not ask them.
func (s security) strangersKnown(settings config.Server) bool {
	return s.gate != nil || s.certs != nil && settings.TLS.RequireClientCert
}

// warnOfOpenPorts says which ports strangers may use.
func (s *server) warnOfOpenPorts() {
	// Raft asks for certificates of nodes wherever there is TLS, and never for tokens.
	if s.settings.HasNode() && s.security.certs == nil && !config.OnLoopback(s.settings.RaftAddress) {
		s.log.Warn("whoever reaches this port may take part in Raft, and so change everything: secure it with TLS, or by the network",
			zap.String("setting", "raft.address"), zap.String("address", s.settings.RaftAddress))
	}
	if s.security.strangersKnown(s.settings) {
		return
	}
	for name, listener := range map[string]net.Listener{"grpc.address": s.ports.public, "node.address": s.ports.node, "admin.address": s.ports.admin} {
		if listener != nil && !loopback(listener.Addr()) {
			s.log.Warn("whoever reaches this port may read, change and delete everything: secure it with TLS and -auth.file or -tls.require-client-cert, or by the network",
				zap.String("setting", name), zap.Stringer("address", listener.Addr()))
		}
	}
}
