package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/rebuild"
)

// scanReport is what a command that compares objects with the index found.
type scanReport struct {
	Objects string  `json:"store"`
	Seconds float64 `json:"seconds"`
	// Shards that an earlier run had dealt with.
	Resumed int `json:"shards_done_before,omitempty"`
	rebuild.Counts
	// What the command could not find out.
	Warnings []string `json:"warnings"`
	// The first of each verdict, without those that are in order.
	Findings []rebuild.Finding `json:"findings"`

	std   streams
	limit int
	began time.Time
	shown time.Time
	kept  map[rebuild.Verdict]int
}

// Without a terminal progress is a line of the log.
const progressLineInterval = 30 * time.Second

func newScanReport(std streams, store string, limit int, now time.Time) *scanReport {
	return &scanReport{Objects: store, Findings: []rebuild.Finding{}, std: std, limit: limit, began: now, shown: now, kept: map[rebuild.Verdict]int{}}
}

func (r *scanReport) found(finding rebuild.Finding) {
	if finding.Verdict == rebuild.Indexed || r.kept[finding.Verdict] >= r.limit {
		return
	}
	r.kept[finding.Verdict]++
	r.Findings = append(r.Findings, finding)
}

func (r *scanReport) progress(counts rebuild.Counts) {
	now := time.Now()
	interval := progressLineInterval
	if r.std.terminal {
		interval = progressInterval
	}
	if now.Sub(r.shown) < interval {
		return
	}
	r.shown = now
	line := fmt.Sprintf("%d of %d shards, %s, %s read (%s/s), %d added", counts.Shards, counts.ShardsAll,
		plural(counts.Objects, "object"), plural(counts.Footers, "footer"), r.rate(counts.Footers, now), counts.Verdicts[rebuild.Added])
	if r.std.terminal {
		fmt.Fprint(r.std.err, clearLine, line)
	} else {
		fmt.Fprintln(r.std.err, line)
	}
}

// clear takes the progress away.
func (r *scanReport) clear() {
	if r.std.terminal {
		fmt.Fprint(r.std.err, clearLine)
	}
	r.Seconds = time.Since(r.began).Seconds()
}

func (r *scanReport) rate(n uint64, now time.Time) string {
	return thousands(uint64(float64(n) / max(now.Sub(r.began).Seconds(), 0.001)))
}

// failure is an error if there is anything of some verdicts.
func (r *scanReport) failure(verdicts ...rebuild.Verdict) error {
	var all []string
	for _, verdict := range verdicts {
		if n := r.Verdicts[verdict]; n > 0 {
			all = append(all, fmt.Sprintf("%d %s", n, verdict))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("not in order: %s", strings.Join(all, ", "))
}

func (r *scanReport) write(w io.Writer) error {
	elapsed := time.Duration(r.Seconds * float64(time.Second))
	fmt.Fprintf(w, "%s: %s of blocks in %d of %d shards, %d others; %s read in %s (%s/s)\n", r.Objects, plural(r.Counts.Objects, "object"), r.Shards, r.ShardsAll,
		r.Strays, plural(r.Footers, "footer"), roughly(elapsed), r.rate(r.Footers, r.began.Add(elapsed)))
	if r.Resumed > 0 {
		fmt.Fprintf(w, "%s had been dealt with before\n", plural(uint64(r.Resumed), "shard"))
	}
	for _, warning := range r.Warnings {
		fmt.Fprintln(w, "warning:", oneLine(warning))
	}
	counts := newGrid("VERDICT", "OBJECTS")
	for _, verdict := range []rebuild.Verdict{
		rebuild.Indexed, rebuild.Added, rebuild.Missing, rebuild.Compacted, rebuild.Unfinished, rebuild.Young, rebuild.Gone,
		rebuild.Tombstoned, rebuild.Damaged, rebuild.Resized, rebuild.Refused, rebuild.Absent,
	} {
		if n := r.Verdicts[verdict]; n > 0 {
			counts.row(string(verdict), n)
		}
	}
	named := newGrid("VERDICT", "OBJECT", "WHY")
	slices.SortStableFunc(r.Findings, func(a, b rebuild.Finding) int {
		return cmp.Or(strings.Compare(string(a.Verdict), string(b.Verdict)), strings.Compare(a.Object, b.Object))
	})
	for _, finding := range r.Findings {
		if finding.Verdict != rebuild.Added {
			named.row(string(finding.Verdict), finding.Object, finding.Detail)
		}
	}
	return writeAll(w, titled("verdicts", counts), titled("the first of each verdict", named))
}
