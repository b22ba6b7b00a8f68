package statemachine

import (
	"context"

	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/storage/kv"
)

// Check compares a group's derived rows with what they are derived from, and
// calls report for each fault. It returns an error only if the context ends.
// What the rows are on disk is the store's own check.
func Check(ctx context.Context, tx *kv.Tx, report func(fault error)) error {
	return index.Check(ctx, tx, report)
}
