package shardgroup

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// CompactLogs makes a snapshot record of each group now, as happens by itself
// from time to time.
func (n *Node) CompactLogs() error {
	n.mu.RLock()
	groups := slices.Collect(maps.Values(n.groups))
	n.mu.RUnlock()
	var errs []error
	for _, g := range groups {
		if err := g.requestSnapshot(); err != nil {
			errs = append(errs, fmt.Errorf("group %d: %w", g.id, err))
		}
	}
	return errors.Join(errs...)
}
