// Package certs keeps the certificates of a process current. Files that changed
// are taken without a restart, by every port and every connection made from then
// on; connections that exist stay as they are. What is wrong changes nothing: the
// last good files serve on.
//
//	files ──poll──► Reloader ──► Server config: gRPC, HTTP, Raft
//	                    │
//	                    └──────► Client config, gRPC credentials, DialContext
//
// It never creates certificates, and never accepts a peer without checking it.
package certs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Reloader follows the files. All methods may be called concurrently.
type Reloader struct {
	options    Options
	log        *zap.Logger
	registerer prometheus.Registerer
	reloads    *prometheus.CounterVec
	expiry     prometheus.Gauge

	current atomic.Pointer[material]

	// Of polls: only one runs at a time.
	polling sync.Mutex
	// The last fault that was logged, so that it is logged once; empty after success.
	fault string

	stop    context.CancelFunc
	stopped chan struct{}
}

// Open reads the files, which must be right, and follows them until Close. The
// logger and the registerer may be nil.
func Open(options Options, log *zap.Logger, registerer prometheus.Registerer) (*Reloader, error) {
	if options.ReloadInterval == 0 {
		options.ReloadInterval = DefaultReloadInterval
	}
	if log == nil {
		log = zap.NewNop()
	}
	first, err := options.load(time.Now())
	if err != nil {
		return nil, err
	}
	r := &Reloader{
		options: options, log: log, registerer: registerer, stopped: make(chan struct{}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_tls_reloads_total",
			Help: "Changed certificate files that were taken (success), and looks at files that could not be (failure).",
		}, []string{"result"}),
		expiry: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "skerry_tls_certificate_expiry_seconds",
			Help: "When the certificate in use ends, in Unix seconds; 0 without one.",
		}),
	}
	r.reloads.WithLabelValues("success")
	r.reloads.WithLabelValues("failure")
	if err := r.register(); err != nil {
		return nil, err
	}
	r.use(first)
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go r.follow(ctx)
	return r, nil
}

func (r *Reloader) register() error {
	if r.registerer == nil {
		return nil
	}
	if err := r.registerer.Register(r.reloads); err != nil {
		return err
	}
	if err := r.registerer.Register(r.expiry); err != nil {
		r.registerer.Unregister(r.reloads)
		return err
	}
	return nil
}

// Close ends the following. Configs that were given out work on, with the last
// files.
func (r *Reloader) Close() {
	r.stop()
	<-r.stopped
	if r.registerer != nil {
		r.registerer.Unregister(r.reloads)
		r.registerer.Unregister(r.expiry)
	}
}

func (r *Reloader) follow(ctx context.Context) {
	defer close(r.stopped)
	if r.options.ReloadInterval < 0 {
		return
	}
	ticker := time.NewTicker(r.options.ReloadInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = r.Reload() // logged and counted
		}
	}
}

// Reload looks at the files now, as is done again and again anyway. Its error
// says why they were not taken.
func (r *Reloader) Reload() error {
	r.polling.Lock()
	defer r.polling.Unlock()
	read, err := r.options.read()
	if err != nil {
		return r.fail(err)
	}
	if used := r.current.Load(); read.equal(used.content) {
		return r.checkExpiry(used)
	}
	// The same content as of a failure before is parsed again: it may have become
	// valid with time.
	next, err := r.options.parse(read, time.Now())
	if err != nil {
		return r.fail(err)
	}
	if err := keepsUsages(r.current.Load().leaf, next.leaf); err != nil {
		return r.fail(err)
	}
	r.use(next)
	r.fault = ""
	r.reloads.WithLabelValues("success").Inc()
	fields := []zap.Field{}
	if next.leaf != nil {
		fields = append(fields, zap.Stringer("subject", next.leaf.Subject), zap.Time("expires", next.leaf.NotAfter))
	}
	r.log.Info("certificates reloaded", fields...)
	return nil
}

// checkExpiry finds out that the files in use, unchanged, have come to their end.
// They stay in use: a peer with a wrong clock, or one that is told to, may still
// take them, and there is nothing better.
func (r *Reloader) checkExpiry(used *material) error {
	if used.leaf != nil && time.Now().After(used.leaf.NotAfter) {
		return r.fail(errors.New("the certificate in use has expired: renew " + r.options.CertFile))
	}
	r.fault = ""
	return nil
}

// fail counts each fault and logs it once, until it is another or gone.
func (r *Reloader) fail(err error) error {
	r.reloads.WithLabelValues("failure").Inc()
	if text := err.Error(); text != r.fault {
		r.fault = text
		r.log.Error("certificates not reloaded: those in use stay", zap.Error(err))
	}
	return err
}

func (r *Reloader) use(m *material) {
	r.current.Store(m)
	if m.leaf != nil {
		r.expiry.Set(float64(m.leaf.NotAfter.Unix()))
	}
}
