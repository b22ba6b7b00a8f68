package compaction

import (
	"cmp"
	"fmt"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// compareKeys is the order of View.OldestKeys.
func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Oldest, b.Oldest), cmp.Compare(a.Shard, b.Shard), cmp.Compare(a.Tenant, b.Tenant))
}

// creation is a block's creation time in Unix milliseconds.
func creation(id string) (millis uint64, err error) {
	parsed, err := metastorev1.ParseID(id)
	if err != nil {
		return 0, fmt.Errorf("queued block: %w", err)
	}
	return parsed.Time(), nil
}
