package server

import (
	"context"
	"errors"
	"os"
	"runtime/pprof"
	"sync"
	"time"

	"go.uber.org/zap"
)

// stop undoes the start, as far as it came, in reverse order: no new clients,
// leaders away, calls in progress, router, node, listeners. It is forced after
// the timeout, of which each part may take its share.
func (s *server) stop() error {
	s.setPhase("stopping")
	deadline := time.AfterFunc(s.settings.ShutdownTimeout, func() {
		s.log.Error("the stop took too long and is forced; acknowledged writes are safe in the Raft log",
			zap.Duration("timeout", s.settings.ShutdownTimeout))
		// What it waited for: equal stacks are counted, not repeated.
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		os.Exit(1)
	})
	defer deadline.Stop()
	s.setHealth(false)
	if s.router != nil {
		s.router.Drain()
	}
	if s.node != nil {
		s.drainNode(s.settings.ShutdownTimeout / 4)
	}
	s.endStreams()
	s.health.Shutdown()
	s.stopAPIs(s.settings.ShutdownTimeout / 4)
	if s.router != nil {
		s.router.Close()
	}
	var err error
	if s.node != nil {
		err = s.node.Close()
	}
	if s.pool != nil {
		s.pool.Close()
	}
	if s.stopTracing != nil {
		s.flushSpans()
	}
	if s.http != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.ports.close()
	s.security.close()
	return err
}

// drainNode gives the node's leaders away. Whatever stays is elected anew.
func (s *server) drainNode(patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.node.Drain(ctx); err != nil {
		s.log.Warn("some leaders stay until the end; others are elected then", zap.Error(err))
	}
}

// stopAPIs lets calls in progress finish, for a while.
func (s *server) stopAPIs(patience time.Duration) {
	var stopping sync.WaitGroup
	for _, a := range s.apis {
		stopping.Go(func() {
			impatient := time.AfterFunc(patience, a.server.Stop)
			defer impatient.Stop()
			a.server.GracefulStop()
		})
	}
	stopping.Wait()
}

// flushSpans sends the last spans, if somebody takes them.
func (s *server) flushSpans() {
	ctx, cancel := context.WithTimeout(context.Background(), s.settings.ShutdownTimeout/4)
	defer cancel()
	if err := s.stopTracing(ctx); err != nil {
		s.log.Warn("the last spans are lost", zap.Error(err))
	}
}
