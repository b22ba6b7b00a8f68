package shardgroup

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

func foundingOf(t *testing.T, size int) *clusterv1.RangeMap {
	t.Helper()
	layout := FoundingLayout{ClusterID: uuid.NewString(), Groups: 2}
	for range size {
		layout.Nodes = append(layout.Nodes, &clusterv1.Node{NodeId: uuid.NewString(), RaftAddress: "127.0.0.1:1"})
	}
	m, err := NewFounding(layout)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFoundingPlacesEveryGroupOnEveryNode(t *testing.T) {
	m := foundingOf(t, 3)
	seen := map[uint64]bool{}
	for _, group := range m.GetGroups() {
		for i, replica := range group.GetReplicas() {
			if replica.GetNodeId() != m.GetNodes()[i].GetNodeId() || seen[replica.GetReplicaId()] || replica.GetReplicaId() >= m.GetCluster().GetNextReplicaId() {
				t.Errorf("group %d has replica %v", group.GetGroupId(), replica)
			}
			seen[replica.GetReplicaId()] = true
		}
	}
	if len(seen) != 9 {
		t.Errorf("%d replicas, want 9", len(seen))
	}
}

func TestFoundingFaults(t *testing.T) {
	good := Options{DataDir: "d", Founding: foundingOf(t, 3)}
	good.NodeID = good.Founding.GetNodes()[1].GetNodeId()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Options){
		"has no node":               func(o *Options) { o.NodeID = "" },
		"is not a UUID":             func(o *Options) { o.Founding.Cluster.ClusterId = "x" },
		"a UUID and a Raft address": func(o *Options) { o.Founding.Nodes[2].RaftAddress = "" },
		"each node a replica":       func(o *Options) { o.Founding.Groups[0].Replicas = o.Founding.Groups[0].Replicas[:2] },
		"no cluster record":         func(o *Options) { o.Founding.Cluster = nil },
	} {
		o := good
		o.Founding = proto.CloneOf(o.Founding)
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := NewFounding(FoundingLayout{ClusterID: uuid.NewString()}); err == nil {
		t.Error("a cluster without nodes was founded")
	}
}

// A directory that began to found a cluster must not become one of its own, and
// one that has a cluster must not found another.
func TestFoundingIsNotMistaken(t *testing.T) {
	o := Options{DataDir: t.TempDir(), Founding: foundingOf(t, 3), Groups: 2, CacheBytes: 1 << 20, MemTableBytes: 1 << 20}
	o.NodeID = o.Founding.GetNodes()[0].GetNodeId()
	id, err := loadIdentity(o.DataDir, o.founding())
	if err != nil || id.Founders != 3 || id.NodeID != o.NodeID {
		t.Fatalf("%+v, %v", id, err)
	}
	alone := o
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	alone.Founding, alone.NodeID, alone.RaftAddress = nil, "", listener.Addr().String()
	_, err = Open(t.Context(), alone, zap.NewNop(), prometheus.NewRegistry())
	if !errors.Is(err, ErrDataDir) || !strings.Contains(err.Error(), "repeat it as it was begun") {
		t.Errorf("a start without the founding map: %v", err)
	}
	other := o
	other.Founding = foundingOf(t, 3)
	other.NodeID = other.Founding.GetNodes()[0].GetNodeId()
	_, err = Open(t.Context(), other, zap.NewNop(), prometheus.NewRegistry())
	if !errors.Is(err, ErrDataDir) || !strings.Contains(err.Error(), "start with an empty directory") {
		t.Errorf("founding another cluster: %v", err)
	}
}
