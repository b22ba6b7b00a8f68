package importer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

var (
	// ErrDamaged means that the source has damaged rows, and that Options.Strict
	// wants none. Nothing was changed.
	ErrDamaged = errors.New("the source is damaged")
	// ErrOthers means that the cluster holds blocks that the source has not.
	ErrOthers = errors.New("the cluster holds blocks that the source does not have")
	// ErrDifferent means that the cluster does not hold what the source has.
	ErrDifferent = errors.New("the cluster does not hold what the source has")
	// ErrLeftOut means that all is done, but for what is damaged or refused.
	ErrLeftOut = errors.New("not everything could be imported")
)

// Options says how to import. Numbers are required.
type Options struct {
	// Read the source and count; the cluster is not asked.
	DryRun bool
	// Compare only.
	VerifyOnly bool
	// Refuse a source with damaged rows.
	Strict bool
	// Accept blocks in the cluster that the source does not have.
	Merge bool
	// Calls with blocks at a time, and blocks of each.
	Concurrency, BatchBlocks int
	// How long one call may take, and how long one that fails is repeated.
	CallTimeout, RetryFor time.Duration
	// Called with lines for people, and with progress; by one goroutine at a time.
	// Either may be nil.
	Note     func(line string)
	Progress func(Progress)
}

// Progress is how far a step is.
type Progress struct {
	// What is counted.
	Step string
	Done uint64
	// 0 if unknown.
	Total   uint64
	Elapsed time.Duration
}

// Cluster is how to reach the cluster.
type Cluster struct {
	Index metastorev1.IndexServiceClient
	Admin adminv1.AdminServiceClient
}

// Import is one import. It is used once.
type Import struct {
	db      *pyroscopedb.DB
	cluster Cluster
	options Options
	survey  *survey
	report  *Report
}

// New makes an import of an open database.
func New(db *pyroscopedb.DB, cluster Cluster, options Options) *Import {
	var mu sync.Mutex // workers tell at the same time
	note, progress := options.Note, options.Progress
	options.Note = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		if note != nil {
			note(line)
		}
	}
	options.Progress = func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		if progress != nil {
			progress(p)
		}
	}
	return &Import{db: db, cluster: cluster, options: options, report: newReport(db.String())}
}

// Run imports, and returns what was done: also with an error, as far as it came.
func (i *Import) Run(ctx context.Context) (*Report, error) {
	began := time.Now()
	err := i.run(ctx)
	i.report.Seconds = time.Since(began).Seconds()
	return i.report, err
}

func (i *Import) run(ctx context.Context) error {
	if err := i.surveySource(ctx); err != nil {
		return err
	}
	if damaged := i.report.Source.DamagedRows; damaged > 0 && i.options.Strict {
		return fmt.Errorf("%w: %d rows; nothing was changed", ErrDamaged, damaged)
	}
	if i.options.DryRun {
		return nil
	}
	if i.options.VerifyOnly {
		if err := i.verify(ctx); err != nil {
			return err
		}
		return i.leftOut()
	}
	if err := i.paused(ctx); err != nil {
		if len(i.report.PausedHere) > 0 {
			return fmt.Errorf("%w; compaction stays paused: begin the import again, or give it up with: skerry compaction resume", err)
		}
		return err
	}
	return i.leftOut()
}

// paused is all that happens while compaction is paused.
func (i *Import) paused(ctx context.Context) error {
	if err := i.pause(ctx); err != nil {
		return err
	}
	there, err := i.checkBefore(ctx)
	if errors.Is(err, ErrOthers) {
		return errors.Join(err, i.resume(ctx)) // nothing was changed
	}
	if err != nil {
		return err
	}
	if err := i.add(ctx, there); err != nil {
		return err
	}
	if err := i.verify(ctx); err != nil {
		return err
	}
	if err := i.bury(ctx); err != nil {
		return err
	}
	i.expiring(ctx)
	if err := i.resume(ctx); err != nil {
		return err
	}
	if n := len(i.report.PausedBefore); n > 0 {
		// Who paused it is not known: an operator, or an import that was killed.
		i.options.Note(fmt.Sprintf("compaction stays paused in %d groups, where it was before the import: if an import that was interrupted left it so, end that with: skerry compaction resume", n))
	}
	return nil
}

func (i *Import) leftOut() error {
	if n := i.report.Source.DamagedRows + i.report.Blocks.Refused + i.report.Tombstones.Refused; n > 0 {
		return fmt.Errorf("%w: %d rows were left out: damaged ones may be whole on another replica, and their objects have the metadata, too: see skerry rebuild -help", ErrLeftOut, n)
	}
	return nil
}
