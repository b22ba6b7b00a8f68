package dlq

import (
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/proto/blockobject"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

const (
	// Prefix is what the keys of dead letters begin with.
	Prefix = blockobject.DeadLetterPrefix
	// RejectedPrefix takes its place in the keys of those that were moved aside.
	RejectedPrefix = "dlq-rejected/"
)

// parseAside parses the key of an entry that was moved aside.
func parseAside(name string) (blockobject.Location, bool) {
	rest, ok := strings.CutPrefix(name, RejectedPrefix)
	if !ok {
		return blockobject.Location{}, false
	}
	return blockobject.ParseDeadLetter(Prefix + rest)
}

// parseEither parses the key of an entry, in the queue or aside.
func parseEither(name string) (blockobject.Location, bool) {
	if k, ok := blockobject.ParseDeadLetter(name); ok {
		return k, true
	}
	return parseAside(name)
}

// rejected is the key of an entry that was moved aside, restored the other way
// round. Both are for keys of the right prefix.
func rejected(name string) string { return RejectedPrefix + strings.TrimPrefix(name, Prefix) }
func restored(name string) string { return Prefix + strings.TrimPrefix(name, RejectedPrefix) }

// home is the point whose owner looks after a folder of entries. Those of
// "anonymous" are nearly all segments, so their stream's owner does. Where an
// entry belongs, its content tells.
func home(shard uint32, directory string) (clusterv1.Keyspace, uint64) {
	if directory == blockobject.AnonymousDirectory {
		directory = ""
	}
	return clusterv1.BlockPoint(directory, shard)
}

// shardOf reads a shard as blockobject does: what is no number goes with shard 0.
func shardOf(name string) uint32 {
	number, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(number)
}

// objectsOf lists where the block of an entry may be.
func objectsOf(k blockobject.Location) []string {
	k.Kind = blockobject.Block
	names := []string{k.Name()}
	if k.Directory == blockobject.AnonymousDirectory { // no tenant, or one of that name
		k.Kind = blockobject.Segment
		names = []string{k.Name(), names[0]}
	}
	return names
}

// objectOf names a block's object. The block must be valid.
func objectOf(block *metastorev1.BlockMeta) string {
	id, _ := ulid.Parse(block.GetId())
	return blockobject.Of(block.TenantName(), block.GetShard(), block.GetCompactionLevel(), id).Name()
}

func blockPoint(block *metastorev1.BlockMeta) (clusterv1.Keyspace, uint64) {
	return clusterv1.BlockPoint(block.TenantName(), block.GetShard())
}
