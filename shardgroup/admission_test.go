package shardgroup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/skerrydb/skerry/storage/kv"
)

func TestHalvesOfAReplica(t *testing.T) {
	for name, test := range map[string]struct {
		halves halves
		ok     bool
	}{
		"new":                              {halves{replicaID: 3}, true},
		"started before":                   {halves{replicaID: 3, recorded: 3, logged: true, applied: 9, synced: 9}, true},
		"applied more than was synced":     {halves{replicaID: 3, recorded: 3, logged: true, applied: 10, synced: 9}, true},
		"crash before anything was synced": {halves{replicaID: 3, recorded: 3, logged: true}, true},
		"crash before the log was made":    {halves{replicaID: 3, recorded: 3}, true},
		"store lost":                       {halves{replicaID: 3, logged: true}, false},
		"data of an unknown group":         {halves{replicaID: 3, applied: 1}, false},
		"another replica":                  {halves{replicaID: 3, recorded: 4, logged: true}, false},
		"log lost":                         {halves{replicaID: 3, recorded: 3, applied: 1}, false},
		"removed before":                   {halves{replicaID: 3, removed: 3}, false},
		"being removed":                    {halves{replicaID: 3, recorded: 3, removing: 3, logged: true, applied: 9, synced: 9}, false},
		"one before is being removed":      {halves{replicaID: 4, recorded: 3, removing: 3}, false},
		"store older than the log":         {halves{replicaID: 3, recorded: 3, logged: true, applied: 8, synced: 9}, false},
	} {
		if err := test.halves.fault(); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The record of a replica is durable before its log may exist.
func TestReplicaRecordIsDurable(t *testing.T) {
	dir := t.TempDir()
	for round, want := range []uint64{0, 7} {
		engine, err := kv.OpenEngine(dir, kv.EngineOptions{})
		if err != nil {
			t.Fatal(err)
		}
		local, err := engine.DB(nodeNamespace)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readID(local, replicasBucket, 2); err != nil || got != want {
			t.Errorf("round %d: replica %d is recorded, %v, want %d", round, got, err, want)
		}
		if err := recordReplica(engine, local, 2, 7); err != nil {
			t.Fatal(err)
		}
		if err := engine.Abandon(); err != nil { // a crash
			t.Fatal(err)
		}
	}
}

func TestSyncedFile(t *testing.T) {
	dir := t.TempDir()
	for _, applied := range []uint64{0, 1, 1 << 60} {
		if applied > 0 {
			if err := writeSynced(dir, 2, applied); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := readSynced(dir, 2); err != nil || got != applied {
			t.Errorf("read %d, %v, want %d", got, err, applied)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, syncedFile(2)), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readSynced(dir, 2); !errors.Is(err, ErrDataDir) {
		t.Errorf("damaged: %v", err)
	}
}
