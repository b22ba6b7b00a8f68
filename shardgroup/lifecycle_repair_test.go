package shardgroup_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

// settings changes the cluster's settings.
func (f *crew) settings(settings *clusterv1.Settings) {
	f.t.Helper()
	if _, err := f.operate(&nodev1.OperateRequest{Action: &nodev1.OperateRequest_ChangeSettings{
		ChangeSettings: &raftlogv1.ChangeSettings{Settings: settings}}}); err != nil {
		f.t.Fatal(err)
	}
}

// awaitOn waits until each group has just three voters, on these nodes.
func (f *crew) awaitOn(ids ...string) {
	f.t.Helper()
	await(f.t, "the replicas to be on other nodes", func() bool {
		m := f.state().GetMap()
		for _, group := range m.GetGroups() {
			if len(group.GetReplicas()) != len(ids) || len(group.Voters()) != len(ids) {
				return false
			}
			for _, id := range ids {
				if group.ReplicaOn(id) == nil {
					return false
				}
			}
		}
		return m != nil
	})
}

// A node that is declared lost is replaced, and refused when it returns.
func TestLostNodeIsReplaced(t *testing.T) {
	f := newCrew(t)
	f.found("a", "b", "c")
	blocks := f.add(f.node("a"), 0, 6)
	lost := f.node("c").ID()
	f.stop("c")
	// Only now: while all live, replicas would move to it for balance.
	f.start("d", nil)
	f.setState(lost, clusterv1.NodeState_NODE_STATE_LOST)
	f.awaitOn(f.node("a").ID(), f.node("b").ID(), f.node("d").ID())
	await(t, "the node to be removed", func() bool {
		return stateOf(f.state().GetMap(), lost) == clusterv1.NodeState_NODE_STATE_REMOVED
	})
	wantBlocks(t, f.node("d"), rangeMapSoon(t, f.node("d")), blocks)
	_, err := f.open("c", nil)
	wantRefusal(t, "a lost node", err, "was removed from the cluster")
}

// asked counts the questions for the map that a node asks others.
type asked struct {
	nodev1.NodeServiceClient
	count *atomic.Int64
}

func (a asked) RangeMap(ctx context.Context, request *nodev1.RangeMapRequest, options ...grpc.CallOption) (*nodev1.RangeMapResponse, error) {
	a.count.Add(1)
	return a.NodeServiceClient.RangeMap(ctx, request, options...)
}

// A node whose replicas were made anew elsewhere removes its old ones when it
// returns, though not before the directory confirms it, and whatever step a crash
// falls between; then the groups come back to it as new replicas.
func TestReplicasLeaveAndComeBack(t *testing.T) {
	f := newCrew(t)
	f.found("a", "b", "c")
	blocks := f.add(f.node("a"), 0, 6)
	f.settings(&clusterv1.Settings{RepairAfter: int64(10 * time.Second)})
	old := f.node("c").Recorded()
	f.stop("c")
	// Only now: while all live, replicas would move to it for balance.
	f.start("d", nil)
	f.awaitOn(f.node("a").ID(), f.node("b").ID(), f.node("d").ID())
	f.settings(&clusterv1.Settings{})
	f.stop("a")
	f.stop("b")
	// Only d is left: nobody can confirm that replicas may go. The node knows that
	// they ought to.
	content, err := os.ReadFile(filepath.Join(f.dir, "d", "map.pb"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(f.dir, "c", "map.pb"), string(content))
	var questions atomic.Int64
	c, err := f.open("c", func(o *shardgroup.Options) {
		o.Peers = func(address string) (nodev1.NodeServiceClient, error) {
			client, err := f.peer(address)
			return asked{client, &questions}, err
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	await(t, "questions", func() bool { return questions.Load() >= 4 })
	if recorded := c.Recorded(); len(recorded) != len(old) {
		t.Fatalf("the node has replicas %v, had %v", recorded, old)
	}
	f.stop("c")
	for _, name := range []string{"a", "b"} {
		if _, err := f.open(name, nil); err != nil {
			t.Fatal(err)
		}
	}
	f.ready(f.node("a"))
	crash := errors.New("crash")
	for _, step := range []string{"marked", "log removed", "store emptied"} {
		reached := make(chan struct{})
		tell := sync.OnceFunc(func() { close(reached) })
		var crashed atomic.Bool
		_, err := f.open("c", func(o *shardgroup.Options) {
			o.OnRemoval(func(at string) error {
				if at != step && !crashed.Load() {
					return nil
				}
				crashed.Store(true)
				tell()
				return crash
			})
		})
		if err != nil { // whatever cannot be removed, the node starts
			t.Fatal(err)
		}
		<-reached
		f.stop("c")
	}
	c = f.start("c", nil)
	await(t, "the old replicas to be gone", func() bool {
		for group, replica := range c.Recorded() {
			if old[group] == replica { // others may have come already, for balance
				return false
			}
		}
		return true
	})
	f.setState(f.node("d").ID(), clusterv1.NodeState_NODE_STATE_DECOMMISSIONING)
	f.awaitOn(f.node("a").ID(), f.node("b").ID(), c.ID())
	for group, replica := range c.Recorded() {
		if old[group] >= replica {
			t.Errorf("group %d has replica %d, had %d", group, replica, old[group])
		}
	}
	wantBlocks(t, c, rangeMapSoon(t, c), blocks)
	if !slices.Equal(c.Groups(), []uint64{1, 2, 3}) {
		t.Errorf("the node has groups %v", c.Groups())
	}
}

// A replica that joined and was promoted starts again, before and after its log was
// compacted, and votes.
func TestPromotedReplicasRestart(t *testing.T) {
	f := newCrew(t)
	f.start("a", func(o *shardgroup.Options) { o.Found = true })
	f.start("b", nil)
	f.start("c", nil)
	f.awaitVoters(3)
	blocks := f.add(f.node("a"), 0, 3)
	f.stop("b")
	f.start("b", nil)
	for _, name := range []string{"b", "c"} {
		if err := f.node(name).CompactLogs(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"b", "c"} {
		f.stop(name)
		f.start(name, nil)
	}
	blocks = append(blocks, f.add(f.node("b"), 3, 6)...)
	f.stop("a")
	// Both vote, or nothing could be acknowledged.
	blocks = append(blocks, f.add(f.node("b"), 6, 9)...)
	wantBlocks(t, f.node("c"), rangeMapSoon(t, f.node("c")), blocks)
}
