package main

import (
	"context"
	"errors"
	"flag"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skerrydb/skerry/cmd/internal/config"
	"github.com/skerrydb/skerry/cmd/internal/flags"
	"github.com/skerrydb/skerry/cmd/internal/rebuild"
	"github.com/skerrydb/skerry/cmd/internal/timearg"
	"github.com/skerrydb/skerry/storage/objects"
)

// verdictsHelp follows in the help of commands that compare objects with the index.
const verdictsHelp = `The command reads the bucket itself: it needs the storage settings of the nodes. It reads
the index (and adds to it) as Pyroscope does, and asks as an operator what is to be deleted. It goes through the bucket shard by shard
and gives each object of a block a verdict:

  indexed     in order
  missing     the index lacks it
  compacted   the index lacks it, but blocks of higher levels hold times of all its
              datasets before and after: it was compacted, and waits to be deleted
  unfinished  the index lacks it, but has the blocks that it was made of
  young       the index lacks it, but its writer may be about to add it (-min-age)
  tombstoned  it is to be deleted
  gone        it was deleted meanwhile
  damaged     it has no footer, or another block's
  resized     the index says another size
  refused     the index will never take it
  absent      the index has it, the bucket does not (check only)

No block names its sources, so compacted and unfinished are drawn from times: a block that
compaction left out between others that it took is taken for compacted.
`

func objectCommands() []command {
	return []command{
		{
			name: "rebuild", summary: "bring back what the index lacks from the footers of objects",
			detail: verdictsHelp + `
After a loss of metadata, found an empty cluster and run this. What is missing is added as
by Pyroscope; what is compacted or unfinished is left out, unless -doubtful. Repeat it
after an interruption: what is indexed is not read again.

What a cluster deleted is missing, too, as long as its objects are there. Where there was
no loss look with -dry-run first.
`,
			setup: setUpRebuild,
		},
		{
			name: "check objects", summary: "compare the index with the objects in the bucket",
			detail: verdictsHelp + `
It changes nothing, and exits with 1 if anything is missing, damaged, resized or absent. It
keeps some 100 bytes for each object in memory. Blocks without data of any tenant are
looked for among the objects only.
`,
			setup: setUpCheckObjects,
		},
	}
}

// objectScan holds the flags that both commands have.
type objectScan struct {
	client      *client
	store       func() (objects.Options, error)
	admin       string
	since       string
	tenant      string
	minAge      time.Duration
	concurrency int
	rate        float64
	limit       uint
}

func objectScanFlags(set *flag.FlagSet) *objectScan {
	s := &objectScan{client: clientFlags(set), store: config.ObjectFlags(set)}
	set.StringVar(&s.admin, "admin-addr", "", "`HOST:PORT` gRPC address that serves operators, if -addr does not: it knows what is to be deleted")
	set.StringVar(&s.since, "since", "", "`TIME` leave out blocks made before, such as -24h or 2026-01-31T00:00:00Z")
	set.StringVar(&s.tenant, "tenant", "", "`TENANT` only its blocks, and segments with data of it")
	set.DurationVar(&s.minAge, "min-age", time.Minute, "`DURATION` leave objects alone that are younger")
	set.IntVar(&s.concurrency, "concurrency", 32, "`N` footers to read, and blocks to add, at a time, 1 to 1024")
	set.Float64Var(&s.rate, "rate", 0, "`N` footers to read in a second at most; 0 is no bound")
	set.UintVar(&s.limit, "limit", 20, "`N` objects of each verdict to list; all are counted")
	return s
}

// start opens what the command works with.
func (s *objectScan) start(ctx context.Context, std streams, args []string, do func(ctx context.Context, bucket objects.Bucket, index *clusterIndex, options rebuild.Options, report *scanReport) error) error {
	if len(args) > 0 {
		return flags.Usagef("unexpected argument %q", args[0])
	}
	if s.concurrency < 1 || s.concurrency > 1024 {
		return flags.Usagef("-concurrency is %d: want 1 to 1024", s.concurrency)
	}
	if s.rate < 0 {
		return flags.Usagef("-rate is %v: want 0 or more", s.rate)
	}
	now := time.Now()
	options := rebuild.Options{Tenant: s.tenant, MinAge: s.minAge, Concurrency: s.concurrency, Rate: s.rate, Now: now}
	if s.since != "" {
		since, err := timearg.Parse(s.since, now)
		if err != nil {
			return flags.Usagef("-since: %w", err)
		}
		options.Since = since
	}
	store, err := s.store()
	if err != nil {
		return err
	}
	bucket, err := objects.Open(store, prometheus.NewRegistry())
	if err != nil {
		return err
	}
	conn, err := s.client.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	report := newScanReport(std, bucket.String(), int(s.limit), now)
	options.Found, options.Progress = report.found, report.progress
	if options.Tombstones, report.Warnings, err = s.tombstones(ctx, conn); err != nil {
		return err
	}
	err = do(ctx, bucket, newClusterIndex(s.client, conn, s.tenant), options, report)
	report.clear()
	if err != nil && ctx.Err() != nil {
		err = errInterrupted
	}
	return errors.Join(show(std, s.client, report, report.write, nil), err)
}

func setUpRebuild(set *flag.FlagSet) action {
	s := objectScanFlags(set)
	dryRun := set.Bool("dry-run", false, "only say what would be added")
	doubtful := set.Bool("doubtful", false, "add also what is compacted or unfinished: data may count twice")
	resume := set.String("resume", "", "`FILE` note there which shards are done, and go on behind them; removed at the end")
	return func(ctx context.Context, std streams, args []string) error {
		if *dryRun && *resume != "" {
			return flags.Usagef("-dry-run and -resume exclude each other: a dry run leaves nothing done")
		}
		return s.start(ctx, std, args, func(ctx context.Context, bucket objects.Bucket, index *clusterIndex, options rebuild.Options, report *scanReport) error {
			options.DryRun, options.Doubtful = *dryRun, *doubtful
			var notes *resumeNotes
			if *resume != "" {
				var err error
				if notes, err = openNotes(*resume, bucket.String(), s.client.addr, options); err != nil {
					return err
				}
				report.Resumed = len(notes.Shards)
				options.Since, options.Done, options.Finished = notes.Since, notes.done, notes.finished
			}
			var err error
			if report.Counts, err = rebuild.Run(ctx, bucket, index, options); err != nil {
				return err
			}
			if notes != nil {
				if err := notes.remove(); err != nil {
					return err
				}
			}
			return report.failure(rebuild.Refused, rebuild.Damaged, rebuild.Resized)
		})
	}
}

func setUpCheckObjects(set *flag.FlagSet) action {
	s := objectScanFlags(set)
	return func(ctx context.Context, std streams, args []string) error {
		return s.start(ctx, std, args, func(ctx context.Context, bucket objects.Bucket, index *clusterIndex, options rebuild.Options, report *scanReport) error {
			var err error
			if report.Counts, err = rebuild.Check(ctx, bucket, index, options); err != nil {
				return err
			}
			return report.failure(rebuild.Missing, rebuild.Damaged, rebuild.Resized, rebuild.Absent)
		})
	}
}
