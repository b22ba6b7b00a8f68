package server

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"

	"github.com/skerrydb/skerry/cmd/internal/config"
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

// greet says in plain lines what listens where. A process that serves alone says
// it when it is ready, see greetReady.
func (s *server) greet(w io.Writer) error {
	if s.settings.Command == config.CommandServe {
		return nil
	}
	title := "Skerry router.\n\n"
	if s.node != nil {
		title = fmt.Sprintf("Skerry node %s.\n\n", s.node.ID())
	}
	listeners, err := s.listeners()
	if err == nil {
		_, err = io.WriteString(w, title+listeners+"\n")
	}
	if err != nil || s.node == nil || s.node.ClusterID() != "" {
		return err
	}
	if len(s.settings.Join) > 0 {
		_, err = fmt.Fprintf(w, "This node has no cluster yet and asks for one at %s.\n\n", &listing{s.settings.Join})
		return err
	}
	_, err = fmt.Fprintf(w, `This node has no cluster yet. Found one, once, with the addresses of its first
nodes (1, 3 or 5), or start this one with -join to enter a cluster:

  skerry init -nodes %s,...

`, s.ports.nodeAdvertised)
	return err
}

// greetReady says that the process serves, and what to try next.
func (s *server) greetReady(w io.Writer) error {
	if s.settings.Command != config.CommandServe {
		_, err := fmt.Fprintf(w, "Ready.\n")
		return err
	}
	listeners, err := s.listeners()
	if err != nil {
		return err
	}
	api := dialable(s.ports.public.Addr())
	_, err = fmt.Fprintf(w, `Skerry is ready: %d data groups and the directory on node %s.

%s
Try next:

  skerry status -addr %s
  skerry block add BLOCKS.pb -addr %s
  skerry query '{}' --tenant TENANT --from -1h --to now -addr %s

Stop with Ctrl-C; a new start continues with the same data.
`, len(s.router.Maps().Map().Proto().GetGroups())-1, s.node.ID(), listeners, api, api, api)
	return err
}

// listeners tells every port and folder, one a line.
func (s *server) listeners() (string, error) {
	var lines strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&lines, "  %-19s "+format+"\n", append([]any{what}, args...)...)
	}
	if s.ports.public != nil {
		line("metastore.v1 gRPC", "%s   (Pyroscope: -metastore.address=%s)", s.ports.public.Addr(), dialable(s.ports.public.Addr()))
	}
	if s.ports.node != nil {
		line("node and admin gRPC", "%s   (others: skerry node -join %s)", s.ports.node.Addr(), s.ports.nodeAdvertised)
	}
	if s.ports.admin != nil {
		line("admin gRPC", "%s", s.ports.admin.Addr())
	}
	line("HTTP", "%s://%s   (/healthz /readyz /metrics /buildinfo /debug/pprof/)", s.security.httpScheme(), dialable(s.ports.http.Addr()))
	if s.node == nil {
		return lines.String(), nil
	}
	data, err := filepath.Abs(s.settings.DataDir)
	if err != nil {
		return "", err
	}
	line("Raft", "%s", s.settings.RaftAddress)
	line("data", "%s", data)
	line("objects", "%s", s.objects)
	return lines.String(), nil
}
