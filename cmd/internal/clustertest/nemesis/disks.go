package nemesis

import (
	"context"
	"errors"

	"github.com/skerrydb/skerry/cmd/internal/clustertest"
)

// Free bytes of a disk below which nodes refuse blocks, and stop their replicas.
const (
	LowBytes  = 96 << 20
	FullBytes = 48 << 20
)

// disk is the disk of some member.
func (n *Nemesis) disk() (*clustertest.Node, error) {
	hit := n.some(1)[0]
	if hit.Disk == nil {
		return nil, nothing("nodes have no file systems of their own")
	}
	return hit, nil
}

// emptied frees the disk, and starts the node if it ended for lack of space.
func emptied(node *clustertest.Node) func() error {
	return func() error { return errors.Join(node.Disk.Empty(), start(node)) }
}

// fillDisk leaves so much that the node must act, but little enough for it to
// matter.
func fillDisk(_ context.Context, n *Nemesis) (string, func() error, error) {
	hit, err := n.disk()
	if err != nil {
		return "", nil, err
	}
	return hit.Name, emptied(hit), hit.Disk.Fill(FullBytes/2 + n.random.Int64N(LowBytes-FullBytes/2))
}

// fillDiskUp leaves nothing: writes fail before the node can act.
func fillDiskUp(_ context.Context, n *Nemesis) (string, func() error, error) {
	hit, err := n.disk()
	if err != nil {
		return "", nil, err
	}
	return hit.Name, emptied(hit), hit.Disk.Fill(0)
}

// freezeDisk lets writes hang: the node ends by itself, if that takes long.
func freezeDisk(_ context.Context, n *Nemesis) (string, func() error, error) {
	hit, err := n.disk()
	if err != nil {
		return "", nil, err
	}
	undo := func() error {
		if err := hit.Disk.Thaw(); err != nil {
			return err
		}
		return n.settleExit(hit)
	}
	return hit.Name, undo, hit.Disk.Freeze()
}

// losePower takes all that was not synced.
func losePower(_ context.Context, n *Nemesis) (string, func() error, error) {
	hit, err := n.disk()
	if err != nil {
		return "", nil, err
	}
	return hit.Name, hit.Start, hit.Blackout()
}

// failDisk lets all writes fail: the node must end by itself, or at least not
// acknowledge anything.
func failDisk(_ context.Context, n *Nemesis) (string, func() error, error) {
	hit, err := n.disk()
	if err != nil {
		return "", nil, err
	}
	return hit.Name, func() error { return errors.Join(hit.Replug(), hit.Start()) }, hit.Disk.Fail()
}
