package server

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
)

// dialable turns the address of a listener on all interfaces into one that can
// be called from this machine.
func dialable(address net.Addr) string {
	tcp, ok := address.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return address.String()
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
}

// greet says in plain lines what listens where, and what to try next.
func (s *server) greet(w io.Writer) error {
	data, err := filepath.Abs(s.settings.DataDir)
	if err != nil {
		return err
	}
	api, web := dialable(s.grpcListener.Addr()), dialable(s.httpListener.Addr())
	_, err = fmt.Fprintf(w, `Skerry is ready: %d data groups and the directory on node %s.

  metastore.v1 gRPC   %s   (Pyroscope: -metastore.address=%s)
  HTTP                http://%s   (/healthz /readyz /metrics /buildinfo /debug/pprof/)
  Raft                %s
  data                %s
  objects             %s

Try next:

  skerry status -addr %s
  skerry block add BLOCKS.pb -addr %s
  skerry query '{}' --tenant TENANT --from -1h --to now -addr %s

Stop with Ctrl-C; a new start continues with the same data.
`, len(s.node.Groups())-1, s.node.ID(), s.grpcListener.Addr(), api, web, s.settings.RaftAddress, data, s.objects.Path(), api, api, api)
	return err
}
