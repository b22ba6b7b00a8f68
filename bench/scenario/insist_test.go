package scenario_test

import (
	"testing"
	"time"

	"github.com/skerrydb/skerry/bench/pace"
	"github.com/skerrydb/skerry/bench/scenario"
)

// TestInsist adds through refusals: nobody is told of them, and all blocks are there.
func TestInsist(t *testing.T) {
	session, g := newSession(t, flaky, small)
	m, gaps, err := session.Insist(t.Context(), calls(4, 200))
	if s := summary(t, m, err); s.Answered != 200 || s.Failed > 0 {
		t.Errorf("%d answered, %d failed", s.Answered, s.Failed)
	}
	if gaps.All <= 0 || gaps.Shard < gaps.All || gaps.Shard > time.Minute {
		t.Errorf("%+v", gaps)
	}
	if err := session.Settle(t.Context()); err != nil || session.Added() < 200 {
		t.Error(session.Added(), err)
	}
	m, _, err = session.Ask(t.Context(), scenario.Kinds(g)[1], pace.Options{Callers: 1, Calls: 8})
	if s := summary(t, m, err); s.Wrong > 0 {
		t.Error(s.WrongExamples)
	}
}

// TestInsistIsChecked loses acknowledged blocks: that is noticed.
func TestInsistIsChecked(t *testing.T) {
	session, _ := newSession(t, lose, small)
	m, _, err := session.Insist(t.Context(), calls(4, 300))
	summary(t, m, err)
	if err := session.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := session.CheckBytes(t.Context()); err == nil {
		t.Error("nobody missed what was lost")
	}
}
