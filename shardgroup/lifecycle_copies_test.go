package shardgroup_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

// at gives a node a data directory and other addresses.
func at(api string) func(*shardgroup.Options) {
	return func(o *shardgroup.Options) { o.APIAddress = api }
}

// Of two processes on copies of a data directory one is refused before it starts a
// replica: the later one while the other answers, the older one always, however often
// it tries.
func TestCopiesAreRefused(t *testing.T) {
	f := newCrew(t)
	f.found("a", "b", "c")
	f.stop("b")
	f.copy("b", "old")
	f.start("b", nil)
	_, err := f.open("old", at("old"))
	wantRefusal(t, "a twin", err, "another process runs as node")
	f.stop("b")
	for range 3 {
		_, err = f.open("old", at("old"))
		wantRefusal(t, "an old copy", err, "has started 2 times, this data directory knows of 1")
		// In place of the original, as if a machine had been set back.
		_, err = f.open("old", at("b"))
		wantRefusal(t, "an old copy at the same address", err, "has started 2 times, this data directory knows of 1")
	}
	// A copy is as good as the original that is gone, and from then on the only one.
	f.copy("b", "moved")
	f.start("moved", at("moved"))
	for range 2 {
		_, err = f.open("b", nil)
		wantRefusal(t, "the original of a copy", err, "has started 3 times, this data directory knows of 2")
		f.stop("moved")
	}
	f.start("moved", at("moved"))
}

// A process learns that its node was started elsewhere since, and ends.
func TestProcessThatWasReplacedEnds(t *testing.T) {
	f := newCrew(t)
	f.found("a", "b", "c")
	b := f.node("b")
	f.hide("b", true)
	moved := proto.CloneOf(f.hello(b).GetNode())
	moved.Boots, moved.ApiAddress, moved.RaftAddress = moved.GetBoots()+1, "moved", freeAddress(t)
	retried(t, func() (*nodev1.JoinResponse, error) {
		return f.node("a").Service().Join(t.Context(), &nodev1.JoinRequest{Node: moved, ClusterId: b.ClusterID(), ProcessId: "another"})
	})
	wantFault(t, b, "has started 2 times, this data directory knows of 1")
	for _, name := range []string{"a", "c"} {
		select {
		case err := <-f.node(name).Failed():
			t.Errorf("%s ends: %v", name, err)
		default:
		}
	}
}

// An address that belongs to another cluster by now says nothing about the node.
func TestOtherClusterAtAnAddress(t *testing.T) {
	f := newCrew(t)
	f.found("a", "b", "c")
	for _, name := range []string{"a", "b", "c"} {
		f.stop(name)
	}
	other := f.start("stranger", func(o *shardgroup.Options) { o.Found, o.APIAddress = true, "a" })
	c, err := f.open("c", func(o *shardgroup.Options) { o.Join = []string{"a"} })
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the reason", func() bool {
		err := c.Ready()
		return err != nil && strings.Contains(err.Error(), "a node of another cluster answers: cluster "+other.ClusterID())
	})
	f.stop("a")
	for _, name := range []string{"a", "b"} {
		if _, err := f.open(name, nil); err != nil {
			t.Fatal(err)
		}
	}
	f.ready(c)
}
