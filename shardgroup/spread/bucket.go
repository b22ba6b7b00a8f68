package spread

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/skerrydb/skerry/storage/objects"
)

// The objects' names are a contract.
const (
	rulesName = "adaptive_placement/placement_rules.binpb"
	statsName = "adaptive_placement/placement_stats.binpb"
	// Far above what the bounds of rates and rules allow.
	maxObjectBytes = 256 << 20
	readTimeout    = 30 * time.Second
)

// read decodes an object; one that is missing or damaged is empty.
func (m *Manager) read(ctx context.Context, name string, decode func([]byte) error, reset func()) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	content, err := m.options.Bucket.Get(ctx, name, maxObjectBytes)
	switch {
	case errors.Is(err, objects.ErrNotFound):
		return nil
	case err == nil:
		err = decode(content)
	case !errors.Is(err, objects.ErrTooLarge):
		return fmt.Errorf("read %s of %s: %w", name, m.options.Bucket, err)
	}
	if err != nil {
		reset()
		m.log.Error("adaptive placement: an object is damaged, it will be replaced", zap.String("object", name), zap.Error(err))
	}
	return nil
}

// write replaces both objects; if one fails the other is still tried. Before each
// the directory is asked whether this is still the only manager. Since a successor leaves the
// objects alone for as long as a write may take, theirs never mix, unless the process is
// stopped, or the store slow, between a write's begin and its effect.
func (m *Manager) write(ctx context.Context, p *published) error {
	err := errors.Join(m.put(ctx, "rules", rulesName, p.rules.MarshalVT), m.put(ctx, "stats", statsName, p.stats.MarshalVT))
	if err == nil {
		m.mu.Lock()
		m.wrote = m.clock()
		m.mu.Unlock()
	}
	return err
}

func (m *Manager) put(ctx context.Context, what, name string, encode func() ([]byte, error)) error {
	content, err := encode()
	if err == nil {
		// The question counts, too: the answer is as old as it.
		attempt, cancel := context.WithTimeout(ctx, m.options.PutTimeout)
		defer cancel()
		if err = m.cluster.Leads(attempt); err == nil {
			err = m.options.Bucket.Put(attempt, name, content)
		}
	}
	if err != nil {
		m.metrics.writes.WithLabelValues(what, "failed").Inc()
		return fmt.Errorf("write %s to %s: %w", name, m.options.Bucket, err)
	}
	m.metrics.writes.WithLabelValues(what, "ok").Inc()
	return nil
}
