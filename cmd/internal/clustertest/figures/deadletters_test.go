package figures

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/proto/blockobject"
)

var (
	letterCount  = flag.Int("figures.letters", 100_000, "dead letters to recover, in each round")
	letterGroups = flag.Int("figures.letters.groups", 16, "data groups; all take segments")
)

// writeLetters leaves segments as writers do that the metastore does not answer,
// without a sync, with objects if the dead letters are old.
func writeLetters(t *testing.T, dir string, b blocks, count int, withObjects bool) {
	t.Helper()
	write := func(name string, content []byte) {
		name = filepath.Join(dir, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name+".new", content, 0o644), os.Rename(name+".new", name))
	}
	for n := range uint64(count) {
		block := b.block(n)
		content, err := block.MarshalVT()
		must(t, err)
		location := blockobject.Of("", block.GetShard(), 0, ulid.MustParse(block.GetId()))
		if withObjects {
			write(location.Name(), nil)
		}
		location.Kind = blockobject.DeadLetter
		write(location.Name(), content)
	}
}

// A backlog, as after an outage of some minutes, is recovered by three nodes.
func TestFigureDeadLetters(t *testing.T) {
	binary, dir := measures(t)
	folder := filepath.Join(dir, "objects")
	c := found(t, binary, dir, *letterGroups, *letterGroups, "-storage.filesystem.dir", folder, "-metastore.index.dlq-recovery-check-interval", "24h")
	defer os.RemoveAll(folder)
	led := c.awaitSpread(t)
	out := &table{
		title:   fmt.Sprintf("Dead letters: %d groups, %d shards, three nodes that lead %v, a local folder", *letterGroups, shards, led),
		columns: []string{"dead letters", "written", "recovered in", "per second", "lists", "blocks/entry", "CPU/dead letter"},
	}
	now := time.Now()
	for _, round := range []struct {
		name string
		b    blocks
		old  bool
	}{
		{"just now", blocks{begin: now, step: time.Millisecond}, false},
		{"long ago, their objects exist", newBlocks(time.Millisecond), true},
		{"none", blocks{}, false},
	} {
		count := *letterCount
		if round.name == "none" {
			count = 0
		}
		// Leaders that move while they are written begin at once.
		before := c.scrape(t)
		writeLetters(t, folder, round.b, count, round.old)
		used, begun := c.cpu(t), time.Now()
		c.command(t, "dlq", "retry", "-addr", c.nodes[0].public)
		since := func(name string, labels ...string) float64 {
			return c.scrape(t).sum(name, labels...) - before.sum(name, labels...)
		}
		recovered := func() float64 { return since("pyroscope_metastore_dlq_recovery_attempts_total", "status", "success") }
		for deadline := begun.Add(5*time.Second + time.Duration(count)*20*time.Millisecond); recovered() < float64(count); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%v of %d recovered", recovered(), count)
			}
		}
		took := time.Since(begun)
		if count == 0 {
			time.Sleep(2 * time.Second) // whatever an idle sweep does
		}
		cpu := c.cpu(t) - used
		entries := since("skerry_group_entry_commands")
		row := []any{count, round.name, took.Round(10 * time.Millisecond), fmt.Sprintf("%.0f", float64(count)/took.Seconds()), since("skerry_dlq_list_calls_total")}
		if count == 0 {
			out.row(append(row[:2], "", "", row[4], "", "")...)
			continue
		}
		out.row(append(row, fmt.Sprintf("%.0f", float64(count)/entries), (cpu / time.Duration(count)).Round(time.Microsecond))...)
	}
	out.note("lists are those of all nodes together, in pages of 1,000; a folder keeps the directories of shards, so looking at an empty queue costs one list for each")
	out.print(t, dir)
}
