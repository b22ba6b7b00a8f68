package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup/dlq"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/objects"
)

// deadLetters is what a node with an object store does about dead letters.
type deadLetters struct {
	folders dlq.Folders
	// Nil if they are not recovered.
	recovery *dlq.Recovery
	interval time.Duration
}

// RecoverDeadLetters lets the node recover what writers left in an object store,
// each interval, for the groups that it leads; with 0 it only shows operators what
// is there. It may be called once, at any time, and goes on until the node is
// closed.
func (n *Node) RecoverDeadLetters(bucket objects.Bucket, interval time.Duration) error {
	d := &deadLetters{folders: dlq.Folders{Bucket: bucket}, interval: interval}
	if interval > 0 {
		var err error
		d.recovery, err = dlq.New(bucket, deadLetterCluster{n}, dlq.Options{
			Interval: interval, TombstoneDelay: n.options.Compaction.Compaction.TombstoneDelay, Now: n.options.Now,
		}, n.log.Named("dlq"), n.metrics.registerer)
		if err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return fmt.Errorf("%w: the node is shutting down", ErrNotReady)
	}
	if !n.letters.CompareAndSwap(nil, d) {
		return errors.New("dead letters are recovered already")
	}
	close(n.lettersKnown)
	if d.recovery != nil {
		n.background.Go(func() { d.recovery.Run(n.life) })
	}
	return nil
}

// recoverLetters recovers the dead letters of a group while this node leads it.
func (n *Node) recoverLetters(ctx context.Context, group uint64) {
	select {
	case <-ctx.Done():
		return
	case <-n.lettersKnown:
	}
	if d := n.letters.Load(); d.recovery != nil {
		d.recovery.Lead(ctx, group)
	}
}

// deadLetterCluster is the node as the recovery sees it.
type deadLetterCluster struct{ node *Node }

func (c deadLetterCluster) Room() error { return c.node.roomForBlocks() }

func (c deadLetterCluster) Owner(keyspace clusterv1.Keyspace, point uint64) (uint64, bool) {
	m := c.node.maps.known()
	if m == nil {
		return 0, false
	}
	return m.Lookup(keyspace, point).GetGroupId(), true
}

// Add proposes a block to its group through the replica on this node, or, where an
// entry lies in the folder of another tenant, asks nodes that have one.
func (c deadLetterCluster) Add(ctx context.Context, block *metastorev1.BlockMeta, encoded []byte) error {
	m := c.node.maps.known()
	if m == nil {
		return fmt.Errorf("%w: no map is known", dlq.ErrMoved)
	}
	keyspace, point := clusterv1.BlockPoint(block.TenantName(), block.GetShard())
	owner := m.Lookup(keyspace, point)
	request := &nodev1.AddBlockRequest{
		GroupId: owner.GetGroupId(), RequestId: newRequestID(), Block: encoded,
		Range: &clusterv1.RangeRef{Keyspace: keyspace, Lo: owner.GetLo(), Hi: owner.GetHi(), Epoch: owner.GetEpoch()},
	}
	if c.node.group(owner.GetGroupId()) == nil {
		return c.ask(ctx, m, request)
	}
	// No sample of adaptive placement: what it counts is what comes now.
	_, err := c.node.proposeBlock(ctx, request, nil)
	var refusal *statemachine.RouteRefusal
	switch {
	case errors.Is(err, ErrBadRequest), errors.Is(err, metastorev1.ErrInvalidBlock):
		return fmt.Errorf("%w: %w", dlq.ErrInvalid, err)
	case errors.As(err, &refusal), errors.Is(err, ErrNotReady), errors.Is(err, ErrNotHere):
		return fmt.Errorf("%w: %w", dlq.ErrMoved, err)
	}
	return err
}

// ask adds a block at a group without a replica here.
func (c deadLetterCluster) ask(ctx context.Context, m *clusterv1.Map, request *nodev1.AddBlockRequest) error {
	err := fmt.Errorf("%w: no replica of group %d is known", ErrNotReady, request.GetGroupId())
	for _, replica := range m.Group(request.GetGroupId()).Voters() {
		var client nodev1.NodeServiceClient
		if client, err = c.node.peer(replica.GetNodeId()); err != nil {
			continue
		}
		_, err = client.AddBlock(ctx, request)
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case status.Code(err) == codes.InvalidArgument:
			return fmt.Errorf("%w: %w", dlq.ErrInvalid, err)
		}
	}
	return err
}
