package shardgroup

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup/disk"
)

// What the node does about its disk:
//
//	little space   new blocks are refused here, leaders move away
//	no space       replicas stop before a write fails, and start again once there is
//	               space; their groups go on without them
//	slow           leaders move away
//	stalled, failed   the process ends: a node that cannot write must not look alive
//
// Commands that free space, retention and deletions, are never refused.

const (
	// How long a start waits for the first answers of the disk.
	diskPatience = 5 * time.Second
)

// watchDisk begins to watch the data directory, and waits until it is judged once, so
// that no replica starts on a disk without space.
func (n *Node) watchDisk() error {
	var err error
	n.disk, err = disk.Watch([]string{n.options.DataDir}, n.options.Disk, n.log.Named("disk"), n.metrics.registerer)
	if err != nil {
		return err
	}
	n.disk.Subscribe(func(_ string, status disk.Status) { n.onDisk(status) })
	ctx, cancel := context.WithTimeout(n.life, diskPatience)
	defer cancel()
	if err := n.disk.Await(ctx); err != nil {
		n.log.Warn("the disk was not judged in time: the node starts as if it were well", zap.Duration("after", diskPatience), zap.Error(err))
	}
	return nil
}

// onDisk must not wait: it is called from the watchdog's goroutine.
func (n *Node) onDisk(status disk.Status) {
	full := status.Level == disk.Full
	if n.suspended.Swap(full) != full {
		n.log.Warn("the disk's space changed", zap.Bool("replicas_stopped", full), zap.Uint64("free_bytes", status.FreeBytes))
		n.background.Go(n.suspend)
		wake(n.kick)
	}
	switch status.State {
	case disk.Stalled, disk.Failed:
		n.fail(fmt.Errorf("the disk of %s %s (%v): the process ends so that others take over; check the disk and start the node again",
			n.options.DataDir, status.State, status.Err))
	case disk.Slow:
		n.shed()
	}
	if status.Level == disk.Low {
		n.shed()
	}
}

// suspend stops the replicas if the disk is full. The reconciler would do it, too, but
// may be removing others, which takes longer than a disk that fills up leaves.
func (n *Node) suspend() {
	n.placing.Lock()
	defer n.placing.Unlock()
	if n.suspended.Load() {
		n.stopGroups(n.all(), n.halt)
	}
}

// shed gives leaders away, in the background, one sweep at a time.
func (n *Node) shed() {
	if !n.shedding.CompareAndSwap(false, true) {
		return
	}
	n.background.Go(func() {
		defer n.shedding.Store(false)
		if err := n.handOverAll(n.life); err != nil && n.life.Err() == nil {
			n.log.Info("not all leaders could be moved away from a bad disk", zap.Error(err))
		}
	})
}

// roomForBlocks refuses new blocks when space is short.
func (n *Node) roomForBlocks() error {
	if n.disk == nil {
		return nil
	}
	if _, level := n.disk.Worst(); level != disk.Normal {
		return fmt.Errorf("%w: the disk of node %s is almost full: free space, add nodes, or shorten retention", ErrNotReady, n.ID())
	}
	return nil
}

// diskReport is what the node's disk is like.
func (n *Node) diskReport() *nodev1.DiskReport {
	if n.disk == nil {
		return nil
	}
	status, _ := n.disk.Status(n.disk.Directories()[0])
	report := &nodev1.DiskReport{
		FreeBytes: status.FreeBytes, TotalBytes: status.TotalBytes,
		Level: nodev1.DiskReport_LEVEL_NORMAL, Health: nodev1.DiskReport_HEALTH_GOOD,
	}
	switch status.Level {
	case disk.Low:
		report.Level = nodev1.DiskReport_LEVEL_LOW
	case disk.Full:
		report.Level = nodev1.DiskReport_LEVEL_FULL
	}
	switch status.State {
	case disk.Slow:
		report.Health = nodev1.DiskReport_HEALTH_SLOW
	case disk.Stalled, disk.Failed:
		report.Health = nodev1.DiskReport_HEALTH_STALLED
	}
	return report
}
