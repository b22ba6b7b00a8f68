package disk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Watchdog watches the disks of directories. All methods may be called
// concurrently.
type Watchdog struct {
	options    Options
	log        *zap.Logger
	registerer prometheus.Registerer
	metrics    *metrics
	cancel     context.CancelFunc
	// Watchers, which always end, and what they asked of the file system, which may
	// hang.
	watchers sync.WaitGroup
	asked    sync.WaitGroup
	close    sync.Once
	// One for each watcher, closed when it had its first answers.
	judged []chan struct{}

	// Held while subscribers are told, so that each hears everything in order.
	telling     sync.Mutex
	subscribers map[int]func(string, Status)
	next        int

	mu       sync.Mutex
	statuses map[string]Status
}

// closeWait bounds how long Close waits for a disk that hangs.
const closeWait = time.Second

// Watch begins to watch directories, which must exist. Two of them may be on one
// disk. Until the first answers are there, disks count as healthy and normal.
func Watch(directories []string, options Options, log *zap.Logger, registerer prometheus.Registerer) (*Watchdog, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	if len(directories) == 0 {
		return nil, errors.New("no directory to watch")
	}
	w := &Watchdog{
		options: options.withDefaults(), log: log, registerer: registerer, metrics: newMetrics(),
		subscribers: map[int]func(string, Status){}, statuses: map[string]Status{},
	}
	now := time.Now()
	for _, directory := range directories {
		if _, twice := w.statuses[directory]; twice {
			return nil, fmt.Errorf("directory %s is to be watched twice", directory)
		}
		w.statuses[directory] = Status{Since: now}
		w.metrics.show(directory, w.statuses[directory])
	}
	if err := w.metrics.register(registerer); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	for _, directory := range directories {
		judged := make(chan struct{})
		w.judged = append(w.judged, judged)
		w.watchers.Go(func() {
			(&watcher{Watchdog: w, directory: directory, status: Status{Since: now}, judged: judged}).run(ctx)
		})
	}
	return w, nil
}

// Await returns when each disk has been probed and measured once, whatever came of
// it, and subscribers have been told; or with the context's error.
func (w *Watchdog) Await(ctx context.Context) error {
	for _, judged := range w.judged {
		select {
		case <-judged:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Close stops watching. Subscribers are not called any more when it returns. A
// probe that hangs cannot be stopped: after a second it is left alone.
func (w *Watchdog) Close() {
	w.close.Do(func() {
		w.cancel()
		w.watchers.Wait()
		idle := make(chan struct{})
		go func() {
			defer close(idle)
			w.asked.Wait()
		}()
		timer := time.NewTimer(closeWait)
		defer timer.Stop()
		select {
		case <-idle:
			for _, directory := range w.Directories() {
				if err := w.options.FS.Clean(directory); err != nil {
					w.log.Warn("the file of the disk probes could not be removed; it does no harm", zap.String("directory", directory), zap.Error(err))
				}
			}
		case <-timer.C:
			w.log.Error("a disk hangs: its probe is left alone")
		}
		w.metrics.unregister(w.registerer)
	})
}

// Directories returns what is watched, sorted.
func (w *Watchdog) Directories() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := make([]string, 0, len(w.statuses))
	for directory := range w.statuses {
		names = append(names, directory)
	}
	slices.Sort(names)
	return names
}

// Status returns what is known of a directory's disk, and whether the directory
// is watched.
func (w *Watchdog) Status(directory string) (Status, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	status, watched := w.statuses[directory]
	return status, watched
}

// Worst returns the worst state and the worst level of all disks.
func (w *Watchdog) Worst() (State, Level) {
	w.mu.Lock()
	defer w.mu.Unlock()
	state, level := Healthy, Normal
	for _, status := range w.statuses {
		state, level = max(state, status.State), max(level, status.Level)
	}
	return state, level
}

// Subscribe calls back with each directory's present status, before it returns,
// and then each time that a state or a level changes. Calls come one at a time and
// in order. They must return soon, since disks are not judged meanwhile, and must
// not subscribe, unsubscribe or close. After unsubscribe returned there are none.
func (w *Watchdog) Subscribe(tell func(directory string, status Status)) (unsubscribe func()) {
	w.telling.Lock()
	defer w.telling.Unlock()
	id := w.next
	w.next++
	w.subscribers[id] = tell
	for _, directory := range w.Directories() {
		status, _ := w.Status(directory)
		tell(directory, status)
	}
	return func() {
		w.telling.Lock()
		defer w.telling.Unlock()
		delete(w.subscribers, id)
	}
}

// publish makes a status known, and tells subscribers if they should know.
func (w *Watchdog) publish(directory string, status Status) {
	w.telling.Lock()
	defer w.telling.Unlock()
	w.mu.Lock()
	before := w.statuses[directory]
	w.statuses[directory] = status
	w.mu.Unlock()
	w.metrics.show(directory, status)
	if before.State == status.State && before.Level == status.Level {
		return
	}
	w.tellLog(directory, before, status)
	for _, tell := range w.subscribers {
		tell(directory, status)
	}
}

func (w *Watchdog) tellLog(directory string, before, now Status) {
	log := w.log.With(zap.String("directory", directory))
	if before.State != now.State {
		switch now.State {
		case Healthy:
			log.Info("the disk takes writes again", zap.Stringer("before", before.State), zap.Duration("for", now.Since.Sub(before.Since)))
		case Slow:
			log.Warn("the disk is slow: a small write is not synced yet", zap.Duration("after", w.options.SlowAfter))
		case Stalled:
			log.Error("the disk stalls: a small write is not synced yet", zap.Duration("after", w.options.StallAfter))
		case Failed:
			log.Error("the disk fails", zap.Error(now.Err))
		}
	}
	if before.Level == now.Level {
		return
	}
	soft, hard := w.options.limits(now.TotalBytes)
	log = log.With(zap.Uint64("free_bytes", now.FreeBytes), zap.Uint64("total_bytes", now.TotalBytes),
		zap.Uint64("low_below", soft), zap.Uint64("full_below", hard))
	switch {
	case now.Level < before.Level:
		log.Info("the disk has space again", zap.Stringer("level", now.Level))
	case now.Level == Low:
		log.Warn("the disk gets full: free space, or enlarge it")
	case now.Level == Full:
		log.Error("the disk is full: free space, or enlarge it")
	}
}
