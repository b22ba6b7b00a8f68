package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/bench/result"
)

// TestBenchRestartOfData loads a server, stops it, and has its data killed and started: what an earlier command added
// is what must be there.
func TestBenchRestartOfData(t *testing.T) {
	dir := t.TempDir()
	data, load, restart := filepath.Join(dir, "data"), filepath.Join(dir, "load.json"), filepath.Join(dir, "restart.json")
	server := newNode(t, data, 71)
	server.args[0] = "serve"
	server.args = append(server.args, "-groups", "1")
	server.start()
	server.awaitReady()
	mustSkerry(t, "bench", "load", "-addr", server.grpc, "-blocks", "300", "-days", "0.05", "-out", load)
	server.stop()
	said := mustSkerry(t, "bench", "restart", "-data-dir", data, "-data", load, "-rounds", "1", "-duration", "100ms", "-rtt", "10ms", "-work-dir", dir, "-out", restart)
	if !strings.Contains(said, "first answer ms") || strings.Contains(said, "\nload ") {
		t.Error(said)
	}
	file, err := result.Read(restart)
	if err != nil || len(file.Targets) != 1 || file.Targets[0].Added <= 300 {
		t.Fatalf("%v: %+v", err, file.Targets)
	}
	// The first result does not know of what the second added: that is noticed.
	if code, said := skerry(t, "bench", "restart", "-data-dir", data, "-blocks", "200", "-days", "0.05", "-rounds", "1", "-duration", "100ms", "-rtt", "10ms", "-work-dir", dir); code != 1 || !strings.Contains(said, "wrong answer") && !strings.Contains(said, "too many") {
		t.Errorf("exit %d: %s", code, said)
	}
}
