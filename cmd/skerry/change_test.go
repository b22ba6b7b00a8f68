package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// fakeRun runs a command line against a fake cluster, within this process.
type fakeRun struct {
	cluster     *fakeCluster
	addr        string
	out, screen strings.Builder
}

func newFakeRun(t *testing.T) *fakeRun {
	t.Helper()
	r := &fakeRun{cluster: newFakeCluster()}
	addr, stop, err := startFakeRouterOf(r.cluster)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	r.addr = addr
	return r
}

func (r *fakeRun) run(ctx context.Context, line string) int {
	r.out.Reset()
	r.screen.Reset()
	std := streams{out: &r.out, err: &r.screen, env: noEnv, terminal: true}
	return run(ctx, std, append(strings.Fields(line), "-addr", r.addr))
}

func unavailable() error { return status.Error(codes.Unavailable, "leaders\x1b change") }

// Somebody who waits sees what is left, and is not disturbed by a change of the
// directory's leader.
func TestWaitShowsProgress(t *testing.T) {
	r := newFakeRun(t)
	// The first two answers are for the name of the node and the first look.
	r.cluster.faults = []error{nil, nil, unavailable(), unavailable()}
	if code := r.run(t.Context(), "replace bbbbbbbb -wait -actor a -reason gone -force"); code != exitOK {
		t.Fatalf("code %d: %s", code, r.screen.String())
	}
	for _, want := range []string{"2 replicas left", "1 replica left", "no replicas left, not removed yet", "cannot tell how far it is: UNAVAILABLE: leaders? change"} {
		if !strings.Contains(r.screen.String(), clearLine+want) {
			t.Errorf("no %q in %q", want, r.screen.String())
		}
	}
	if !strings.HasSuffix(r.screen.String(), clearLine) || strings.Contains(r.screen.String(), "\n") {
		t.Errorf("progress stays: %q", r.screen.String())
	}
	if want := "asked by a? (gone)\ndone\n"; r.out.String() != want {
		t.Errorf("got %q, want %q", r.out.String(), want)
	}
	if got := r.cluster.wanted; len(got) != 1 || got[0].GetActor() != "a" || got[0].GetReason() != "gone" || !got[0].GetForce() || got[0].GetDryRun() {
		t.Errorf("asked for %v", got)
	}
}

// What cannot pass by itself is not waited for.
func TestWaitEndsEarly(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*fakeCluster)
		want    string
	}{
		"not allowed to look": {
			func(f *fakeCluster) { f.faults = []error{nil, status.Error(codes.PermissionDenied, "no")} },
			"PERMISSION_DENIED: no\n",
		},
		"somebody changes it": {
			func(f *fakeCluster) {
				f.steps = []func(){func() {}, func() { (cluster{f.state}).node(nodeC).State = 1 }}
			},
			"node cccccccc-3333 is up now: somebody else changed it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newFakeRun(t)
			c.prepare(r.cluster)
			if code := r.run(t.Context(), "decommission n3 -wait"); code != exitFailure || !strings.Contains(r.screen.String(), c.want) {
				t.Errorf("code %d, %q; want %q", code, r.screen.String(), c.want)
			}
		})
	}
}

// Without the directory nothing is decided, and what its operations became is not
// known.
func TestDirectoryWithoutLeader(t *testing.T) {
	r := newFakeRun(t)
	for _, line := range []string{"drain n1", "settings set leader-balance=off", "upgrade finalize"} {
		r.cluster.leaderless = 1
		if code := r.run(t.Context(), line); code != exitFailure || !strings.Contains(r.screen.String(), "the directory does not answer, so nothing can be changed") {
			t.Errorf("%s: code %d, %q", line, code, r.screen.String())
		}
	}
	if len(r.cluster.wanted) > 0 {
		t.Errorf("asked for %v", r.cluster.wanted)
	}
	r.cluster.leaderless = 2
	if code := r.run(t.Context(), "ranges split 1 -wait"); code != exitOK || !strings.Contains(r.screen.String(), clearLine+"the directory does not answer"+clearLine) {
		t.Errorf("code %d, %q", code, r.screen.String())
	}
	for line, want := range map[string]string{
		"nodes":  "as seen by the router alone: the directory does not answer",
		"status": "the directory does not answer: its leader is not reached; alive is whom the router reaches\n",
		"doctor": "the directory did not say what it knows\n",
	} {
		r.cluster.leaderless = 1
		if r.run(t.Context(), line); !strings.Contains(r.out.String(), want) {
			t.Errorf("%s: got %q, want %q", line, r.out.String(), want)
		}
	}
}

// A look at what a lagging leader of the directory knows proves nothing: the
// node leads nothing there either, before it is drained.
func TestWaitForTheMap(t *testing.T) {
	before := cluster{newFakeCluster().state}
	answer := &nodev1.OperateResponse{MapVersion: before.GetMap().GetCluster().GetMapVersion() + 2}
	r := newFakeRun(t)
	c := &client{addr: r.addr, timeout: time.Second}
	conn, err := c.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	looked := uint64(0)
	r.cluster.steps = []func(){func() { r.cluster.state.Map.Cluster.MapVersion++ }, func() { r.cluster.state.Map.Cluster.MapVersion++ }}
	err = (&change{client: c, waitTimeout: time.Minute}).await(&asker{t.Context(), c, conn}, streams{}, &wish{
		left: func(state cluster, _ *nodev1.OperateResponse) (string, error) {
			looked = state.GetMap().GetCluster().GetMapVersion()
			return "", nil
		},
	}, answer)
	if err != nil || looked != answer.GetMapVersion() {
		t.Errorf("looked at version %d, %v; want %d", looked, err, answer.GetMapVersion())
	}
}

func TestWaitInterrupted(t *testing.T) {
	r := newFakeRun(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.cluster.steps = []func(){func() {}, func() {}, cancel}
	code := r.run(ctx, "ranges split 1 -wait")
	if code != exitFailure || !strings.Contains(r.screen.String(), "interrupted, but it goes on: see: skerry operations") {
		t.Errorf("code %d, %q", code, r.screen.String())
	}
}
