package suite

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/bench/usage"
)

// script makes a program that is started instead of a server.
func script(t *testing.T, body string) *server {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "server")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := newServer(path, dir, []string{"-more", "1"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestServerThatDoesNotStart(t *testing.T) {
	s := script(t, "echo no room >&2; exit 3\n")
	err := s.start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no room") || !strings.Contains(err.Error(), "exit status 3") {
		t.Error(err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := script(t, "exec sleep 100\n").start(ctx); err == nil {
		t.Error("started without an address")
	}
}

func TestServer(t *testing.T) {
	s := script(t, `echo "metastore.v1 gRPC   127.0.0.1:5"; echo "Stop with Ctrl-C"; exec sleep 100`+"\n")
	if err := os.Mkdir(filepath.Join(s.dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.start(t.Context()); err != nil || s.address != "127.0.0.1:5" {
		t.Fatal(s.address, err)
	}
	u, err := usage.Measure(s.command.Process.Pid, s.dir)
	if err != nil || u.Memory <= 0 || u.Peak < u.Memory || u.Disk <= 0 {
		t.Errorf("%+v, %v", u, err)
	}
	// It has no handler, so the signal is what ends it.
	if err := s.stop(); err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Error(err)
	}
	if line := strings.Join(s.commandLine(), " "); !strings.HasSuffix(line, "-more 1") || !strings.Contains(line, s.raft) {
		t.Error(line)
	}
}

func TestTail(t *testing.T) {
	b := &tailBuffer{}
	for range 3 {
		if n, err := b.Write([]byte(strings.Repeat("x", stderrBytes-1) + "\n")); n != stderrBytes || err != nil {
			t.Fatal(n, err)
		}
	}
	if len(b.text()) != stderrBytes {
		t.Error(len(b.text()))
	}
}
