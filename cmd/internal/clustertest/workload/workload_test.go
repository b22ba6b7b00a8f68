package workload

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/skerrydb/skerry/cmd/internal/clustertest/history"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run lets a workload work on a fake until enough happened.
func run(t *testing.T, b bug, enough func(*Workload) bool) *Workload {
	t.Helper()
	w, err := New(Options{Routers: []string{startFake(t, b)}, Pace: time.Millisecond, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	for ctx.Err() == nil && !enough(w) {
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	running.Wait()
	return w
}

func TestCorrectServer(t *testing.T) {
	w := run(t, none, func(w *Workload) bool {
		outcomes := w.Outcomes()
		return outcomes["add OK"] > 300 && outcomes["poll Unavailable"] > 0 && w.Jobs.Check().Regranted > 0
	})
	if err := w.Settle(t.Context(), 10*time.Second); err != nil {
		t.Error(err)
	}
	data, jobs := w.Data.Check(), w.Jobs.Check()
	if data.Count+jobs.Count+len(w.Faults()) > 0 {
		t.Errorf("%v\n%v\n%v", data.First, jobs.First, w.Faults())
	}
	if data.Acknowledged < 200 || data.Found < 1000 || data.Absent < 100 || jobs.Results < 10 || jobs.Regranted == 0 {
		t.Errorf("too thin to tell anything: %+v, %+v", data, jobs)
	}
	outcomes := w.Outcomes()
	for _, want := range []string{"add OK", "add Unavailable", "query OK", "poll OK", "poll Unavailable", "get OK"} {
		if outcomes[want] == 0 {
			t.Errorf("no outcome %q in %v", want, outcomes)
		}
	}
}

// Each bug is seen by the rule that is about it.
func TestBugs(t *testing.T) {
	for b, want := range map[bug]string{
		lose: history.RuleLost, delay: history.RuleLost, vanish: history.RuleLost, twice: history.RuleTwice, revive: history.RuleTwice,
		stale: history.RuleFenced, sameJob: history.RuleGivenAgain, oldToken: history.RuleTokenTwice,
		stray: "a query for lanes", refuse: "add: ",
	} {
		t.Run(string(b), func(t *testing.T) {
			var found []string
			run(t, b, func(w *Workload) bool {
				found = w.Faults()
				for _, violation := range append(w.Data.Check().First, w.Jobs.Check().First...) {
					found = append(found, violation.String())
				}
				return slices.ContainsFunc(found, func(text string) bool { return strings.HasPrefix(text, want) })
			})
			if !slices.ContainsFunc(found, func(text string) bool { return strings.HasPrefix(text, want) }) {
				t.Errorf("want %q, found %q", want, found)
			}
		})
	}
}

func TestSettleFails(t *testing.T) {
	w, err := New(Options{Routers: []string{"127.0.0.1:1"}, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	err = w.Settle(t.Context(), 200*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "add to shard") || !strings.Contains(err.Error(), "Unavailable") {
		t.Errorf("settles with %v", err)
	}
}

// What clients add is what producers could add.
func TestBlocksAreValid(t *testing.T) {
	w, err := New(Options{Routers: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	first, second, own := w.segment(5), w.segment(6), w.tenantBlock(4, 5)
	merged := Merge(&metastorev1.CompactionJob{Name: "j"}, 3, []*metastorev1.BlockMeta{first.block, second.block}, false)
	other := Merge(&metastorev1.CompactionJob{Name: "j"}, 4, []*metastorev1.BlockMeta{first.block, second.block}, false)
	if len(merged) != 3 || merged[0].GetId() == other[0].GetId() {
		t.Fatalf("merged into %v and %v", merged, other)
	}
	for _, block := range append(merged, first.block, second.block, own.block) {
		if err := metastorev1.ValidateBlock(block); err != nil {
			t.Error(err)
		}
	}
	if name := merged[1].StringAt(merged[1].GetDatasets()[1].GetLabels()[2]); name != "1/6" || merged[1].TenantName() != tenantName(1) {
		t.Errorf("second datum of the second tenant is %q of %q", name, merged[1].TenantName())
	}
}
