package sim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/schedule"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts print into them")

// TestScripts runs testdata/*.txt: paragraphs of commands, "----", and what they
// print. Lines that begin with # are kept. See script.command for the commands.
func TestScripts(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(string(content))
			if *rewrite {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(content) {
				t.Errorf("run with -rewrite and look at the difference; got:\n%s", got)
			}
		})
	}
}

// runScript returns the script with what it prints. A line "new" starts with empty
// tables.
func runScript(content string) string {
	var out []string
	s := newScript()
	for paragraph := range strings.SplitSeq(strings.TrimSpace(content), "\n\n") {
		input, _, _ := strings.Cut(paragraph, "\n----")
		var commands []string
		for line := range strings.SplitSeq(input, "\n") {
			if line == "new" {
				s = newScript()
			} else if line != "" && !strings.HasPrefix(line, "#") {
				commands = append(commands, line)
			}
		}
		printed := s.run(commands)
		paragraph = input
		if printed != "" {
			paragraph += "\n----\n" + printed
		}
		out = append(out, strings.TrimSpace(paragraph))
	}
	return strings.Join(out, "\n\n") + "\n"
}

// script is the state of a script: tables, and short names for what is in them.
type script struct {
	tables *Tables
	config schedule.Config
	shards *shards
	out    strings.Builder
	last   schedule.Decision
	number uint64
	blocks map[string]string // name to id, and back
	jobs   map[string]string
}

const midnight = start

var utc = regexp.MustCompile(`(\d\d:\d\d:\d\d)Z`)

func newScript() *script {
	config := schedule.Defaults()
	s := &script{config: config, tables: NewTables(config.Compaction.Levels), shards: &shards{}, blocks: map[string]string{}, jobs: map[string]string{}}
	s.tables.Now = midnight
	return s
}

func (s *script) printf(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

func (s *script) run(commands []string) string {
	s.out.Reset()
	for i := 0; i < len(commands); i++ {
		words := strings.Fields(commands[i])
		var updates [][]string
		for i+1 < len(commands) && strings.HasPrefix(commands[i+1], "  ") {
			i++
			updates = append(updates, strings.Fields(commands[i]))
		}
		if err := s.command(words[0], newArguments(words[1:]), updates); err != nil {
			s.printf("error: %v", err)
		}
	}
	// Times of the first day are times of day.
	printed := strings.ReplaceAll(strings.TrimSpace(s.out.String()), "2026-01-01T", "")
	return utc.ReplaceAllString(printed, "$1")
}

func (s *script) command(word string, a arguments, updates [][]string) error {
	switch word {
	case "at": // time of day
		s.tables.Now = a.moment("0", s.tables.Now)
	case "config": // jobs=, failures=, attempts=, skips=, paused=
		s.config.Compaction.JobsMax = a.number("jobs", s.config.Compaction.JobsMax)
		s.config.FailuresMax = uint32(a.number("failures", int(s.config.FailuresMax)))
		s.config.AttemptsMax = uint32(a.number("attempts", int(s.config.AttemptsMax)))
		s.config.Compaction.SkipsMax = a.number("skips", s.config.Compaction.SkipsMax)
		s.config.Paused = a.text("paused", "no") == "yes"
	case "levels": // levels 3/1s 2/2s …: blocks and age by level; with nothing in the tables
		var levels []compaction.Level
		for _, word := range a.plain {
			var level compaction.Level
			blocks, age, _ := strings.Cut(word, "/")
			fmt.Sscan(blocks, &level.BlocksMax)
			level.AgeMax, _ = time.ParseDuration(age)
			levels = append(levels, level)
		}
		s.config.Compaction.Levels = levels
		now := s.tables.Now
		s.tables = NewTables(levels)
		s.tables.Now = now
	case "add": // names of blocks; tenant=, shard=, level=, created=
		return s.add(a)
	case "tombstone": // names; tenant=, shard=
		for _, name := range a.plain {
			s.tables.AddTombstone(name, a.text("tenant", ""), uint32(a.number("shard", 1)))
		}
	case "outbox": // shard, full or free
		s.tables.Full[uint32(a.number("0", 0))] = a.plain[1] == "full"
	case "plan": // number of jobs
		plan, err := compaction.Make(s.tables, s.config.Compaction, s.tables.Now, a.number("0", 0))
		if err != nil {
			return err
		}
		for _, job := range plan.Jobs {
			s.created(job)
		}
		s.printf("stopped: %v", plan.Stopped)
	case "poll": // capacity; below, indented: reports
		return s.poll(a, updates)
	case "apply":
		if err := s.tables.Apply(s.last); err != nil {
			s.printf("refused")
		}
	case "why":
		s.why()
	default:
		return s.retention(word, a)
	}
	return nil
}

func (s *script) add(a arguments) error {
	for _, name := range names(a.plain) {
		id, found := s.blocks[name]
		if !found {
			s.number++
			id = BlockID(a.moment("created", s.tables.Now), s.number)
			s.blocks[name], s.blocks[id] = id, name
		}
		if !s.tables.Add(id, a.text("tenant", ""), uint32(a.number("shard", 1)), uint32(a.number("level", 0))) {
			s.printf("%s is known", name)
		}
	}
	return nil
}

// why prints what waits, and why.
func (s *script) why() {
	for level := range s.config.Compaction.Levels {
		for key := range s.tables.OldestKeys(uint32(level)) {
			reason := compaction.WhyKey(key, s.config.Compaction, s.tables.Now, s.tables.Full[key.Shard])
			s.printf("tenant %q, shard %d, level %d: %v", key.Tenant, key.Shard, key.Level, reason)
		}
		for batch := range s.tables.Returned(uint32(level)) {
			s.printf("%s: %v", s.list(batch.Blocks), compaction.WhyBatch(batch, s.tables.Now, s.tables.Full[batch.Shard]))
		}
	}
	for _, job := range s.tables.order.rows {
		s.printf("%s: %v", s.job(job.Name), schedule.WhyJob(job, s.config, s.tables.Now))
	}
	for _, free := range s.tables.free.rows {
		s.printf("tombstone %s since %v", s.job(free.Name), free.Since)
	}
}

// job is the short name of a job.
func (s *script) job(name string) string {
	if short, found := s.jobs[name]; found {
		return short
	}
	if _, _, _, err := metastorev1.ParseJobName(name); err != nil {
		return name
	}
	short := fmt.Sprintf("j%d", len(s.jobs)/2+1)
	s.jobs[name], s.jobs[short] = short, name
	return short
}

func (s *script) created(job compaction.Job) {
	text := fmt.Sprintf("create %s: tenant %q, shard %d, level %d, [%s]", s.job(job.Name), job.Tenant, job.Shard, job.Level, s.list(job.Sources))
	if len(job.Tombstones) > 0 {
		text += " tombstones " + s.tombstones(job.Tombstones)
	}
	s.printf("%s: %v", text, job.Reason)
}

func (s *script) tombstones(names []string) string {
	var short []string
	for _, name := range names {
		short = append(short, s.job(name))
	}
	return strings.Join(short, " ")
}

// list prints names of blocks, with runs of numbered names as first..last.
func (s *script) list(ids []string) string {
	var words []string
	for i := 0; i < len(ids); {
		first, last := s.blocks[ids[i]], s.blocks[ids[i]]
		for i++; i < len(ids) && s.blocks[ids[i]] == following(last); i++ {
			last = s.blocks[ids[i]]
		}
		if first == last {
			words = append(words, first)
		} else {
			words = append(words, first+".."+last)
		}
	}
	return strings.Join(words, " ")
}

// following is the name with the next number.
func following(name string) string {
	letters := strings.TrimRight(name, "0123456789")
	var number int
	fmt.Sscan(name[len(letters):], &number)
	return fmt.Sprintf("%s%d", letters, number+1)
}

// names expands a1..a3.
func names(words []string) (all []string) {
	for _, word := range words {
		first, last, run := strings.Cut(word, "..")
		all = append(all, first)
		for run && first != last && len(all) < 1000 {
			first = following(first)
			all = append(all, first)
		}
	}
	return all
}

// arguments of a command: plain ones, and key=value.
type arguments struct {
	plain []string
	named map[string]string
}

func newArguments(words []string) arguments {
	a := arguments{named: map[string]string{}}
	for _, word := range words {
		if key, value, found := strings.Cut(word, "="); found {
			a.named[key] = value
		} else {
			a.plain = append(a.plain, word)
		}
	}
	return a
}

func (a arguments) text(key, otherwise string) string {
	if value, found := a.named[key]; found {
		return value
	}
	if key == "0" && len(a.plain) > 0 {
		return a.plain[0]
	}
	return otherwise
}

func (a arguments) number(key string, otherwise int) int {
	fmt.Sscan(a.text(key, ""), &otherwise)
	return otherwise
}

// moment understands 15:04:05, 2026-01-02T15:04:05, and +1h30m from now.
func (a arguments) moment(key string, otherwise planner.Time) planner.Time {
	return parseMoment(a.text(key, ""), otherwise)
}

func parseMoment(text string, now planner.Time) planner.Time {
	if after, relative := strings.CutPrefix(text, "+"); relative {
		d, _ := time.ParseDuration(after)
		return now.Add(d)
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		for _, prefix := range []string{"", "2026-01-01T"} {
			if at, err := time.Parse(layout, prefix+text); err == nil {
				return planner.Time(at.UnixNano())
			}
		}
	}
	return now
}

func sortedNames[V any](m map[string]V) []string {
	var all []string
	for name := range m {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
