package nemesis_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/clustertest"
	"github.com/skerrydb/skerry/cmd/internal/clustertest/history"
	"github.com/skerrydb/skerry/cmd/internal/clustertest/nemesis"
	"github.com/skerrydb/skerry/cmd/internal/clustertest/workload"
)

var (
	strikes = flag.Duration("nemesis", 8*time.Second, "how long the cluster is struck")
	seed    = flag.Uint64("nemesis.seed", 1, "seed of faults and workload")
	nodes   = flag.Int("nemesis.nodes", 3, "founding nodes: 3 or 5; two more may join")
	logFile = flag.String("nemesis.log", "", "file for the faults, a line of JSON each; empty for none")
	only    = flag.String("nemesis.kinds", "", "faults to draw from, separated by commas; empty for all")
	keep    = flag.String("nemesis.dir", "", "folder for logs and data, which stay; empty for one that goes")
	binary  = flag.String("nemesis.binary", "", "command to run, built with tag skerry_faults; empty builds it")
	ahead   = flag.Duration("nemesis.ahead", 0, "how far clocks may be ahead; beyond 15m data that is found twice is no fault; 0 is the default")
	pace    = flag.Duration("nemesis.pace", 25*time.Millisecond, "mean pause of each client between two calls")
	readers = flag.Int("nemesis.readers", 0, "clients that read; 0 is the default")
	reading = flag.Duration("nemesis.read-pace", 0, "mean pause of each reader between two queries; 0 is -nemesis.pace")
)

const (
	diskBytes = 512 << 20
	// What a healed cluster may take.
	settlePatience, convergePatience = 30 * time.Second, 60 * time.Second
)

func TestNemesis(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and kills processes")
	}
	dir := *keep
	if dir == "" {
		dir = t.TempDir()
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := *binary
	if path == "" {
		var err error
		if path, err = clustertest.Build(t.Context(), t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	c := found(t, clustertest.ClusterOptions{Dir: dir, Binary: path, Founders: *nodes, Spares: 2, Args: []string{
		"-disk.low-bytes", fmt.Sprint(nemesis.LowBytes), "-disk.full-bytes", fmt.Sprint(nemesis.FullBytes), "-disk.stall-timeout", "3s",
	}})
	w, err := workload.New(workload.Options{Routers: c.Public(), Seed: *seed, Pace: *pace, Readers: *readers, ReadPace: *reading})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	options := nemesis.Options{Seed: *seed, Log: openLog(t), Ahead: *ahead}
	if *only != "" {
		options.Kinds = strings.Split(*only, ",")
	}
	n, err := nemesis.New(c, *nodes, options)
	if err != nil {
		t.Fatal(err)
	}
	load, stopLoad := context.WithCancel(t.Context())
	defer stopLoad()
	var running sync.WaitGroup
	running.Go(func() { w.Run(load) })
	ctx, cancel := context.WithTimeout(t.Context(), *strikes)
	defer cancel()
	if err := errors.Join(n.Run(ctx), n.Heal(t.Context())); err != nil {
		t.Error(err)
	}
	// All is healed: there are no excuses any more.
	if err := w.Settle(t.Context(), settlePatience); err != nil {
		t.Errorf("after all was healed: %v", err)
	}
	stopLoad()
	running.Wait()
	if err := converge(t, c, n); err != nil {
		t.Errorf("after all was healed: %v", err)
	} else if err := c.CheckStores(t.Context()); err != nil {
		t.Error(err)
	}
	judge(t, w)
	crashes, err := c.Crashes()
	if err != nil {
		t.Error(err)
	}
	for _, fault := range append(n.Faults(), crashes...) {
		t.Error(fault)
	}
	t.Logf("seed %d: %v", *seed, n.Counts())
}

// converge waits for it, while operators go on to take away what was removed.
func converge(t *testing.T, c *clustertest.Cluster, n *nemesis.Nemesis) error {
	deadline := time.Now().Add(convergePatience)
	for {
		if err := n.Heal(t.Context()); err != nil {
			return err
		}
		err := c.AwaitConverged(t.Context(), 4*time.Second)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func found(t *testing.T, options clustertest.ClusterOptions) *clustertest.Cluster {
	t.Helper()
	options.DiskBytes = diskBytes
	c, err := clustertest.NewCluster(options)
	if errors.Is(err, clustertest.ErrNoDisk) {
		t.Logf("without faults of disks: %v", err)
		options.DiskBytes = 0
		c, err = clustertest.NewCluster(options)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.Found(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

func openLog(t *testing.T) io.Writer {
	t.Helper()
	name := *logFile
	if name == "" && *keep != "" {
		name = filepath.Join(*keep, "faults.jsonl")
	}
	if name == "" {
		return nil
	}
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// judge demands that clients saw what was promised.
func judge(t *testing.T, w *workload.Workload) {
	t.Helper()
	data, jobs := w.Data.Check(), w.Jobs.Check()
	t.Logf("%d data, %d acknowledged, %d queries: found %d, absent %d", data.Data, data.Acknowledged, data.Queries, data.Found, data.Absent)
	t.Logf("%d jobs, %d grants, %d given again, %d results", jobs.Jobs, jobs.Grants, jobs.Regranted, jobs.Results)
	t.Logf("calls: %v", w.Outcomes())
	for _, violation := range append(data.First, jobs.First...) {
		if violation.Rule == history.RuleTwice && *ahead > nemesis.Remembered {
			t.Log("since clocks were ahead: ", violation)
			continue
		}
		t.Error(violation)
	}
	for _, fault := range w.Faults() {
		t.Error(fault)
	}
	if data.Acknowledged < 100 || data.Found < 100 || data.Absent < 10 {
		t.Error("the history is too thin to tell anything")
	}
}

// The default of the flag draws most faults; the names are those that the flag
// takes.
func TestUnknownKind(t *testing.T) {
	if _, err := nemesis.New(nil, 0, nemesis.Options{Kinds: []string{"earthquake"}}); err == nil || !strings.Contains(err.Error(), "kill majority") {
		t.Errorf("got %v", err)
	}
	kinds := nemesis.Kinds()
	slices.Sort(kinds)
	if len(slices.Compact(kinds)) != len(nemesis.Kinds()) {
		t.Error("two kinds have one name")
	}
}
