package server

import (
	"io"
	"strings"
	"time"

	"go.uber.org/zap"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// sayInterval is the time between two lines about what a start waits for.
const sayInterval = 15 * time.Second

// readyWatch follows whether the process is ready, for health, log and people.
type readyWatch struct {
	server  *server
	greeted bool
	ready   bool
	said    time.Time
}

// look is called again and again by one goroutine.
func (w *readyWatch) look(now time.Time, stdout io.Writer) error {
	s := w.server
	s.router.SetServing(s.router.Ready())
	fault := s.ready()
	if ready := fault == nil; ready != w.ready {
		w.ready = ready
		s.setHealth(ready)
		if !ready {
			s.log.Warn("not ready any more", zap.Error(fault))
		} else {
			s.log.Info("ready", s.identity()...)
		}
	}
	if fault == nil {
		if w.greeted {
			return nil
		}
		w.greeted = true
		return s.greetReady(stdout)
	}
	if w.said.IsZero() {
		w.said = now // what takes a moment is not worth a line
	}
	if now.Sub(w.said) >= sayInterval && !w.greeted {
		w.said = now
		s.log.Info("not ready yet", zap.Error(fault))
	}
	return nil
}

// pause is the time until the next look.
func (w *readyWatch) pause() time.Duration {
	if w.ready {
		return readyLookInterval
	}
	return lookInterval
}

func (s *server) identity() []zap.Field {
	if s.node == nil {
		return nil
	}
	return []zap.Field{zap.String("cluster", s.node.ClusterID()), zap.String("node", s.node.ID())}
}

// setHealth sets what gRPC's health service says on the ports for operators and
// nodes.
func (s *server) setHealth(ready bool) {
	state := healthv1.HealthCheckResponse_NOT_SERVING
	if ready {
		state = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", state)
}

// listing writes a list for people, cut short.
type listing struct{ all []string }

func (l *listing) String() string {
	const shown = 5
	if len(l.all) > shown {
		return strings.Join(l.all[:shown], ", ") + ", …"
	}
	return strings.Join(l.all, ", ")
}
