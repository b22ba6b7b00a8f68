package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skerrydb/skerry/bench/pace"
)

// TestBenchStepsAreHeardOf lets a step be silent, which is said, and then tell by itself how far it is.
func TestBenchStepsAreHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		show := &benchProgress{std: streams{err: &said, terminal: true}}
		read := func() string {
			synctest.Wait()
			show.mu.Lock()
			defer show.mu.Unlock()
			return said.String()
		}
		steps, stop := show.steps("a: ")
		steps.step("b")
		time.Sleep(1500 * time.Millisecond)
		if got := read(); !strings.HasSuffix(got, "bench: a: b\n") {
			t.Errorf("%q", got)
		}
		time.Sleep(3 * time.Second)
		if got := read(); !strings.HasSuffix(got, "a: b: for 4s") {
			t.Errorf("%q", got)
		}
		steps.progress(pace.Progress{Answered: 7})
		time.Sleep(time.Second)
		stop()
		if got := read(); !strings.Contains(got, "a: b: 7, ") || strings.Contains(got, "for 5s") {
			t.Errorf("%q", got)
		}
	})
}

func TestBenchDetails(t *testing.T) {
	details := map[string]uint64{"start_ms": 2, "b_bytes": 3 << 20, "a_us": 1234, "jobs": 1}
	var texts []string
	for _, name := range detailNames(details) {
		texts = append(texts, benchDetail(name, details[name]))
	}
	if got := strings.Join(texts, ", "); got != "1 jobs, 2 start ms, 1,234 a us, 3.0 MiB b" {
		t.Error(got)
	}
}
