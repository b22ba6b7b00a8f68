package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb/pyroscopedbtest"
)

// An import goes on while a node, and the leaders on it, are gone; the operators' API
// may be elsewhere than Pyroscope's.
func TestImportIntoCluster(t *testing.T) {
	dirs := t.TempDir()
	nodes, addresses := make([]*process, 3), make([]string, 3)
	for i := range nodes {
		nodes[i] = newNode(t, filepath.Join(dirs, fmt.Sprint(i)), 41+i)
		nodes[i].start()
		addresses[i] = nodes[i].node
	}
	mustSkerry(t, "init", "-nodes", strings.Join(addresses, ","), "-groups", "4")
	for _, p := range nodes {
		p.awaitReady()
	}
	const blocks = 4000
	file := source(t, func(w *pyroscopedbtest.Writer) {
		for n := range uint64(blocks) {
			w.Add(numberedBlock(n))
		}
		w.Tombstone(tombstoneOf("job", numberedBlock(blocks)))
	})
	type end struct {
		code int
		said string
	}
	args := []string{"import", "-boltdb", file, "-addr", nodes[0].grpc, "-admin-addr", nodes[0].node, "-o", "json"}
	ended := make(chan end, 1)
	go func() {
		code, said := skerry(t, append(args, "-batch", "20", "-concurrency", "2", "-timeout", "5s")...)
		ended <- end{code, said}
	}()
	held := func() (most uint64) {
		var status struct {
			Replicas []struct {
				NodeID string `json:"node_id"`
				Blocks uint64 `json:"blocks"`
			} `json:"replicas"`
		}
		said := mustSkerry(t, "status", "-addr", nodes[0].node, "-o", "json")
		if err := json.Unmarshal([]byte(said), &status); err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		sums := map[string]uint64{}
		for _, replica := range status.Replicas {
			sums[replica.NodeID] += replica.Blocks
			most = max(most, sums[replica.NodeID])
		}
		return most
	}
	for deadline := time.Now().Add(30 * time.Second); held() < 200; {
		select {
		case e := <-ended:
			t.Fatalf("it ended before a node was killed: exit %d, %s", e.code, e.said)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing is imported")
		}
	}
	nodes[1].kill()
	e := <-ended
	var view importView
	_, document, _ := strings.Cut(e.said, "{") // after what standard error says
	if err := json.NewDecoder(strings.NewReader("{" + document)).Decode(&view); err != nil || e.code != exitOK {
		t.Fatalf("exit %d, %v: %s", e.code, err, e.said)
	}
	if view.Verified.Equal != blocks || view.Verified.Others != 0 || view.Tombstones.Added != 1 {
		t.Errorf("imported: %+v, %+v", view.Verified, view.Tombstones)
	}
	nodes[1].start()
	nodes[1].awaitReady()
	// By the other nodes; and a port without operators' API says where to look.
	mustSkerry(t, "import", "-boltdb", file, "-addr", nodes[1].grpc, "-admin-addr", nodes[2].node, "-verify-only")
	if code, said := skerry(t, "import", "-boltdb", file, "-addr", nodes[1].node, "-verify-only"); code != exitFailure || !strings.Contains(said, "-admin-addr") {
		t.Errorf("exit %d: %s", code, said)
	}
	for _, p := range nodes {
		p.stop()
	}
}
