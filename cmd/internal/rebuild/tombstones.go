package rebuild

import (
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/proto/blockobject"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Tombstones say which objects a cluster wants to be deleted. The zero value says
// none.
type Tombstones struct {
	blocks map[blockobject.Location]bool
	// What is made before these milliseconds, by directory.
	before map[directory]uint64
}

type directory struct {
	kind  blockobject.Kind
	shard uint32
	name  string
}

// Note takes one in.
func (t *Tombstones) Note(tombstone *metastorev1.Tombstones) {
	if t.blocks == nil {
		t.blocks, t.before = map[blockobject.Location]bool{}, map[directory]uint64{}
	}
	if blocks := tombstone.GetBlocks(); blocks != nil {
		for _, text := range blocks.GetBlocks() {
			if id, err := metastorev1.ParseID(text); err == nil {
				t.blocks[blockobject.Of(blocks.GetTenant(), blocks.GetShard(), blocks.GetCompactionLevel(), id)] = true
			}
		}
	}
	if shard := tombstone.GetShard(); shard != nil {
		level := uint32(1)
		if shard.GetTenant() == "" {
			level = 0
		}
		at := blockobject.Of(shard.GetTenant(), shard.GetShard(), level, ulid.ULID{})
		end := (shard.GetTimestamp() + shard.GetDuration()) / int64(time.Millisecond)
		key := directory{at.Kind, at.Shard, at.Directory}
		t.before[key] = max(t.before[key], uint64(max(0, end)))
	}
}

func (t *Tombstones) cover(location blockobject.Location) bool {
	return t.blocks[location] || location.ID.Time() < t.before[directory{location.Kind, location.Shard, location.Directory}]
}
