package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Options are the settings of a node's transport. The zero value is plain TCP on
// the node's Raft address.
type Options struct {
	// ListenAddress is HOST:PORT to listen on, if that is not the address by which
	// others reach the node: in a container, behind a proxy. The host may be empty
	// or 0.0.0.0. Default: the listen address, else the Raft address of dragonboat's
	// configuration.
	ListenAddress string

	// LocalIP is the address of this host that outgoing connections come from, so
	// that peers, firewalls and proxies can tell who calls. Default: the system
	// chooses.
	LocalIP netip.Addr

	// ServerTLS and ClientTLS encrypt connections; both or neither. Who may call is
	// theirs to say (ClientAuth, VerifyConnection). They are asked for each new
	// connection, so their callbacks (GetConfigForClient, GetClientCertificate) may
	// give other certificates at any time; connections that exist live on. Without
	// ServerName in ClientTLS the host of the target's address is verified.
	ServerTLS, ClientTLS *tls.Config

	// ClientTLSFor gives the configuration of a connection to a host, a name or an IP
	// address, in the place of ClientTLS: for those that check it themselves.
	ClientTLSFor func(host string) *tls.Config

	// ConnectionsMax bounds incoming connections; more are closed at once. Each peer
	// needs a few, and one for each snapshot that it sends. Default 1024.
	ConnectionsMax int

	// Fault damages what is sent, for tests. Default: nothing does.
	Fault Fault
}

// Traffic is what a connection is about to do.
type Traffic int

// What a Fault may damage.
const (
	Dial     Traffic = iota // open a connection
	Messages                // send a batch of messages
	Snapshot                // send a chunk of a snapshot
)

// Fault stands between a node and those that it calls. It is called concurrently.
type Fault interface {
	// Outgoing is called before anything is sent to the target, an address as
	// dragonboat knows it. Nil lets it pass; ErrDrop loses it without a word (a dial
	// fails); any other error breaks the connection. Until it returns it holds the
	// connection up, in order; the context ends with the connection.
	Outgoing(ctx context.Context, target string, traffic Traffic) error
}

// ErrDrop makes a Fault lose what was to be sent.
var ErrDrop = errors.New("dropped by an injected fault")

const defaultConnectionsMax = 1024

// Validate reports every fault of the settings.
func (o Options) Validate() error {
	var errs []error
	if o.ListenAddress != "" {
		if _, port, err := net.SplitHostPort(o.ListenAddress); err != nil {
			errs = append(errs, fmt.Errorf("the Raft listen address %q is not HOST:PORT: %w", o.ListenAddress, err))
		} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			errs = append(errs, fmt.Errorf("the Raft listen address %q has no port from 0 to 65535", o.ListenAddress))
		}
	}
	if o.LocalIP.IsValid() && o.LocalIP.IsUnspecified() {
		errs = append(errs, fmt.Errorf("the local IP of Raft connections is %s: name one address, or none", o.LocalIP))
	}
	if (o.ServerTLS == nil) != (o.ClientTLS == nil && o.ClientTLSFor == nil) {
		errs = append(errs, errors.New("only one side of Raft connections has TLS: set both the server's and the client's, or neither"))
	}
	if s := o.ServerTLS; s != nil && len(s.Certificates) == 0 && s.GetCertificate == nil && s.GetConfigForClient == nil {
		errs = append(errs, errors.New("the TLS of Raft's server has no certificate"))
	}
	if o.ConnectionsMax < 0 {
		errs = append(errs, fmt.Errorf("the bound of Raft connections is %d, must be positive, or 0 for %d", o.ConnectionsMax, defaultConnectionsMax))
	}
	return errors.Join(errs...)
}

// clientTLS is what a connection to a target is secured with; nil for nothing.
func (o Options) clientTLS(target string) (*tls.Config, error) {
	if o.ClientTLS == nil && o.ClientTLSFor == nil {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	if o.ClientTLSFor != nil {
		return o.ClientTLSFor(host), nil
	}
	if o.ClientTLS.ServerName != "" {
		return o.ClientTLS, nil
	}
	config := o.ClientTLS.Clone()
	config.ServerName = host
	return config, nil
}

func (o Options) withDefaults() Options {
	if o.ConnectionsMax == 0 {
		o.ConnectionsMax = defaultConnectionsMax
	}
	return o
}

// timeouts are fixed but in tests.
type timeouts struct {
	dial      time.Duration // TCP, TLS and hello together, of the caller
	handshake time.Duration // TLS and hello, of the listener
	piece     time.Duration // for each pieceBytes of a frame, either way
	idle      time.Duration // between frames: dragonboat gives up a quiet connection after 1 minute
	ack       time.Duration // for the last chunk: the snapshot is synced to disk before it is acknowledged
	keepAlive time.Duration // between probes of a quiet connection
	unacked   time.Duration // until data that the peer's host does not confirm breaks the connection
	repeat    time.Duration // until a large message may be repeated, and longer the larger it is; negative: at once
}

var defaultTimeouts = timeouts{
	dial: 5 * time.Second, handshake: 5 * time.Second, piece: 10 * time.Second, idle: 5 * time.Minute,
	ack: 2 * time.Minute, keepAlive: 10 * time.Second, unacked: 15 * time.Second, repeat: time.Second,
}
