package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skerrydb/skerry/statemachine"
)

func testLimits(change func(*Options)) *limits {
	o := Options{MaxReads: 1, MaxQueuedReads: 2, MaxAnswersBytes: maxAnswerBytes, QueryTimeout: time.Second}
	if change != nil {
		change(&o)
	}
	return newLimits(o, newMetrics(prometheus.NewRegistry()))
}

func TestReadsAreBoundedInNumber(t *testing.T) {
	l := testLimits(nil)
	for range 3 {
		if err := l.enter(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.enter(); !errors.Is(err, ErrOverloaded) || !strings.Contains(err.Error(), "3 reads are in progress or wait") {
		t.Errorf("the fourth: %v", err)
	}
	l.leave()
	if err := l.enter(); err != nil {
		t.Errorf("after one left: %v", err)
	}
	if err := l.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.begin(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("a second reader that leaves: %v", err)
	}
	l.end()
	if err := l.begin(t.Context()); err != nil {
		t.Errorf("the place was lost: %v", err)
	}
}

func TestAnswersAreBoundedInBytes(t *testing.T) {
	l := testLimits(nil)
	var grants []uint64
	tooLarge := func(maxBytes uint64) (any, error) {
		grants = append(grants, maxBytes)
		return nil, fmt.Errorf("index: %w", statemachine.ErrTooLarge)
	}
	// An answer gets more room step by step, up to what the read allows.
	if _, err := l.granted(maxAnswerBytes, tooLarge); !errors.Is(err, statemachine.ErrTooLarge) || fmt.Sprint(grants) != "[4194304 33554432 104857600]" {
		t.Errorf("%v with %v", err, grants)
	}
	grants = nil
	if _, err := l.granted(1000, tooLarge); !errors.Is(err, statemachine.ErrTooLarge) || fmt.Sprint(grants) != "[1000]" {
		t.Errorf("%v with %v", err, grants)
	}
	// Two large ones at a time are too much; a small one beside is not.
	_, err := l.granted(maxAnswerBytes, func(maxBytes uint64) (any, error) {
		if maxBytes < maxAnswerBytes {
			return nil, statemachine.ErrTooLarge
		}
		_, err := l.granted(1, func(uint64) (any, error) { return nil, nil })
		return nil, err
	})
	if !errors.Is(err, ErrOverloaded) || !strings.Contains(err.Error(), "narrow the time range") {
		t.Errorf("the budget was exceeded: %v", err)
	}
	if l.bytes != maxAnswerBytes {
		t.Errorf("%d bytes are left, want all", l.bytes)
	}
}

func TestReadsAreBoundedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := testLimits(nil)
		slow := func(ctx context.Context) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		start := time.Now()
		if _, err := l.timed(t.Context(), slow); !errors.Is(err, ErrTooSlow) || time.Since(start) != time.Second {
			t.Errorf("ended after %s with %v", time.Since(start), err)
		}
		// The caller's own end is not the node's.
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := l.timed(ctx, slow); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrTooSlow) {
			t.Errorf("the caller's deadline: %v", err)
		}
	})
}
