package scenario_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/pace"
	"github.com/skerrydb/skerry/bench/scenario"
)

var small = generate.Settings{Seed: 3, Blocks: 400, Days: 0.5}

func calls(callers int, n uint64) pace.Options { return pace.Options{Callers: callers, Calls: n} }

func summary(t *testing.T, m *pace.Measurement, err error) pace.Summary {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Summary()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func loaded(t *testing.T, b bug, settings generate.Settings) (*scenario.Session, *generate.Generator) {
	t.Helper()
	session, g := newSession(t, b, settings)
	m, err := session.Load(t.Context(), settings.Blocks, calls(4, 0))
	summary(t, m, err)
	if session.Added() != settings.Blocks {
		t.Fatalf("%d blocks are there", session.Added())
	}
	return session, g
}

func TestRightAnswers(t *testing.T) {
	for _, shape := range []generate.Shape{generate.Standard, generate.Real} {
		settings := small
		settings.Shape = shape
		// One that refuses now and then is right, too.
		session, g := loaded(t, flaky, settings)
		m, err := session.Write(t.Context(), calls(4, 50))
		if s := summary(t, m, err); s.Failed == 0 || s.Answered+s.Failed != 50 {
			t.Errorf("%+v", s)
		}
		found := map[string]uint64{}
		for _, kind := range scenario.Kinds(g) {
			m, asked, err := session.Ask(t.Context(), kind, calls(2, 16))
			if s := summary(t, m, err); s.Wrong > 0 || s.Answered != 16 {
				t.Errorf("%s, %s: %+v", shape, kind.Name, s)
			}
			found[kind.Name] = asked.Items
			// Each of a pool of 8 was asked twice.
			if asked.Items != 2*asked.Expected.Count {
				t.Errorf("%s, %s: %d items, want twice %d", shape, kind.Name, asked.Items, asked.Expected.Count)
			}
		}
		for _, name := range []string{"tenant-1h-service", "tenant-24h", "tenants-6h", "labels-24h"} {
			if found[name] == 0 {
				t.Errorf("%s: %s finds nothing", shape, name)
			}
		}
	}
}

func TestWrongAnswers(t *testing.T) {
	for b, want := range map[bug]string{lose: "lost, as [", twice: "1 too many, as [", stray: "1 too many, as [01M80E7JAR10CSPS1GYJMT6K45]", other: "1 different, as [", noLabels: "digest"} {
		t.Run(string(b), func(t *testing.T) {
			session, g := loaded(t, b, small)
			for _, kind := range scenario.Kinds(g) {
				if kind.Labels != (b == noLabels) || kind.Name == "tenant-7d-rare" {
					continue
				}
				m, _, err := session.Ask(t.Context(), kind, calls(1, 8))
				s := summary(t, m, err)
				if s.Wrong > 0 && !strings.Contains(s.WrongExamples[0], want) {
					t.Errorf("%s: %q does not say %q", kind.Name, s.WrongExamples[0], want)
				}
				if (kind.Name == "tenant-24h" || kind.Labels) && s.Wrong == 0 {
					t.Errorf("%s: nothing is wrong", kind.Name)
				}
			}
		})
	}
}

// Questions while others write: what was acknowledged before must be there.
func TestMixed(t *testing.T) {
	for b, wrong := range map[bug]bool{none: false, flaky: false, restless: true, twice: true, lastTwice: true, lastOther: true} {
		t.Run(string(b), func(t *testing.T) {
			session, g := loaded(t, b, small)
			kind := scenario.Kinds(g)[1]
			end := g.Settings().End
			for i := range kind.Queries {
				kind.Queries[i].From, kind.Queries[i].To = end-1000, end+1000 // fresh ones, too
			}
			asked, written, found, err := session.Mixed(t.Context(), kind, calls(2, 200), calls(2, 300))
			s := summary(t, asked, err)
			if (s.Wrong > 0) != wrong {
				t.Errorf("%d wrong: %q", s.Wrong, s.WrongExamples)
			}
			if w := summary(t, written, nil); w.Answered < 200 || found.Items == 0 || session.Added() < small.Blocks+300 {
				t.Errorf("%d written, %d found", w.Answered, found.Items)
			}
		})
	}
}

func TestCompaction(t *testing.T) {
	for b, wrong := range map[bug]bool{none: false, cleanup: false, forget: true, keep: true} {
		for _, shape := range []generate.Shape{generate.Standard, generate.Real} {
			t.Run(string(b)+" "+string(shape), func(t *testing.T) {
				settings := small
				settings.Shape, settings.Shards = shape, 2
				session, _ := loaded(t, b, settings)
				if err := session.CheckBytes(t.Context()); err != nil {
					t.Fatal("before:", err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				m, done, err := session.Compact(ctx, scenario.CompactOptions{Slots: 3, Quiet: 200 * time.Millisecond}, pace.Options{Callers: 2})
				summary(t, m, err)
				if done.Jobs < 35 || done.Sources != 10*done.Jobs || done.Results < done.Jobs {
					t.Errorf("%+v", done)
				}
				var bad *scenario.WrongError
				if err := session.CheckBytes(t.Context()); errors.As(err, &bad) != wrong || err != nil && !wrong {
					t.Errorf("checked: %v", err)
				}
			})
		}
	}
}

func TestWriteAndLoadCount(t *testing.T) {
	session, _ := newSession(t, none, small)
	m, err := session.Write(t.Context(), calls(1, 100))
	summary(t, m, err)
	if session.Added() < 100 || session.Added() > 102 {
		t.Errorf("%d blocks are there", session.Added())
	}
	if _, err := session.Load(t.Context(), 10, calls(1, 0)); err == nil {
		t.Error("loads what is there")
	}
}
