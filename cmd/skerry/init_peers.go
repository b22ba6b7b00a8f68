package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// peer is a node at an address of the command line.
type peer struct {
	address string
	node    nodev1.NodeServiceClient
	health  healthv1.HealthClient
	close   func() error
}

type peers struct{ all []*peer }

func dialPeers(template client, addresses []string) (*peers, error) {
	p := &peers{}
	for _, address := range addresses {
		c := template
		c.addr = address
		conn, err := c.dial()
		if err != nil {
			p.close()
			return nil, err
		}
		p.all = append(p.all, newPeer(address, conn))
	}
	return p, nil
}

func newPeer(address string, conn *grpc.ClientConn) *peer {
	return &peer{address, nodev1.NewNodeServiceClient(conn), healthv1.NewHealthClient(conn), conn.Close}
}

func (p *peers) close() {
	for _, peer := range p.all {
		_ = peer.close()
	}
}

func (p *peers) at(address string) *peer {
	for _, peer := range p.all {
		if peer.address == address {
			return peer
		}
	}
	return nil
}

// pollPause is the time between two attempts.
func pollPause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(200 * time.Millisecond):
		return nil
	}
}

// awaitReady returns when all nodes serve.
func (i *initialization) awaitReady(ctx context.Context, out io.Writer, peers *peers) error {
	limited, cancel := context.WithTimeout(ctx, i.waitTimeout)
	defer cancel()
	for _, peer := range peers.all {
		for {
			answer, err := peer.health.Check(limited, &healthv1.HealthCheckRequest{})
			if err == nil && answer.GetStatus() == healthv1.HealthCheckResponse_SERVING {
				break
			}
			if i.pause(limited) != nil {
				if ctx.Err() != nil {
					return errInterrupted
				}
				return &pendingError{fmt.Sprintf("the cluster is founded, but %s does not serve after %s: see /readyz of its -http.address, and its log", peer.address, i.waitTimeout)}
			}
		}
		if _, err := fmt.Fprintf(out, "%s serves\n", peer.address); err != nil {
			return err
		}
	}
	return nil
}

// peerError is a failed call to a node, worded for people.
type peerError struct {
	address, what string
	status        *status.Status
	patience      time.Duration // how long it was tried
}

func (e *peerError) Error() string {
	failed := &callError{addr: e.address, status: e.status}
	switch {
	case e.what != "Hello" && e.status.Code() == codes.DeadlineExceeded:
		return fmt.Sprintf("%s has answered, but not yet to %s after %s: it is busy, see its log", e.address, e.what, e.patience)
	case e.status.Code() == codes.Unavailable && failed.unreachable(), e.status.Code() == codes.DeadlineExceeded:
		return fmt.Sprintf("no node answers at %s (%s): start it with skerry node -node.address, or correct the address", e.address, strings.TrimSuffix(e.status.Message(), "."))
	case e.status.Code() == codes.Unimplemented:
		return fmt.Sprintf("%s does not know %s: give the -node.address of a node, not of a router or of another port", e.address, e.what)
	}
	return fmt.Sprintf("%s refuses %s: %s", e.address, e.what, failed.Error())
}
