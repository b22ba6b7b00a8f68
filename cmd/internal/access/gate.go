// Package access decides who may call what.
//
// A caller is known by a bearer token, else by its certificate, else it is
// anonymous. Tokens have their roles in the access file; certificates have those
// that the file gives their common name, else those of their organizational units
// (skerry:read). Each method takes one role; what has none is refused.
//
//	connection ─► tap ──identity──► interceptor ─► handler
//	               │                    │
//	     UNAUTHENTICATED        PERMISSION_DENIED
//
// It is no store of users: tokens are random, the file holds only their hashes,
// and nothing of a token is ever logged.
package access

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// DefaultReloadInterval is the time between two looks at the access file.
const DefaultReloadInterval = 10 * time.Second

// Options of a gate. The zero value knows callers by certificates alone.
type Options struct {
	// File is the access file; empty for none. It is read again and again: a change
	// holds for calls that begin after it; one that is wrong changes nothing.
	File string
	// ReloadInterval is the time between two looks at it; 0 is
	// DefaultReloadInterval, less is never.
	ReloadInterval time.Duration
	// Denied, unless nil, hears of every refused gRPC call. It is called while the
	// call waits, concurrently, and maybe very often.
	Denied func(Denial)
}

// Denial is a refused call.
type Denial struct {
	Method   string
	Identity Identity
	// Peer is the caller's address; empty if it has none.
	Peer   string
	Reason string
}

// Gate decides about calls. A nil Gate lets everything pass. All methods may be
// called concurrently.
type Gate struct {
	options    Options
	log        *zap.Logger
	registerer prometheus.Registerer
	denied     *prometheus.CounterVec
	reloads    *prometheus.CounterVec

	policy atomic.Pointer[policy]

	// Of looks at the file: only one runs at a time.
	looking sync.Mutex
	// Content in use, and the last fault that was logged; empty after success.
	content []byte
	fault   string

	stop    context.CancelFunc
	stopped chan struct{}
}

// New opens a gate and follows its file, which must be right, until Close. The
// logger and the registerer may be nil.
func New(options Options, log *zap.Logger, registerer prometheus.Registerer) (*Gate, error) {
	if options.ReloadInterval == 0 {
		options.ReloadInterval = DefaultReloadInterval
	}
	if log == nil {
		log = zap.NewNop()
	}
	g := &Gate{
		options: options, registerer: registerer, stopped: make(chan struct{}),
		// Whoever knocks all the time fills no disk; the metric counts everything.
		log: log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
			return zapcore.NewSamplerWithOptions(core, 10*time.Second, 3, 0)
		})),
		denied: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_access_denied_total",
			Help: "Calls refused because of who called, by reason.",
		}, []string{"reason"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_access_reloads_total",
			Help: "Changed access files that were taken (success), and looks at one that could not be (failure).",
		}, []string{"result"}),
	}
	for _, reason := range reasons {
		g.denied.WithLabelValues(reason)
	}
	g.reloads.WithLabelValues("success")
	g.reloads.WithLabelValues("failure")
	var content []byte
	if options.File != "" {
		var err error
		if content, err = readFile(options.File); err != nil {
			return nil, err
		}
	}
	first, err := parse(content)
	if err != nil {
		return nil, err
	}
	g.content = content
	g.policy.Store(first)
	if err := g.register(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	go g.follow(ctx)
	return g, nil
}

func (g *Gate) register() error {
	if g.registerer == nil {
		return nil
	}
	if err := g.registerer.Register(g.denied); err != nil {
		return err
	}
	if err := g.registerer.Register(g.reloads); err != nil {
		g.registerer.Unregister(g.denied)
		return err
	}
	return nil
}

// Close ends the following of the file. The gate stays as it is.
func (g *Gate) Close() {
	if g == nil {
		return
	}
	g.stop()
	<-g.stopped
	if g.registerer != nil {
		g.registerer.Unregister(g.denied)
		g.registerer.Unregister(g.reloads)
	}
}

func (g *Gate) follow(ctx context.Context) {
	defer close(g.stopped)
	if g.options.File == "" || g.options.ReloadInterval < 0 {
		return
	}
	ticker := time.NewTicker(g.options.ReloadInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = g.Reload() // logged and counted
		}
	}
}

// Reload looks at the file now, as is done again and again anyway. Its error says
// why it was not taken.
func (g *Gate) Reload() error {
	if g == nil || g.options.File == "" {
		return nil
	}
	g.looking.Lock()
	defer g.looking.Unlock()
	content, err := readFile(g.options.File)
	if err != nil {
		return g.fail(err)
	}
	if bytes.Equal(content, g.content) {
		g.fault = ""
		return nil
	}
	next, err := parse(content)
	if err != nil {
		return g.fail(err)
	}
	g.policy.Store(next)
	g.content, g.fault = content, ""
	g.reloads.WithLabelValues("success").Inc()
	g.log.Info("access file reloaded", zap.Int("tokens", len(next.tokens)), zap.Int("certificates", len(next.certificates)))
	return nil
}

// fail counts each fault and logs it once, until it is another or gone.
func (g *Gate) fail(err error) error {
	g.reloads.WithLabelValues("failure").Inc()
	if text := err.Error(); text != g.fault {
		g.fault = text
		g.log.Error("access file not reloaded: what it said before holds", zap.Error(err))
	}
	return err
}
