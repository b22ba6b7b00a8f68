package shardgroup_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/shardgroup"
	"github.com/skerrydb/skerry/shardgroup/disk"
)

// fakeDisk has as much space as a test says.
type fakeDisk struct {
	mu    sync.Mutex
	free  uint64
	fault error
	// Before it tells its space.
	takes time.Duration
}

func (d *fakeDisk) set(free uint64, fault error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free, d.fault = free, fault
}

func (d *fakeDisk) Probe(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fault
}

func (d *fakeDisk) Space(string) (uint64, uint64, error) {
	time.Sleep(d.takes)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free, 1 << 30, nil
}

func (d *fakeDisk) Clean(string) error { return nil }

// A disk with little space takes no new blocks, one without stops its replicas until
// there is some, and one that fails ends the node.
func TestDiskRunsFull(t *testing.T) {
	f := newCrew(t)
	space := &fakeDisk{free: 1 << 29}
	options := func(o *shardgroup.Options) {
		o.Found = true
		o.Disk = disk.Options{Interval: 10 * time.Millisecond, SoftBytes: 1 << 20, HardBytes: 1 << 10, FS: space}
	}
	a := f.start("a", options)
	m := rangeMapSoon(t, a)
	blocks := f.add(a, 0, 3)
	add := func() error {
		_, err := a.Service().AddBlock(t.Context(), addRequest(t, m, testBlock(9, "", 0, 0, "anna")))
		return err
	}
	space.set(1<<19, nil)
	await(t, "blocks to be refused", func() bool { return add() != nil })
	if err := add(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "is almost full") {
		t.Errorf("little space: %v", err)
	}
	wantBlocks(t, a, m, blocks)
	space.set(0, nil)
	await(t, "the replicas to stop", func() bool { return len(a.Groups()) == 0 })
	if err := a.Ready(); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("a node without space says %v", err)
	}
	// A start does not change that, even if the disk takes its time.
	f.stop("a")
	space.takes = 200 * time.Millisecond
	a, err := f.open("a", options)
	if err != nil {
		t.Fatal(err)
	}
	if groups := a.Groups(); len(groups) != 0 {
		t.Errorf("groups %v started without space", groups)
	}
	space.set(1<<29, nil)
	await(t, "the replicas to start", func() bool { return len(a.Groups()) == 3 })
	f.ready(a)
	wantBlocks(t, a, rangeMapSoon(t, a), blocks)
	space.set(1<<29, errors.New("broken"))
	wantFault(t, a, "check the disk and start the node again")
}

// A removal that takes its time does not keep replicas running on a full disk.
func TestDiskRunsFullDuringRemoval(t *testing.T) {
	f := newCrew(t)
	a := f.start("a", func(o *shardgroup.Options) { o.Found = true })
	space := &fakeDisk{free: 1 << 29}
	marked, release := make(chan struct{}), make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(release) })) // before the nodes stop
	once := sync.OnceFunc(func() { close(marked) })
	b := f.start("b", func(o *shardgroup.Options) {
		o.Disk = disk.Options{Interval: 10 * time.Millisecond, SoftBytes: 1 << 20, HardBytes: 1 << 10, FS: space}
		o.OnRemoval(func(string) error {
			once()
			<-release
			return nil
		})
	})
	f.start("c", nil)
	f.awaitVoters(3)
	f.setState(b.ID(), clusterv1.NodeState_NODE_STATE_DECOMMISSIONING)
	<-marked
	space.set(0, nil)
	await(t, "the replicas to stop", func() bool { return len(b.Groups()) == 0 })
	if len(a.Groups()) != 3 {
		t.Errorf("a runs groups %v", a.Groups())
	}
}
