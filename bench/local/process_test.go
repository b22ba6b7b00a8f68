package local

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/bench/usage"
)

// script makes a program that is started instead of a server; who answers for it says whether it is ready.
func script(t *testing.T, body string, ready http.HandlerFunc) *process {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(ready)
	t.Cleanup(web.Close)
	return &process{executable: path, http: strings.TrimPrefix(web.URL, "http://")}
}

func never(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "not yet", http.StatusServiceUnavailable)
}

func TestProcessThatDoesNotStart(t *testing.T) {
	p := script(t, "echo no room >&2; exit 3\n", never)
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	if err := p.ready(t.Context()); err == nil || !strings.Contains(err.Error(), "no room") || !strings.Contains(err.Error(), "exit status 3") {
		t.Error(err)
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	slow := script(t, "exec sleep 100\n", never)
	if err := slow.start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := slow.ready(ctx); err == nil {
		t.Error("ready, though it never said so")
	}
	if err := slow.kill(); err != nil || slow.running() {
		t.Error("killed:", err)
	}
}

func TestProcess(t *testing.T) {
	asked := 0
	p := script(t, "exec sleep 100\n", func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked < 3 || r.URL.Path != "/readyz" {
			never(w, r)
		}
	})
	for range 2 { // lives
		asked = 0
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
		if err := p.ready(t.Context()); err != nil || asked < 3 {
			t.Fatalf("ready after %d questions: %v", asked, err)
		}
		u, err := usage.Measure(p.pid(), t.TempDir())
		if err != nil || u.Memory <= 0 || u.Peak < u.Memory {
			t.Errorf("%+v, %v", u, err)
		}
		// It has no handler, so the signal is what ends it.
		if err := p.stop(); err == nil || !strings.Contains(err.Error(), "terminated") {
			t.Error(err)
		}
	}
}

func TestCommandLines(t *testing.T) {
	one, err := New(Options{Executable: "skerry", Dir: t.TempDir(), Nodes: 1, Groups: 5, Args: []string{"-more", "1"}})
	if err != nil {
		t.Fatal(err)
	}
	if line := strings.Join(one.Commands(), " "); !strings.HasPrefix(line, "skerry serve ") || !strings.Contains(line, "-groups 5") || !strings.HasSuffix(line, "-more 1") {
		t.Error(line)
	}
	three, err := New(Options{Executable: "skerry", Dir: t.TempDir(), Nodes: 3, Groups: 5})
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Join(three.Commands(), " ")
	if strings.Count(line, "skerry node ") != 3 || strings.Count(line, "-zone zone-") != 3 || strings.Contains(line, "-groups") {
		t.Error(line)
	}
	seen := map[string]bool{}
	for _, n := range three.nodes {
		for _, address := range []string{n.api, n.raft, n.public, n.web, n.dir} {
			if seen[address] {
				t.Errorf("%s is of two", address)
			}
			seen[address] = true
		}
	}
	if _, err := New(Options{Nodes: 2}); err == nil {
		t.Error("2 nodes were accepted")
	}
	if err := one.Replace(t.Context()); err == nil {
		t.Error("a single server was replaced")
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
