package kv

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// What the benchmarks have done by a process of their own.
const (
	envBenchChild = "KV_BENCH_CHILD" // childCommits or childSnapshot
	envBenchDir   = "KV_BENCH_DIR"

	childCommits  = "commits"
	childSnapshot = "snapshot"
)

// benchChild is the process.
func benchChild() {
	flag.Parse() // for the number of rows
	dir := os.Getenv(envBenchDir)
	if os.Getenv(envBenchChild) == childSnapshot {
		benchChildSnapshot(dir)
		return
	}
	// Commits to both stores what nothing makes durable, and waits to be killed.
	var t childFailure
	ours, theirs := namespaceDB(&t, openBenchEngine(&t, dir, NoWAL), 1), openBenchBolt(&t, dir)
	must(&t, oursPut(ours, 0, 100, spread))
	must(&t, boltPut(theirs, 0, 100, spread))
	fmt.Println("ready")
	select {}
}

// childFailure stands in for the test in a process that has none.
type childFailure struct{ testing.TB }

func (childFailure) Helper()           {}
func (childFailure) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// startBenchChild starts the process and returns it when it has said a line, with that.
func startBenchChild(b *testing.B, dir, what string) (child *exec.Cmd, line string) {
	child = exec.Command(os.Args[0], fmt.Sprintf("-kv.rows=%d", *benchRows))
	child.Env = append(os.Environ(), envBenchDir+"="+dir, envBenchChild+"="+what)
	var failure bytes.Buffer
	child.Stderr = &failure
	out, err := child.StdoutPipe()
	must(b, err)
	must(b, child.Start())
	scan := bufio.NewScanner(out)
	if !scan.Scan() {
		_ = child.Wait()
		b.Fatalf("the process for %s failed: %s", what, failure.String())
	}
	return child, scan.Text()
}

// benchChildSnapshot streams the namespace and watches the memory of the whole process, when the store
// was just opened and again when its cache is full, with the cache of an engine by default.
func benchChildSnapshot(dir string) {
	var t childFailure
	e, err := OpenEngine(dir+"/kv", EngineOptions{})
	must(&t, err)
	db := namespaceDB(&t, e, 1)
	for range 2 {
		idle := residentBytes()
		stop, peak := make(chan struct{}), make(chan uint64)
		go func() {
			most := idle
			for {
				select {
				case <-stop:
					peak <- most
					return
				case <-time.After(time.Millisecond):
					most = max(most, residentBytes())
				}
			}
		}()
		must(&t, db.View(func(tx *Tx) error { return tx.Copy(&discard{}) }))
		close(stop)
		fmt.Printf("%d %d ", idle, <-peak-idle)
	}
	fmt.Println()
	must(&t, e.Close())
}

// residentBytes is the memory of the process, zero where that is not known.
func residentBytes() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	var size, resident uint64
	if err != nil {
		return 0
	}
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0
	}
	return resident * uint64(os.Getpagesize())
}

// benchResident reports the memory of the whole process that a snapshot takes.
func benchResident(b *testing.B, s *benchStores) {
	must(b, s.engine.Close())
	child, line := startBenchChild(b, s.dir, childSnapshot)
	must(b, child.Wait())
	s.engine = openBenchEngine(b, s.dir, NoWAL)
	s.ours = namespaceDB(b, s.engine, 1)
	var freshIdle, fresh, fullIdle, full float64
	_, err := fmt.Sscan(line, &freshIdle, &fresh, &fullIdle, &full)
	must(b, err)
	b.ReportMetric(freshIdle/(1<<20), "fresh-idle-MB")
	b.ReportMetric(fresh/(1<<20), "fresh-rss-MB")
	b.ReportMetric(fullIdle/(1<<20), "full-idle-MB")
	b.ReportMetric(full/(1<<20), "full-rss-MB")
}

// benchReopen has both stores closed or their process killed, and times opening them and reading a row of
// each; with cold set, after their files were put out of the page cache.
func benchReopen(b *testing.B, s *benchStores, killed, cold bool) {
	var took, boltTook time.Duration
	key := benchKey(nil, spread(1))
	for i := range b.N {
		must(b, oursPut(s.ours, i, 100, spread))
		must(b, boltPut(s.bolt, i, 100, spread))
		must(b, s.engine.Close())
		must(b, s.bolt.Close())
		if killed {
			child, _ := startBenchChild(b, s.dir, childCommits)
			must(b, child.Process.Kill())
			_ = child.Wait() // killed
		}
		if cold {
			dropFromPageCache(b, s.dir)
		}
		begun := time.Now()
		s.engine = openBenchEngine(b, s.dir, NoWAL)
		s.ours = namespaceDB(b, s.engine, 1)
		must(b, s.ours.View(func(tx *Tx) error {
			if tx.Bucket(benchBucket).Get(key) == nil {
				b.Error("row missing")
			}
			return nil
		}))
		took += time.Since(begun)
		begun = time.Now()
		s.bolt = openBenchBolt(b, s.dir)
		must(b, s.bolt.View(func(tx *bolt.Tx) error {
			if tx.Bucket(benchBucket).Get(key) == nil {
				b.Error("row missing")
			}
			return nil
		}))
		boltTook += time.Since(begun)
	}
	reportRatio(b, b.N, took, boltTook)
}
