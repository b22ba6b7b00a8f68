package statemachine

import (
	"strings"
	"testing"

	sm "github.com/lni/dragonboat/v4/statemachine"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// A command of a format that is not in use is refused, and changes nothing; once
// the format is active, it applies.
func TestCommandsOfNewerFormats(t *testing.T) {
	db := kvtest.DB(t, 1)
	const kind = raftlogv1.Kind(99)
	applied := 0
	m := newMachine(db, NewCache(1<<20), map[raftlogv1.Kind]since{
		raftlogv1.Kind_KIND_BOOTSTRAP_DIRECTORY: {first, bootstrapDirectory},
		raftlogv1.Kind_KIND_CHANGE_DIRECTORY:    {first, changeDirectory},
		kind: {first + 1, func(*update, *raftlogv1.Command) (*raftlogv1.Result, error) {
			applied++
			return ok(), nil
		}},
	})
	index := uint64(0)
	apply := func(kind raftlogv1.Kind, payload record) *raftlogv1.Result {
		t.Helper()
		index++
		command := &raftlogv1.Command{Kind: kind}
		if payload != nil {
			var err error
			if command.Payload, err = payload.MarshalVT(); err != nil {
				t.Fatal(err)
			}
		}
		encoded, err := (&raftlogv1.Entry{Commands: []*raftlogv1.Command{command}}).MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		entries, err := m.Update([]sm.Entry{{Index: index, Cmd: encoded}})
		if err != nil {
			t.Fatal(err)
		}
		results := &raftlogv1.Results{}
		if err := results.UnmarshalVT(entries[0].Result.Data); err != nil {
			t.Fatal(err)
		}
		return results.Results[0]
	}
	layout, err := clusterv1.NewRangeMap(clusterv1.InitialLayout{
		ClusterID: "c", Node: &clusterv1.Node{NodeId: "n", MaxFormat: first + 1}, Groups: 1, StreamGroups: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := apply(raftlogv1.Kind_KIND_BOOTSTRAP_DIRECTORY, &raftlogv1.BootstrapDirectory{Map: layout}); r.GetStatus() != raftlogv1.Result_STATUS_OK {
		t.Fatal(r)
	}
	if r := apply(kind, nil); r.GetStatus() != raftlogv1.Result_STATUS_CONFLICT || !strings.Contains(r.GetMessage(), "activate format 2 first") || applied != 0 {
		t.Errorf("%v, applied %d times", r, applied)
	}
	activate := &raftlogv1.DirectoryChange{Change: &raftlogv1.DirectoryChange_ActivateFormat{ActivateFormat: &raftlogv1.ActivateFormat{Format: first + 1}}}
	if r := apply(raftlogv1.Kind_KIND_CHANGE_DIRECTORY, activate); r.GetStatus() != raftlogv1.Result_STATUS_OK {
		t.Fatal(r)
	}
	if r := apply(kind, nil); r.GetStatus() != raftlogv1.Result_STATUS_OK || applied != 1 {
		t.Errorf("%v, applied %d times", r, applied)
	}
}

type record interface{ MarshalVT() ([]byte, error) }
