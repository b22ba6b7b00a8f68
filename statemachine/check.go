package statemachine

import (
	"context"

	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/statemachine/accepted"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/statemachine/outbox"
	"github.com/skerrydb/skerry/storage/kv"
)

// Check compares a group's derived rows with what they are derived from, and
// calls report for each fault. It returns an error only if the context ends.
// What the rows are on disk is the store's own check.
func Check(ctx context.Context, tx *kv.Tx, report func(fault error)) error {
	if err := index.Check(ctx, tx, report); err != nil {
		return err
	}
	waiting := map[outbox.Block]bool{}
	err := index.Waiting(ctx, tx, func(stream uint32, tenant string, id ulid.ULID) {
		waiting[outbox.Block{Stream: stream, Tenant: tenant, ID: id.String()}] = true
	})
	if err != nil {
		return err
	}
	if err := outbox.Check(ctx, tx, waiting, report); err != nil {
		return err
	}
	for _, malformed := range accepted.All(tx) {
		if malformed != nil {
			report(malformed)
		}
	}
	return ctx.Err()
}
