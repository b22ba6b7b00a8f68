package disk_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/skerrydb/skerry/shardgroup/disk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const gib = 1 << 30

// fakeFS is a disk that the test controls.
type fakeFS struct {
	mu           sync.Mutex
	hang         chan struct{} // probes wait for it, unless nil
	takes        time.Duration // of a probe
	err          error         // of probes
	free, total  uint64
	spaceErr     error
	spaceHang    chan struct{}
	probes       int
	running      int
	runningMax   int
	cleaned      []string
	probedFolder map[string]bool
}

func (f *fakeFS) set(change func(*fakeFS)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeFS) Probe(directory string) error {
	f.mu.Lock()
	hang, takes := f.hang, f.takes
	f.probes++
	f.running++
	f.runningMax = max(f.runningMax, f.running)
	if f.probedFolder == nil {
		f.probedFolder = map[string]bool{}
	}
	f.probedFolder[directory] = true
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	time.Sleep(takes)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	return f.err
}

func (f *fakeFS) Space(string) (free, total uint64, err error) {
	f.mu.Lock()
	hang := f.spaceHang
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.free, f.total, f.spaceErr
}

func (f *fakeFS) Clean(directory string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cleaned = append(f.cleaned, directory)
	return nil
}

// watched is a watchdog of directory "d" on a fake disk, in fake time.
type watched struct {
	*disk.Watchdog
	fs       *fakeFS
	registry *prometheus.Registry
	heard    []string
}

func watch(t *testing.T, fs *fakeFS, options disk.Options) *watched {
	t.Helper()
	if fs.total == 0 {
		fs.free, fs.total = 100*gib, 100*gib
	}
	options.FS = fs
	w := &watched{fs: fs, registry: prometheus.NewRegistry()}
	var err error
	if w.Watchdog, err = disk.Watch([]string{"d"}, options, zap.NewNop(), w.registry); err != nil {
		t.Fatal(err)
	}
	w.Subscribe(func(directory string, status disk.Status) {
		w.heard = append(w.heard, fmt.Sprint(status.State, " ", status.Level))
	})
	return w
}

// after lets time pass and demands a state and a level.
func (w *watched) after(t *testing.T, d time.Duration, state disk.State, level disk.Level) disk.Status {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	status, ok := w.Status("d")
	if !ok || status.State != state || status.Level != level {
		t.Fatalf("after %s: %s and %s, want %s and %s", d, status.State, status.Level, state, level)
	}
	if worst, worstLevel := w.Worst(); worst != state || worstLevel != level {
		t.Errorf("the worst of one is %s, %s", worst, worstLevel)
	}
	if w.value(t, "state") != float64(state) || w.value(t, "level") != float64(level) {
		t.Errorf("the metrics say %v, %v", w.value(t, "state"), w.value(t, "level"))
	}
	return status
}

func (w *watched) value(t *testing.T, name string) float64 {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "skerry_disk_"+name {
			metric := family.GetMetric()[0]
			return metric.GetGauge().GetValue() + metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestHangIsNoticedWhileItHangs: the probe has not returned when the disk counts
// as slow, and as stalled.
func TestHangIsNoticedWhileItHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, &fakeFS{}, disk.Options{})
		defer w.Close()
		w.after(t, 3500*time.Millisecond, disk.Healthy, disk.Normal)
		hang := make(chan struct{})
		w.fs.set(func(f *fakeFS) { f.hang = hang }) // the probe of 4 s hangs
		w.after(t, 2490*time.Millisecond, disk.Healthy, disk.Normal)
		w.after(t, 20*time.Millisecond, disk.Slow, disk.Normal)
		w.after(t, 7980*time.Millisecond, disk.Slow, disk.Normal)
		w.after(t, 20*time.Millisecond, disk.Stalled, disk.Normal)
		// For ever, and space is judged meanwhile.
		w.fs.set(func(f *fakeFS) { f.free = gib })
		w.after(t, time.Hour, disk.Stalled, disk.Low)
		w.fs.set(func(f *fakeFS) {
			if f.runningMax != 1 {
				t.Errorf("%d probes ran at a time", f.runningMax)
			}
			f.hang = nil
		})
		close(hang)
		w.after(t, 0, disk.Healthy, disk.Low)
		want := []string{"healthy normal", "slow normal", "stalled normal", "stalled low", "healthy low"}
		if !slices.Equal(w.heard, want) {
			t.Errorf("heard %q", w.heard)
		}
	})
}

func TestSlowProbesThatEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, &fakeFS{takes: 2500 * time.Millisecond}, disk.Options{})
		defer w.Close()
		w.after(t, 1900*time.Millisecond, disk.Healthy, disk.Normal)
		w.after(t, 500*time.Millisecond, disk.Slow, disk.Normal)
		w.after(t, 200*time.Millisecond, disk.Healthy, disk.Normal)
		w.after(t, 2800*time.Millisecond, disk.Slow, disk.Normal)
		if got := w.value(t, "probe_duration_seconds"); got != 1 {
			t.Errorf("%v probes were measured", got)
		}
	})
}

func TestFailureAndRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, &fakeFS{}, disk.Options{})
		defer w.Close()
		w.after(t, 500*time.Millisecond, disk.Healthy, disk.Normal)
		w.fs.set(func(f *fakeFS) { f.err = syscall.EIO })
		status := w.after(t, time.Second, disk.Failed, disk.Normal)
		if !errors.Is(status.Err, syscall.EIO) || time.Since(status.Since) != 500*time.Millisecond {
			t.Errorf("got %+v", status)
		}
		w.after(t, time.Minute, disk.Failed, disk.Normal)
		if got := w.value(t, "failures_total"); got != 61 {
			t.Errorf("%v failures", got)
		}
		// One that takes long is still a failed one; one that hangs has stalled.
		w.fs.set(func(f *fakeFS) { f.takes = 15 * time.Second })
		w.after(t, 5*time.Second, disk.Failed, disk.Normal)
		if status := w.after(t, 7*time.Second, disk.Stalled, disk.Normal); status.Err != nil {
			t.Errorf("got %v", status.Err)
		}
		w.fs.set(func(f *fakeFS) { f.takes, f.err = 0, nil })
		if status := w.after(t, 10*time.Second, disk.Healthy, disk.Normal); status.Err != nil {
			t.Errorf("got %v", status.Err)
		}
	})
}

// A lack of open files or memory is none of the disk: what was known stays.
func TestProbesThatCannotBeMade(t *testing.T) {
	for _, lack := range []error{
		&os.PathError{Op: "open", Err: syscall.EMFILE}, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR, errors.Join(syscall.EAGAIN, nil),
	} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, &fakeFS{err: lack}, disk.Options{})
			defer w.Close()
			w.after(t, 10500*time.Millisecond, disk.Healthy, disk.Normal)
			if got := w.value(t, "failures_total"); got != 11 {
				t.Errorf("%v: %v failures", lack, got)
			}
			w.fs.set(func(f *fakeFS) { f.err = syscall.EIO })
			w.after(t, time.Second, disk.Failed, disk.Normal)
			w.fs.set(func(f *fakeFS) { f.err = lack })
			if status := w.after(t, time.Second, disk.Failed, disk.Normal); !errors.Is(status.Err, syscall.EIO) {
				t.Errorf("%v: the fault is %v", lack, status.Err)
			}
			w.fs.set(func(f *fakeFS) { f.err = syscall.ENOSPC })
			w.after(t, time.Second, disk.Healthy, disk.Full)
			w.fs.set(func(f *fakeFS) { f.err = lack })
			w.after(t, time.Second, disk.Healthy, disk.Full)
			// One that was late is not late for ever.
			w.fs.set(func(f *fakeFS) { f.takes, f.err = 2500*time.Millisecond, lack })
			w.after(t, 2600*time.Millisecond, disk.Slow, disk.Full)
			w.after(t, 600*time.Millisecond, disk.Healthy, disk.Full)
		})
	}
}

func TestFirstAnswersAreAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		w := watch(t, &fakeFS{free: 1, total: gib, spaceHang: hang, takes: time.Second}, disk.Options{})
		defer w.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := w.Await(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a disk that is not measured: %v", err)
		}
		time.AfterFunc(time.Second, func() { close(hang) })
		if err := w.Await(t.Context()); err != nil {
			t.Error(err)
		}
		w.after(t, 0, disk.Healthy, disk.Full)
		if err := w.Await(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestLevels(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		options    disk.Options
		total      uint64
		soft, hard uint64
	}{
		"2 %":           {total: 100 * gib, soft: 100 * gib / 50, hard: 100 * gib / 200},
		"large disk":    {total: 4000 * gib, soft: 5 * gib, hard: 5 * gib / 4},
		"small disk":    {total: 8 * gib, soft: 256 * mib, hard: 64 * mib},
		"given":         {options: disk.Options{SoftBytes: 300 * mib, HardBytes: 10 * mib}, total: gib, soft: 300 * mib, hard: 10 * mib},
		"given soft":    {options: disk.Options{SoftBytes: 10 * mib}, total: gib, soft: 10 * mib, hard: 10 * mib},
		"given hard":    {options: disk.Options{HardBytes: 6 * gib}, total: 4000 * gib, soft: 6 * gib, hard: 6 * gib},
		"given as much": {options: disk.Options{SoftBytes: mib, HardBytes: mib}, total: gib, soft: mib, hard: mib},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, &fakeFS{free: c.total, total: c.total}, c.options)
				defer w.Close()
				w.after(t, 500*time.Millisecond, disk.Healthy, disk.Normal)
				expect := func(free uint64, level disk.Level) {
					t.Helper()
					w.fs.set(func(f *fakeFS) { f.free = free })
					w.after(t, time.Second, disk.Healthy, level)
					if w.value(t, "free_bytes") != float64(free) || w.value(t, "total_bytes") != float64(c.total) {
						t.Errorf("the metrics say %v of %v", w.value(t, "free_bytes"), w.value(t, "total_bytes"))
					}
				}
				low := disk.Low
				if c.soft == c.hard {
					low = disk.Full // there is no level between
				}
				expect(c.soft, disk.Normal)
				expect(c.soft-1, low)
				expect(c.soft+c.soft/4, low)
				expect(c.soft+c.soft/4+1, disk.Normal)
				expect(c.hard-1, disk.Full)
				expect(c.hard+c.hard/4, disk.Full)
				if c.soft != c.hard {
					expect(c.hard+c.hard/4+1, disk.Low)
					expect(c.hard, disk.Low)
				}
				expect(0, disk.Full)
				expect(c.total, disk.Normal)
			})
		})
	}
}

// TestNoSpaceIsNoFailure: quotas, and file systems that keep something back, have
// no space before statfs says so.
func TestNoSpaceIsNoFailure(t *testing.T) {
	for _, err := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, &fakeFS{err: &os.PathError{Op: "write", Path: "d", Err: err}}, disk.Options{})
			defer w.Close()
			w.after(t, 500*time.Millisecond, disk.Healthy, disk.Full)
			w.after(t, 10*time.Second, disk.Healthy, disk.Full)
			w.fs.set(func(f *fakeFS) { f.err = nil })
			w.after(t, time.Second, disk.Healthy, disk.Normal)
		})
	}
}

func TestSpaceCannotBeTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, &fakeFS{free: gib, total: 100 * gib}, disk.Options{})
		defer w.Close()
		w.after(t, 500*time.Millisecond, disk.Healthy, disk.Low)
		w.fs.set(func(f *fakeFS) { f.spaceErr = syscall.EIO })
		w.after(t, 2*time.Second, disk.Healthy, disk.Low)
		if got := w.value(t, "failures_total"); got != 2 {
			t.Errorf("%v failures", got)
		}
		hang := make(chan struct{})
		defer close(hang)
		// A look that hangs does not keep probes from being judged.
		w.fs.set(func(f *fakeFS) { f.spaceHang, f.err = hang, syscall.EIO })
		w.after(t, 2*time.Second, disk.Failed, disk.Low)
	})
}

func TestCloseStopsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, &fakeFS{takes: 300 * time.Millisecond}, disk.Options{})
		time.Sleep(100 * time.Millisecond)
		begin := time.Now()
		w.Close()
		w.Close()
		if took := time.Since(begin); took != 200*time.Millisecond {
			t.Errorf("took %s: a probe under way is waited for", took)
		}
		probes := w.fs.probes
		time.Sleep(time.Minute)
		if w.fs.probes != probes || !slices.Equal(w.fs.cleaned, []string{"d"}) {
			t.Errorf("%d probes after the end; cleaned %q", w.fs.probes-probes, w.fs.cleaned)
		}
		if families, err := w.registry.Gather(); err != nil || len(families) != 0 {
			t.Errorf("metrics are left: %v, %v", families, err)
		}
	})
}

func TestCloseLeavesAHangingProbeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		w := watch(t, &fakeFS{hang: hang}, disk.Options{})
		time.Sleep(time.Minute)
		begin := time.Now()
		w.Close()
		if took := time.Since(begin); took != time.Second || len(w.fs.cleaned) != 0 {
			t.Errorf("took %s, cleaned %q", took, w.fs.cleaned)
		}
	})
}

func TestUnsubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, &fakeFS{}, disk.Options{})
		defer w.Close()
		var heard []disk.Status
		unsubscribe := w.Subscribe(func(_ string, status disk.Status) { heard = append(heard, status) })
		w.after(t, 500*time.Millisecond, disk.Healthy, disk.Normal)
		if len(heard) != 1 {
			t.Errorf("heard %v at first", heard)
		}
		unsubscribe()
		w.fs.set(func(f *fakeFS) { f.err = syscall.EIO })
		w.after(t, time.Second, disk.Failed, disk.Normal)
		if len(heard) != 1 || len(w.heard) != 2 {
			t.Errorf("heard %v after the end, the other one %v", heard, w.heard)
		}
	})
}

func TestWatchRefuses(t *testing.T) {
	for want, options := range map[string]disk.Options{
		"must be positive":           {Interval: -1},
		"before it is slow after 2s": {StallAfter: time.Second},
		"before it is low below":     {SoftBytes: 1, HardBytes: 2},
	} {
		if _, err := disk.Watch([]string{"d"}, options, zap.NewNop(), prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for want, directories := range map[string][]string{"no directory": nil, "twice": {"d", "d"}} {
		if _, err := disk.Watch(directories, disk.Options{}, zap.NewNop(), prometheus.NewRegistry()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// until waits for a status on a real disk.
func until(t *testing.T, w *disk.Watchdog, directory string, met func(disk.Status) bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		status, _ := w.Status(directory)
		if met(status) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain; now %+v", status)
		}
	}
}

func TestRealDirectories(t *testing.T) {
	good, lost := t.TempDir(), filepath.Join(t.TempDir(), "lost")
	if err := os.Mkdir(lost, 0o700); err != nil {
		t.Fatal(err)
	}
	w, err := disk.Watch([]string{good, lost}, disk.Options{Interval: 5 * time.Millisecond, SlowAfter: time.Minute, StallAfter: time.Hour}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	until(t, w, good, func(s disk.Status) bool {
		_, err := os.Stat(filepath.Join(good, disk.ProbeFile))
		return err == nil && s.TotalBytes > 0 && s.FreeBytes <= s.TotalBytes
	})
	// At once: a probe may be about to make its file.
	if err := os.Rename(lost, lost+".gone"); err != nil {
		t.Fatal(err)
	}
	until(t, w, lost, func(s disk.Status) bool { return s.State == disk.Failed && errors.Is(s.Err, os.ErrNotExist) })
	if status, _ := w.Status(good); status.State != disk.Healthy {
		t.Errorf("the other disk is %s", status.State)
	}
	w.Close()
	if entries, err := os.ReadDir(good); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
