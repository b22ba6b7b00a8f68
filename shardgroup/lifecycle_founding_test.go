package shardgroup_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

// A founding that is interrupted after each of its calls, and each time by a restart
// of all nodes, is completed by the same calls; it is found again at any founded node.
func TestFoundingIsInterrupted(t *testing.T) {
	f := newCrew(t)
	names := []string{"a", "b", "c"}
	alone := func(name string) func(*shardgroup.Options) {
		address := freeAddress(t)
		return func(o *shardgroup.Options) { o.Join, o.RaftAddress = nil, address }
	}
	settings := map[string]func(*shardgroup.Options){}
	layout := shardgroup.FoundingLayout{ClusterID: uuid.NewString(), Groups: 2}
	for _, name := range names {
		settings[name] = alone(name)
		node, err := f.open(name, settings[name])
		if err != nil {
			t.Fatal(err)
		}
		if err := node.Ready(); err == nil || !strings.Contains(err.Error(), "found one with skerry init, or join one with -join") {
			t.Errorf("a waiting node says: %v", err)
		}
		layout.Nodes = append(layout.Nodes, f.hello(node).GetNode())
	}
	m, err := shardgroup.NewFounding(layout)
	if err != nil {
		t.Fatal(err)
	}
	for founded := range names {
		for _, name := range names[:founded+1] {
			if err := foundNode(t, f.node(name), m); err != nil {
				t.Fatalf("%s, which %d were founded before: %v", name, founded, err)
			}
		}
		for _, name := range names {
			f.stop(name)
			if _, err := f.open(name, settings[name]); err != nil {
				t.Fatal(err)
			}
		}
		for i, name := range names {
			answer := f.hello(f.node(name))
			if waits := answer.GetPhase() == "waiting"; waits != (i > founded) || proto.Equal(answer.GetFounding(), m) == waits {
				t.Errorf("%s after %d: %s, founding %v", name, founded+1, answer.GetPhase(), answer.GetFounding().GetCluster())
			}
		}
	}
	for _, name := range names {
		f.ready(f.node(name))
	}
	blocks := f.add(f.node("a"), 0, 6)
	wantBlocks(t, f.node("c"), rangeMapSoon(t, f.node("c")), blocks)

	// Another founding is refused, of members and of a node that lost its directory.
	layout.ClusterID = uuid.NewString()
	other, err := shardgroup.NewFounding(layout)
	if err != nil {
		t.Fatal(err)
	}
	if err := foundNode(t, f.node("b"), other); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a member was founded again: %v", err)
	}
	was := f.node("c").ID()
	f.stop("c")
	if err := os.RemoveAll(filepath.Join(f.dir, "c")); err != nil {
		t.Fatal(err)
	}
	wiped, err := f.open("c", settings["c"])
	if err != nil {
		t.Fatal(err)
	}
	_, err = wiped.Service().Found(t.Context(), &nodev1.FoundRequest{Map: m, NodeId: was})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "its data directory is another one now") {
		t.Errorf("a wiped node was founded under its old id: %v", err)
	}
	if err := foundNode(t, wiped, m); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a node was founded by a map without it: %v", err)
	}
}

// A node that waits may join the cluster that two thirds of the founders made before
// its own turn comes; the founding goes on.
func TestFounderJoinsFirst(t *testing.T) {
	f := newCrew(t)
	layout := shardgroup.FoundingLayout{ClusterID: uuid.NewString(), Groups: 2}
	for _, name := range []string{"a", "b", "c"} {
		node, err := f.open(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		layout.Nodes = append(layout.Nodes, f.hello(node).GetNode())
	}
	m, err := shardgroup.NewFounding(layout)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := foundNode(t, f.node(name), m); err != nil {
			t.Fatal(err)
		}
	}
	f.ready(f.node("c"))
	if err := foundNode(t, f.node("c"), m); err != nil {
		t.Errorf("founding goes on: %v", err)
	}
	if groups := f.node("c").Groups(); len(groups) != 3 {
		t.Errorf("the node has groups %v", groups)
	}
}

// All nodes get other addresses at the same time, and find each other.
func TestAllAddressesChange(t *testing.T) {
	f := newCrew(t)
	f.found("a", "b", "c")
	blocks := f.add(f.node("a"), 0, 6)
	for _, name := range []string{"a", "b", "c"} {
		f.stop(name)
	}
	for _, name := range []string{"a", "b", "c"} {
		if _, err := f.open(name, func(o *shardgroup.Options) {
			o.APIAddress, o.Join = name+"-elsewhere", []string{"a-elsewhere"}
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		f.ready(f.node(name + "-elsewhere"))
	}
	m := rangeMapSoon(t, f.node("c-elsewhere"))
	wantBlocks(t, f.node("c-elsewhere"), m, blocks)
	for _, node := range m.Proto().GetNodes() {
		if !strings.HasSuffix(node.GetApiAddress(), "-elsewhere") || node.GetBoots() != 2 {
			t.Errorf("the directory has %v", node)
		}
	}
}

// Builds that do not work with the format in use are not let in.
func TestBuildsOutOfRangeAreRefused(t *testing.T) {
	f := newCrew(t)
	a := f.start("a", func(o *shardgroup.Options) { o.Found = true })
	join := func(minimum, maximum uint32) error {
		_, err := a.Service().Join(t.Context(), &nodev1.JoinRequest{Node: &clusterv1.Node{
			NodeId: uuid.NewString(), RaftAddress: freeAddress(t), ApiAddress: "z", Boots: 1, MinFormat: minimum, MaxFormat: maximum,
		}})
		return err
	}
	if err := join(99, 100); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "run a release that works with it") {
		t.Errorf("a build of the far future: %v", err)
	}
	if err := join(clusterv1.MinFormat, clusterv1.MaxFormat); err != nil {
		t.Errorf("a build of today: %v", err)
	}
	// Its address is taken, but may be given up: the node tries again.
	if err := join(clusterv1.MinFormat, clusterv1.MaxFormat); status.Code(err) != codes.Unavailable {
		t.Errorf("an address of another node: %v", err)
	}
}
