package main

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// addReport counts what becomes of blocks, names the first failures, and shows
// progress on a terminal. One goroutine uses it.
type addReport struct {
	Added    uint64       `json:"added"`
	Failed   uint64       `json:"failed"`
	Seconds  float64      `json:"seconds"`
	Failures []addFailure `json:"failures"` // the first of them

	std   streams
	began time.Time
	shown time.Time
}

type addFailure struct {
	File  string `json:"file"`
	Block string `json:"block,omitempty"`
	Error string `json:"error"`
}

// Progress is redrawn at most this often.
const progressInterval = 200 * time.Millisecond

// clearLine takes the progress away, for a line that stays.
const clearLine = "\r\x1b[K"

func newAddReport(std streams, now time.Time) *addReport {
	return &addReport{Failures: []addFailure{}, std: std, began: now, shown: now}
}

func (r *addReport) note(result sent, now time.Time) {
	if result.err == nil {
		r.Added++
	} else {
		r.fail(result)
	}
	if r.std.terminal && now.Sub(r.shown) >= progressInterval {
		r.shown = now
		fmt.Fprintf(r.std.err, "%s%s, %s/s", clearLine, plural(r.Added+r.Failed, "block"), r.rate(now))
	}
}

func (r *addReport) fail(result sent) {
	r.Failed++
	if r.Failed > listedMax {
		return
	}
	failure := addFailure{result.file, result.block, result.err.Error()}
	var failed *callError
	if errors.As(result.err, &failed) {
		failure.Error = failed.short()
	}
	r.Failures = append(r.Failures, failure)
	text := failure.Error
	if failure.Block != "" {
		text = fmt.Sprintf("%s: block %.64s: %s", failure.File, failure.Block, text)
	}
	r.print("skerry: " + oneLine(text))
}

// print writes a line that stays.
func (r *addReport) print(line string) {
	if r.std.terminal {
		line = clearLine + line
	}
	fmt.Fprintln(r.std.err, line)
}

// finish writes the summary.
func (r *addReport) finish(w io.Writer, format string, now time.Time) error {
	if r.std.terminal {
		fmt.Fprint(r.std.err, clearLine)
	}
	if unlisted := r.Failed - uint64(len(r.Failures)); unlisted > 0 {
		r.print(fmt.Sprintf("skerry: and %s more", plural(unlisted, "failure")))
	}
	elapsed := now.Sub(r.began)
	r.Seconds = elapsed.Seconds()
	if format == formatJSON {
		return writeJSON(w, r)
	}
	text := fmt.Sprintf("added %s in %s (%s/s)", plural(r.Added, "block"), roughly(elapsed), r.rate(now))
	if r.Failed > 0 {
		text += fmt.Sprintf(", %d failed", r.Failed)
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

func (r *addReport) rate(now time.Time) string {
	elapsed := max(now.Sub(r.began), time.Millisecond)
	return thousands(uint64(float64(r.Added) / elapsed.Seconds()))
}

func roughly(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

func plural(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
