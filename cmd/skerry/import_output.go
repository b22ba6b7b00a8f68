package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/importer"
)

// importProgress shows how far an import is: on a terminal all the time, elsewhere now
// and then.
type importProgress struct {
	std   streams
	quiet bool // standard error says only what is wrong
	shown time.Time
	step  string
}

// Progress in a log of lines.
const importLineInterval = 10 * time.Second

func newImportProgress(std streams, quiet bool) *importProgress {
	return &importProgress{std: std, quiet: quiet, shown: time.Now()}
}

// note writes a line that stays.
func (p *importProgress) note(line string) {
	p.clear()
	fmt.Fprintln(p.std.err, "skerry: "+oneLine(line))
}

func (p *importProgress) clear() {
	if p.std.terminal {
		fmt.Fprint(p.std.err, clearLine)
	}
}

func (p *importProgress) progress(now importer.Progress) {
	if p.std.terminal {
		fmt.Fprint(p.std.err, clearLine+importLine(now))
		return
	}
	if p.quiet || p.step == now.Step && time.Since(p.shown) < importLineInterval || p.step != now.Step && now.Elapsed < importLineInterval {
		return
	}
	p.shown, p.step = time.Now(), now.Step
	fmt.Fprintln(p.std.err, importLine(now))
}

func importLine(now importer.Progress) string {
	rate := float64(now.Done) / max(now.Elapsed, time.Millisecond).Seconds()
	line := fmt.Sprintf("%s: %s", now.Step, thousands(now.Done))
	if now.Total > 0 {
		line += fmt.Sprintf(" of %s (%d%%)", thousands(now.Total), 100*now.Done/now.Total)
	}
	line += fmt.Sprintf(", %s/s", thousands(uint64(rate)))
	if left := now.Total - now.Done; now.Total > now.Done && rate > 0 {
		line += fmt.Sprintf(", %s left", (time.Duration(float64(left)/rate) * time.Second).Round(time.Second))
	}
	return line
}

// interrupted names the end of the context as what it is.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// explained words errors of calls as other commands do.
func (f *importFlags) explained(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", errInterrupted, err)
	}
	answer, ok := status.FromError(err)
	if !ok {
		return err
	}
	if answer.Code() == codes.Unimplemented && strings.Contains(answer.Message(), "unknown service") {
		return fmt.Errorf("%w; it may be that operators have a port of their own: -addr is that of Pyroscope's API, -admin-addr that of the operators'", err)
	}
	failed := &callError{addr: f.client.addr, timeout: f.client.timeout, status: answer}
	if hint := failed.hint(); hint != "" {
		return fmt.Errorf("%w; %s", err, hint)
	}
	return err
}

// importView is the report as JSON, and whether it is good.
type importView struct {
	DryRun bool `json:"dry_run"`
	*importer.Report
	Error string `json:"error,omitempty"`
}

func writeImport(std streams, f *importFlags, report *importer.Report, err error) error {
	if f.client.format.Value == formatJSON {
		view := importView{DryRun: f.dryRun, Report: report}
		if err != nil {
			view.Error = err.Error()
		}
		return writeJSON(std.out, view)
	}
	var text strings.Builder
	writeImportSource(&text, report.Source)
	if !f.dryRun && !f.verifyOnly {
		writeImported(&text, report)
	}
	if v := report.Verified; v != nil {
		writeVerified(&text, v)
	}
	if e := report.Expiring; e.Blocks > 0 {
		fmt.Fprintf(&text, "retention   %s of %s are past their period, and go with the next sweeps: see skerry retention plan\n", plural(e.Blocks, "block"), plural(e.Shards, "shard"))
	}
	if n := len(report.PausedBefore); n > 0 {
		fmt.Fprintf(&text, "compaction  was paused in %s before, and is: see skerry compaction resume\n", plural(uint64(n), "group"))
	}
	_, failed := io.WriteString(std.out, text.String())
	return failed
}

func writeImportSource(w io.Writer, s importer.SourceReport) {
	fmt.Fprintf(w, "source      %s", printable(s.Name))
	if s.Index > 0 {
		fmt.Fprintf(w, ", up to term %d, index %d", s.Term, s.Index)
	}
	fmt.Fprintf(w, "\nholds       %s (objects of %s) in %s of %s, %s\n", plural(s.Blocks, "block"), sizeText(s.ObjectBytes),
		plural(s.Shards, "shard"), plural(s.Tenants, "tenant"), plural(s.Partitions, "partition"))
	fmt.Fprintf(w, "to delete   %s of blocks, %d of shards\n", plural(s.BlockTombstones, "tombstone"), s.ShardTombstones)
	fmt.Fprintf(w, "left out    %s, %s under tombstones, %s, %s (%d of them without a block)\n", plural(s.DamagedRows, "damaged row"),
		plural(s.BuriedBlocks, "block"), plural(s.EmptyShards, "empty shard"), count(s.Queued, "queue entry", "queue entries"), s.QueuedStale)
}

func count(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func writeImported(w io.Writer, report *importer.Report) {
	b, t := report.Blocks, report.Tombstones
	took := time.Duration(b.Seconds * float64(time.Second))
	rate := uint64(float64(b.Added) / max(b.Seconds, 0.001))
	fmt.Fprintf(w, "added       %s in %s (%s/s), %d were there, %d refused\n", plural(b.Added, "block"), roughly(took), thousands(rate), b.Known, b.Refused)
	fmt.Fprintf(w, "tombstones  %d added, %d held before, %d left out, %d refused\n", t.Added, t.Held, t.Live, t.Refused)
}

func writeVerified(w io.Writer, v *importer.VerifyReport) {
	fmt.Fprintf(w, "verified    %d of %s equal, %d missing, %d different, %s that the source does not have\n",
		v.Equal, plural(v.Blocks, "block"), v.Missing, v.Different, plural(v.Others, "block"))
	fmt.Fprintf(w, "checksums   source %s, cluster %s; %s differ of %d\n", v.SourceSum, v.ClusterSum, plural(v.PlacesDiffer, "shard"), v.Places)
	for _, place := range v.Differences {
		fmt.Fprintf(w, "  %s: of %s %d missing, %d different; checksums %s, %s\n", printable(place.Place), plural(place.Blocks, "block"), place.Missing, place.Different, place.SourceSum, place.ClusterSum)
	}
	if more := v.PlacesDiffer - uint64(len(v.Differences)); more > 0 {
		fmt.Fprintf(w, "  and %s\n", plural(more, "more shard"))
	}
}
