package enginebench

import (
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/result"
)

func generator(t *testing.T, blocks uint64) *generate.Generator {
	t.Helper()
	settings := generate.Settings{Seed: 3, Blocks: blocks, Days: 0.2}
	g, err := generate.New(settings.WithDefaults(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestEngines measures a little over each engine: all answers are right, and all are asked the same.
func TestEngines(t *testing.T) {
	const blocks = 400
	digests := map[string]string{}
	for _, engine := range Engines() {
		t.Run(string(engine), func(t *testing.T) {
			var said []string
			runs, steps, target, err := Run(t.Context(), generator(t, blocks), Options{
				Engine: engine, Blocks: blocks, Duration: 150 * time.Millisecond, Repetitions: 1, Askers: 2, WorkDir: t.TempDir(),
				Step: func(name string) { said = append(said, name) },
			})
			file := result.File{Runs: runs, Steps: steps}
			if err != nil || file.Err() != nil {
				t.Fatal(err, file.Err())
			}
			if len(runs) != 1+5+len(Batches) || target.Added <= blocks || target.Name != string(engine) {
				t.Errorf("%d runs, %+v", len(runs), target)
			}
			for _, r := range runs {
				if r.Answered == 0 || r.Throughput <= 0 {
					t.Errorf("%s: %d answers, %g/s", r.Scenario, r.Answered, r.Throughput)
				}
				if known, some := digests[r.Scenario]; some && known != r.Digest {
					t.Errorf("%s: the right answers are %s, of another engine %s", r.Scenario, r.Digest, known)
				}
				digests[r.Scenario] = r.Digest
			}
			var names []string
			for _, s := range steps {
				names = append(names, s.Name)
				if s.DiskBytes <= 0 || s.MemoryBytes <= 0 {
					t.Errorf("%s: %g bytes on disk, %g in memory", s.Name, s.DiskBytes, s.MemoryBytes)
				}
			}
			if got := strings.Join(names, " "); got != "open load ask apply restart snapshot restore" {
				t.Error(got)
			}
			if !strings.Contains(strings.Join(said, "\n"), string(engine)+": labels-24h") {
				t.Error(said)
			}
		})
	}
}

// TestFirstAnswerIsChecked has blocks expected that are not there.
func TestFirstAnswerIsChecked(t *testing.T) {
	for _, engine := range []Engine{Pebble, Bbolt} {
		g := generator(t, 300)
		m, err := open(engine, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer m.close() //nolint:errcheck // a test's throw-away store
		if err := m.begin(); err != nil {
			t.Fatal(err)
		}
		entry, err := encodeBlocks(g, 0, 200)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.apply(entry); err != nil {
			t.Fatal(err)
		}
		r := &run{ctx: t.Context(), g: g, added: 200}
		if first, err := r.firstAnswer(m); err != nil || first <= 0 {
			t.Errorf("%s: after %v: %v", engine, first, err)
		}
		r.added = 300
		if _, err := r.firstAnswer(m); err == nil || !strings.Contains(err.Error(), "lost") {
			t.Errorf("%s: %v", engine, err)
		}
		if err := m.apply(entry); err == nil || !strings.Contains(err.Error(), "ALREADY") {
			t.Errorf("%s: applied twice: %v", engine, err)
		}
	}
}

func TestParse(t *testing.T) {
	if got, err := Parse("bbolt,pebble"); err != nil || len(got) != 2 || got[0] != Bbolt {
		t.Error(got, err)
	}
	for _, wrong := range []string{"", "leveldb", "pebble,pebble", "pebble,"} {
		if got, err := Parse(wrong); err == nil {
			t.Errorf("%q: %v", wrong, got)
		}
	}
}
