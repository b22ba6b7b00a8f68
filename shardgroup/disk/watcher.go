package disk

import (
	"context"
	"errors"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// watcher is the judge of one directory's disk. Its fields belong to the
// goroutine of run, which never touches the disk.
type watcher struct {
	*Watchdog
	directory string
	status    Status
	// Whether the last probe found no space, whatever the file system counts.
	noSpace bool
	// Level by what the file system counts.
	counted     Level
	spaceFailed bool
	saidScarce  time.Time
	// What had its first answer already, and what is told when both had.
	wasProbed, wasMeasured bool
	judged                 chan struct{}
}

// scarceLog is the time between two lines of the log about probes that cannot be made.
const scarceLog = 30 * time.Second

// answer is what a probe or a look at the free space found.
type answer struct {
	free, total uint64
	took        time.Duration
	err         error
}

// run asks at each tick what is not being asked, and judges what comes, or does
// not come.
func (w *watcher) run(ctx context.Context) {
	// With room for the answer: it may come when nobody listens any more.
	probed, measured := make(chan answer, 1), make(chan answer, 1)
	probing, measuring := false, false
	late := [...]struct {
		state State
		after time.Duration
		timer *time.Timer
	}{{state: Slow, after: w.options.SlowAfter}, {state: Stalled, after: w.options.StallAfter}}
	for i := range late {
		late[i].timer = time.NewTimer(late[i].after)
		late[i].timer.Stop()
	}
	defer func() {
		for i := range late {
			late[i].timer.Stop()
		}
	}()
	ask := func() {
		if !probing {
			probing = true
			for i := range late {
				late[i].timer.Reset(late[i].after)
			}
			w.ask(probed, func() (found answer) {
				found.err = w.options.FS.Probe(w.directory)
				return found
			})
		}
		if !measuring {
			measuring = true
			w.ask(measured, func() (found answer) {
				found.free, found.total, found.err = w.options.FS.Space(w.directory)
				return found
			})
		}
	}
	ticker := time.NewTicker(w.options.Interval)
	defer ticker.Stop()
	ask()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			ask()
		case found := <-probed:
			probing = false
			for i := range late {
				late[i].timer.Stop()
			}
			w.probed(found)
			w.tellJudged(true, w.wasMeasured)
		case found := <-measured:
			measuring = false
			w.measured(found)
			w.tellJudged(w.wasProbed, true)
		case <-late[0].timer.C:
			w.late(late[0].state)
		case <-late[1].timer.C:
			w.late(late[1].state)
		}
	}
}

// tellJudged lets go of those that wait for the first answers.
func (w *watcher) tellJudged(probed, measured bool) {
	if first := !w.wasProbed || !w.wasMeasured; first && probed && measured {
		close(w.judged)
	}
	w.wasProbed, w.wasMeasured = probed, measured
}

// ask does what may hang in a goroutine of its own.
func (w *watcher) ask(to chan<- answer, do func() answer) {
	w.asked.Go(func() {
		begin := time.Now()
		found := do()
		found.took = time.Since(begin)
		to <- found
	})
}

func (w *watcher) probed(found answer) {
	w.metrics.probes.WithLabelValues(w.directory).Observe(found.took.Seconds())
	if !scarce(found.err) {
		w.noSpace = errors.Is(found.err, syscall.ENOSPC) || errors.Is(found.err, syscall.EDQUOT)
	}
	if found.err != nil {
		w.metrics.failures.WithLabelValues(w.directory, "probe").Inc()
	}
	switch {
	case scarce(found.err):
		// Nothing was learnt of the disk: what was known stays, but for a probe that was
		// late and has ended.
		w.tellScarce(found.err)
		if w.status.State != Failed {
			w.enter(Healthy, nil)
		}
	case found.err != nil && !w.noSpace:
		w.enter(Failed, found.err)
	default:
		w.enter(Healthy, nil)
	}
	w.judgeSpace()
}

// scarce tells whether the process or the system lacked something else than a disk.
func scarce(err error) bool {
	for _, lack := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}

// tellScarce says now and then that a probe could not be made.
func (w *watcher) tellScarce(err error) {
	if now := time.Now(); w.saidScarce.IsZero() || now.Sub(w.saidScarce) >= scarceLog {
		w.saidScarce = now
		w.log.Error("the disk cannot be probed, which says nothing about it: raise the limit of open files, or free memory",
			zap.String("directory", w.directory), zap.Error(err))
	}
}

// late is called while a probe is under way. A disk that failed is not merely
// slow, but one that hangs has stalled.
func (w *watcher) late(state State) {
	if state == Slow && w.status.State == Failed {
		return
	}
	w.enter(state, nil)
	w.publish(w.directory, w.status)
}

func (w *watcher) enter(state State, err error) {
	if w.status.State != state {
		w.status.State, w.status.Since = state, time.Now()
	}
	w.status.Err = err
}

func (w *watcher) measured(found answer) {
	if found.err == nil {
		w.status.FreeBytes, w.status.TotalBytes = found.free, found.total
		w.counted = w.options.level(w.counted, found.free, found.total)
		w.spaceFailed = false
		w.judgeSpace()
		return
	}
	// What was known stays; a disk that is gone fails its probes.
	if errors.Is(found.err, errors.ErrUnsupported) {
		return
	}
	w.metrics.failures.WithLabelValues(w.directory, "space").Inc()
	if !w.spaceFailed {
		w.log.Error("the free space of the disk cannot be told", zap.String("directory", w.directory), zap.Error(found.err))
	}
	w.spaceFailed = true
}

func (w *watcher) judgeSpace() {
	w.status.Level = w.counted
	if w.noSpace {
		w.status.Level = Full
	}
	w.publish(w.directory, w.status)
}
