package faultproxy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// maxLinks bounds open connections; more are reset. Held ones stay until a rule
// lets them go, and callers dial again meanwhile.
const maxLinks = 4096

// Network passes connections between hosts. All methods may be called
// concurrently.
type Network struct {
	mu        sync.Mutex
	hosts     map[netip.Addr]string
	paths     map[Flow]*path
	links     map[*link]bool
	listeners []net.Listener
	closed    bool

	running sync.WaitGroup // listeners and links
}

// New returns a network without hosts. Close must be called.
func New() *Network {
	return &Network{hosts: map[netip.Addr]string{}, paths: map[Flow]*path{}, links: map[*link]bool{}}
}

// Name names the host that dials from an address. Others are called by their
// addresses.
func (n *Network) Name(address netip.Addr, host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[address] = host
}

// Listen passes connections to an advertised address on to where the host really
// listens, which need not be up yet. It returns the address, for port 0.
func (n *Network) Listen(host, advertised, target string) (string, error) {
	listener, err := net.Listen("tcp", advertised)
	if err != nil {
		return "", fmt.Errorf("listen for %s: %w", host, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		listener.Close()
		return "", net.ErrClosed
	}
	n.listeners = append(n.listeners, listener)
	n.running.Go(func() { n.accept(listener, host, target) })
	return listener.Addr().String(), nil
}

func (n *Network) accept(listener net.Listener, host, target string) {
	for {
		conn, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			// Out of descriptors, most likely: some may come free.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		n.admit(conn.(*net.TCPConn), host, target)
	}
}

func (n *Network) admit(conn *net.TCPConn, host, target string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	caller := conn.RemoteAddr().(*net.TCPAddr)
	name, known := n.hosts[caller.AddrPort().Addr().Unmap()]
	if !known {
		name = caller.IP.String()
	}
	l := &link{
		out: Flow{name, host}, caller: conn, target: target,
		outPath: n.path(Flow{name, host}), backPath: n.path(Flow{host, name}), done: make(chan struct{}),
	}
	out, _ := l.outPath.get()
	back, _ := l.backPath.get()
	if n.closed || len(n.links) >= maxLinks || out.Mode == Reset || out.Mode == Refuse || back.Mode == Reset {
		l.reset()
		return
	}
	n.links[l] = true
	n.running.Go(func() {
		l.run()
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.links, l)
	})
}

// path finds or makes the state of a flow. The lock is held.
func (n *Network) path(flow Flow) *path {
	p := n.paths[flow]
	if p == nil {
		p = newPath()
		n.paths[flow] = p
	}
	return p
}

// Set replaces the rule of a flow.
func (n *Network) Set(flow Flow, rule Rule) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.set(flow, rule)
}

func (n *Network) set(flow Flow, rule Rule) {
	n.path(flow).set(rule)
	if rule.Mode == Reset {
		n.cut(flow)
	}
}

// Partition drops everything between two sets of hosts.
func (n *Network) Partition(a, b []string) {
	n.OneWay(a, b)
	n.OneWay(b, a)
}

// OneWay drops everything from some hosts to others; the other direction stays
// as it is.
func (n *Network) OneWay(from, to []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range from {
		for _, t := range to {
			n.set(Flow{f, t}, Rule{Mode: Drop})
		}
	}
}

// Heal lets everything pass. What was held arrives now.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.paths {
		p.set(Rule{})
	}
}

// Cut resets the open connections between two hosts, whoever dialled, and
// returns their number. New ones follow the rules.
func (n *Network) Cut(a, b string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut(Flow{a, b})
}

func (n *Network) cut(flow Flow) int {
	count := 0
	for l := range n.links {
		if l.out == flow || l.out == (Flow{flow.To, flow.From}) {
			l.reset()
			count++
		}
	}
	return count
}

// Stats tells what became of a flow.
type Stats struct {
	// Bytes that were delivered.
	Bytes int64
	// Deliveries that wait because the flow is dropped, one for each connection and
	// direction at most.
	Held int
	// Open connections that From dialled.
	Links int
}

// Stats counts what flowed so far, and what is open.
func (n *Network) Stats(flow Flow) Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.path(flow)
	p.mu.Lock()
	stats := Stats{Bytes: p.bytes, Held: p.held}
	p.mu.Unlock()
	for l := range n.links {
		if l.out == flow {
			stats.Links++
		}
	}
	return stats
}

// Close resets everything and waits until nothing runs any more.
func (n *Network) Close() {
	n.mu.Lock()
	n.closed = true
	for _, listener := range n.listeners {
		listener.Close()
	}
	for l := range n.links {
		l.reset()
	}
	n.mu.Unlock()
	n.running.Wait()
}
