package server

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/skerrydb/skerry/cmd/internal/config"
)

// ports are the listeners of a process; those that it does not have are nil.
type ports struct {
	public, node, admin, http net.Listener
	// How others reach the node's port.
	nodeAdvertised string
}

// open listens on all addresses but Raft's, which is only tried.
func (p *ports) open(settings config.Server) error {
	for _, port := range []struct {
		listener         *net.Listener
		setting, address string
		wanted           bool
	}{
		{&p.public, "grpc.address", settings.GRPCAddress, settings.HasRouter()},
		{&p.node, "node.address", settings.NodeAddress, settings.HasNode()},
		{&p.admin, "admin.address", settings.AdminAddress, settings.AdminAddress != ""},
		{&p.http, "http.address", settings.HTTPAddress, true},
	} {
		if !port.wanted {
			continue
		}
		listener, err := listen(port.setting, port.address)
		if err != nil {
			return err
		}
		*port.listener = listener
	}
	if !settings.HasNode() {
		return nil
	}
	p.nodeAdvertised = settings.NodeAdvertiseAddress
	if p.nodeAdvertised == "" {
		p.nodeAdvertised = withPort(settings.NodeAddress, p.node.Addr())
	}
	return probe("raft.address", settings.RaftAddress)
}

// withPort is an address with the port that was found for it.
func withPort(address string, found net.Addr) string {
	host, _, err := net.SplitHostPort(address)
	tcp, ok := found.(*net.TCPAddr)
	if err != nil || !ok {
		return found.String()
	}
	return net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

// advertised is the address under which clients know the process.
func (p *ports) advertised() string {
	for _, listener := range []net.Listener{p.public, p.admin} {
		if listener != nil {
			return listener.Addr().String()
		}
	}
	return p.nodeAdvertised
}

// close closes what is still open: servers that ran have closed theirs.
func (p *ports) close() {
	for _, listener := range []net.Listener{p.public, p.node, p.admin, p.http} {
		if listener != nil {
			_ = listener.Close()
		}
	}
}

func listen(setting, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	return listener, explainListen(setting, address, err)
}

// probe finds out whether an address can be listened on by somebody else.
func probe(setting, address string) error {
	listener, err := listen(setting, address)
	if err != nil {
		return err
	}
	return listener.Close()
}

func explainListen(setting, address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("address %s is in use: stop what listens there, or choose another with -%s", address, setting)
	}
	if err != nil {
		return fmt.Errorf("cannot listen on %s (-%s): %w", address, setting, err)
	}
	return nil
}

// loopback tells whether only this machine reaches an address.
func loopback(address net.Addr) bool {
	tcp, ok := address.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
