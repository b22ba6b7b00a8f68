package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

func fromText(text string) func(string) (io.ReadCloser, error) {
	return func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

// TestConcurrency holds every call until all of the allowed ones are under way:
// fewer would hang, more would be counted.
func TestConcurrency(t *testing.T) {
	const allowed = 4
	var running, most, all atomic.Int64
	full := make(chan struct{})
	var once sync.Once
	s := &sender{concurrency: allowed, open: fromText(strings.Repeat(`{"id":"x"}`, 20)), send: func(context.Context, *metastorev1.BlockMeta) error {
		now := running.Add(1)
		defer running.Add(-1)
		for {
			seen := most.Load()
			if now <= seen || most.CompareAndSwap(seen, now) {
				break
			}
		}
		if now == allowed {
			once.Do(func() { close(full) })
		}
		<-full
		all.Add(1)
		return nil
	}}
	for result := range s.start(t.Context(), []string{"a", "b"}) {
		if result.err != nil {
			t.Error(result.err)
		}
	}
	if all.Load() != 40 || most.Load() != allowed {
		t.Errorf("%d sent, %d at a time; want 40, %d", all.Load(), most.Load(), allowed)
	}
}

// endless is a file without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, `{"id":"x"} `), nil }

func TestInterruptEndsAdding(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var calls atomic.Int64
	s := &sender{
		concurrency: 3,
		open:        func(string) (io.ReadCloser, error) { return io.NopCloser(endless{}), nil },
		send: func(ctx context.Context, _ *metastorev1.BlockMeta) error {
			if calls.Add(1) == 100 {
				interrupt()
			}
			if ctx.Err() != nil {
				return errInterrupted
			}
			return nil
		},
	}
	var out, problems strings.Builder
	err := addBlocks(ctx, streams{out: &out, err: &problems}, s, []string{"a", "b"}, formatTable)
	if !errors.Is(err, errInterrupted) {
		t.Errorf("got %v, want %v", err, errInterrupted)
	}
	if !strings.HasPrefix(out.String(), "added ") || problems.Len() > 0 {
		t.Errorf("summary %q, problems %q", out.String(), problems.String())
	}
}

// A reader that waits for input, such as a terminal, does not hold up the end.
func TestInterruptWhileReading(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	silent, typist := io.Pipe()
	defer typist.Close()
	s := &sender{
		concurrency: 2,
		open:        func(string) (io.ReadCloser, error) { interrupt(); return silent, nil },
		send:        func(context.Context, *metastorev1.BlockMeta) error { return nil },
	}
	var out, problems strings.Builder
	err := addBlocks(ctx, streams{out: &out, err: &problems}, s, []string{"-"}, formatTable)
	if !errors.Is(err, errInterrupted) || !strings.HasPrefix(out.String(), "added 0 blocks") {
		t.Errorf("got %v, summary %q", err, out.String())
	}
}

// Once something was added, a connection that breaks is a failure like others.
func TestLostRouterIsReported(t *testing.T) {
	var calls atomic.Int64
	s := &sender{concurrency: 1, open: fromText(strings.Repeat(`{"id":"x"}`, 3)), send: func(context.Context, *metastorev1.BlockMeta) error {
		if calls.Add(1) == 1 {
			return nil
		}
		return &callError{addr: "h:1", status: status.New(codes.Unavailable, "connection refused")}
	}}
	var out, problems strings.Builder
	err := addBlocks(t.Context(), streams{out: &out, err: &problems}, s, []string{"f"}, formatTable)
	if err == nil || !strings.HasPrefix(err.Error(), "2 failures;") {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(out.String(), "added 1 block in") || strings.Count(problems.String(), "f: block x: UNAVAILABLE: connection refused\n") != 2 {
		t.Errorf("summary %q, problems %q", out.String(), problems.String())
	}
}
