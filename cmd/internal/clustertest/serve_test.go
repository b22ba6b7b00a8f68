package clustertest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/clustertest/workload"
)

var (
	losses    = flag.Int("losses", 3, "losses of power in TestServeSurvivesLossOfPower")
	lossesFor = flag.Duration("losses.pace", 2*time.Second, "mean time between them")
	seed      = flag.Uint64("losses.seed", 1, "seed of its workload and times")
)

// binary is the command, built once.
func binary(t *testing.T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// freePorts are free now, on an address that nobody else is likely to use.
func freePorts(t *testing.T, host string, count int) []string {
	t.Helper()
	var addresses []string
	for range count {
		listener, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses
}

// A process that serves alone loses its power again and again, with everything
// that it did not sync: what it acknowledged is there.
func TestServeSurvivesLossOfPower(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and kills processes")
	}
	disk, err := NewDisk(t.TempDir(), 1<<30)
	if errors.Is(err, ErrNoDisk) {
		t.Skip(err)
	}
	must(t, err)
	addresses := freePorts(t, "127.0.0.41", 3)
	p := &Process{
		Name: "serve", Path: binary(t), LogPath: filepath.Join(t.TempDir(), "serve.log"), ReadyURL: "http://" + addresses[1] + "/readyz",
		Args: []string{
			"serve", "-data-dir", filepath.Join(disk.Path, "data"), "-grpc.address", addresses[0], "-http.address", addresses[1], "-raft.address", addresses[2],
			"-raft.rtt", "5ms", "-store.memtable-bytes", "1MiB", "-disk.low-bytes", "0", "-disk.full-bytes", "0",
			"-metastore.compaction-job-lease-duration", "1s", "-metastore.compaction-max-failures", "0", "-metastore.index.cleanup-interval", "0",
		},
	}
	t.Cleanup(func() { must(t, p.Kill(), disk.Close()) })
	start := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		must(t, p.Start(), p.AwaitReady(ctx))
	}
	start()
	w, err := workload.New(workload.Options{Routers: addresses[:1], Seed: *seed, Pace: 5 * time.Millisecond})
	must(t, err)
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var running sync.WaitGroup
	running.Go(func() { w.Run(ctx) })
	random := rand.New(rand.NewPCG(*seed, 0))
	for range *losses {
		time.Sleep(*lossesFor/2 + time.Duration(random.Int64N(int64(*lossesFor))))
		must(t, p.Kill())
		must(t, disk.Lose(), disk.Unmount(), disk.Mount())
		start()
	}
	if err := w.Settle(t.Context(), 30*time.Second); err != nil {
		t.Error(err)
	}
	cancel()
	running.Wait()
	judge(t, w)
	if crashes, err := p.Crashes(); err != nil {
		t.Error(err)
	} else {
		t.Logf("%d crashes while the disk failed", len(crashes))
	}
}

// judge demands that clients saw what was promised.
func judge(t *testing.T, w *workload.Workload) {
	t.Helper()
	data, jobs := w.Data.Check(), w.Jobs.Check()
	t.Logf("%d data, %d acknowledged, %d queries: found %d, absent %d", data.Data, data.Acknowledged, data.Queries, data.Found, data.Absent)
	t.Logf("%d jobs, %d grants, %d given again, %d results", jobs.Jobs, jobs.Grants, jobs.Regranted, jobs.Results)
	t.Logf("calls: %v", fmt.Sprint(w.Outcomes()))
	for _, violation := range append(data.First, jobs.First...) {
		t.Error(violation)
	}
	for _, fault := range w.Faults() {
		t.Error(fault)
	}
	if data.Acknowledged < 100 || data.Found < 100 || data.Absent < 10 || jobs.Results == 0 {
		t.Error("the history is too thin to tell anything")
	}
}
