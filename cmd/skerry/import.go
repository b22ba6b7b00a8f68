package main

import (
	"context"
	"errors"
	"flag"
	"time"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	"github.com/skerrydb/skerry/cmd/internal/importer"
	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

func importCommand() command {
	return command{
		name: "import", summary: "take over from a stock Pyroscope metastore",
		detail: `Reads the metastore's BoltDB file, or one of its Raft snapshots, and adds all blocks
to the cluster, then reads them back and compares, then takes over what is to be
deleted. Use the files of the metastore that leads, and stop it before. Compaction is
paused meanwhile. An import that was interrupted is begun again: what is there is left
out. Jobs and the queue are not taken over: they arise anew from the blocks.

A cluster with blocks that the source does not have is refused, since they may be what
became of the source's: -merge accepts them. The role operate is needed.
`,
		setup: setUpImport,
	}
}

// importFlags are those of the command.
type importFlags struct {
	client     *client
	adminAddr  string
	file       string
	snapshot   string
	unpackDir  string
	unpackMax  uint
	dryRun     bool
	verifyOnly bool
	strict     bool
	merge      bool
	batches    int
	blocks     int
	retry      time.Duration
}

func setUpImport(set *flag.FlagSet) action {
	f := &importFlags{client: clientFlags(set)}
	set.StringVar(&f.adminAddr, "admin-addr", "", "`HOST:PORT` gRPC address of the operators' API, if that has a port of its own")
	set.StringVar(&f.file, "boltdb", "", "`FILE` the metastore's database, metastore.boltdb; it must not be in use")
	set.StringVar(&f.snapshot, "snapshot", "", "`DIR` one of the metastore's Raft snapshots, with meta.json and state.bin")
	set.StringVar(&f.unpackDir, "unpack-dir", "", "`DIR` where a compressed snapshot is unpacked; default the system's for temporary files")
	set.UintVar(&f.unpackMax, "unpack-max-gib", 256, "`N` GiB that a snapshot may have when it is unpacked, 1 to 65536")
	set.BoolVar(&f.dryRun, "dry-run", false, "read the source and tell what would be imported; the cluster is not asked")
	set.BoolVar(&f.verifyOnly, "verify-only", false, "only compare the cluster with the source")
	set.BoolVar(&f.strict, "strict", false, "refuse a source with damaged rows, instead of leaving them out")
	set.BoolVar(&f.merge, "merge", false, "accept blocks in the cluster that the source does not have")
	set.IntVar(&f.batches, "concurrency", 4, "`N` number of calls with blocks at a time, 1 to 4")
	set.IntVar(&f.blocks, "batch", 500, "`N` blocks of a call, 1 to 1000")
	set.DurationVar(&f.retry, "retry", time.Minute, "`DURATION` how long a call that fails is repeated before the import ends")
	return f.run
}

func (f *importFlags) check(args []string) error {
	switch {
	case len(args) > 0:
		return flags.Usagef("unexpected argument %q: the source is given by -boltdb or -snapshot", args[0])
	case (f.file == "") == (f.snapshot == ""):
		return flags.Usagef("give the source: either -boltdb FILE or -snapshot DIR")
	case f.dryRun && f.verifyOnly:
		return flags.Usagef("-dry-run asks no cluster, and -verify-only compares with one: give one of them")
	case f.batches < 1 || f.batches > 4:
		return flags.Usagef("-concurrency is %d: want 1 to 4", f.batches)
	case f.blocks < 1 || f.blocks > 1000:
		return flags.Usagef("-batch is %d: want 1 to 1000", f.blocks)
	case f.unpackMax < 1 || f.unpackMax > 1<<16:
		return flags.Usagef("-unpack-max-gib is %d: want 1 to 65536", f.unpackMax)
	case f.retry < 0:
		return flags.Usagef("-retry is %s: want 0 or more", f.retry)
	}
	return nil
}

func (f *importFlags) run(ctx context.Context, std streams, args []string) (err error) {
	if err := f.check(args); err != nil {
		return err
	}
	cluster, hangUp, err := f.connect()
	if err != nil {
		return err
	}
	defer hangUp()
	db, err := f.open(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	show := newImportProgress(std, f.client.format.Value == formatJSON)
	report, err := importer.New(db, cluster, importer.Options{
		DryRun: f.dryRun, VerifyOnly: f.verifyOnly, Strict: f.strict, Merge: f.merge,
		Concurrency: f.batches, BatchBlocks: f.blocks, CallTimeout: f.client.timeout, RetryFor: f.retry,
		Note: show.note, Progress: show.progress,
	}).Run(ctx)
	show.clear()
	if written := writeImport(std, f, report, err); written != nil {
		return written
	}
	return f.explained(ctx, err)
}

func (f *importFlags) open(ctx context.Context) (*pyroscopedb.DB, error) {
	if f.file != "" {
		return pyroscopedb.Open(f.file)
	}
	return pyroscopedb.OpenSnapshot(ctx, f.snapshot, pyroscopedb.Unpacking{Directory: f.unpackDir, MaxBytes: int64(f.unpackMax) << 30})
}

// connect reaches both APIs; that takes no answer yet.
func (f *importFlags) connect() (importer.Cluster, func(), error) {
	public, err := f.client.dial()
	if err != nil {
		return importer.Cluster{}, nil, err
	}
	admin, conns := public, []*grpc.ClientConn{public}
	if f.adminAddr != "" {
		other := *f.client
		other.addr = f.adminAddr
		if admin, err = other.dial(); err != nil {
			return importer.Cluster{}, nil, errors.Join(err, public.Close())
		}
		conns = append(conns, admin)
	}
	hangUp := func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
	return importer.Cluster{Index: metastorev1.NewIndexServiceClient(public), Admin: adminv1.NewAdminServiceClient(admin)}, hangUp, nil
}
