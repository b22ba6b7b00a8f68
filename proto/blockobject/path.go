// Package blockobject is what Pyroscope agrees on about the objects of blocks:
// what they are called in the bucket, and the footer that their metadata is
// kept in besides the index.
package blockobject

import (
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// What names begin with.
const (
	SegmentPrefix    = "segments/"
	BlockPrefix      = "blocks/"
	DeadLetterPrefix = "dlq/"
)

// AnonymousDirectory is where objects are that belong to no tenant. A tenant may
// be called so as well: blocks/3/anonymous/ is that tenant's.
const AnonymousDirectory = "anonymous"

const (
	dataFile       = "block.bin"
	deadLetterFile = "meta.pb"
)

// Kind tells objects apart.
type Kind int

// The kinds of objects.
const (
	Segment    Kind = iota + 1 // the data of a block of level 0
	Block                      // the data of a block of a higher level
	DeadLetter                 // metadata that could not be added
)

// Location is where the object of a block is.
type Location struct {
	Kind  Kind
	Shard uint32
	// Directory is the tenant, or AnonymousDirectory. In the name of a dead letter
	// the two cannot be told apart: its content says which it is.
	Directory string
	ID        ulid.ULID
}

// Of returns where the data of a block is. A block of level 0 is a segment,
// whatever its tenant.
func Of(tenant string, shard, level uint32, id ulid.ULID) Location {
	if level == 0 {
		return Location{Segment, shard, AnonymousDirectory, id}
	}
	return Location{Block, shard, tenant, id}
}

// DeadLetterOf returns where a segment-writer leaves the metadata of a block
// that it could not add.
func DeadLetterOf(tenant string, shard, level uint32, id ulid.ULID) Location {
	location := Of(tenant, shard, level, id)
	location.Kind = DeadLetter
	return location
}

// Tenant returns the tenant of a block's metadata, "" for none.
func Tenant(block *metastorev1.BlockMeta) string {
	if block.Tenant <= 0 || int(block.Tenant) >= len(block.StringTable) {
		return ""
	}
	return block.StringTable[block.Tenant]
}

// Name returns the object's name. Of tenants that are no path element, it is no
// name that a bucket takes.
func (l Location) Name() string {
	prefix, file := BlockPrefix, dataFile
	switch l.Kind {
	case Segment:
		prefix = SegmentPrefix
	case DeadLetter:
		prefix, file = DeadLetterPrefix, deadLetterFile
	}
	return prefix + strconv.FormatUint(uint64(l.Shard), 10) + "/" + l.Directory + "/" + l.ID.String() + "/" + file
}

// Parse takes the name of a block's data apart; false if it is the name of
// something else. Location's Name is that name again.
func Parse(name string) (Location, bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 5 {
		return Location{}, false
	}
	location := Location{Kind: Block, Directory: parts[2]}
	if parts[0]+"/" == SegmentPrefix {
		location.Kind = Segment
	}
	shard, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return Location{}, false
	}
	location.Shard = uint32(shard)
	if location.ID, err = ulid.Parse(parts[3]); err != nil {
		return Location{}, false
	}
	wanted := location.Directory != "" && (location.Kind == Block || location.Directory == AnonymousDirectory)
	return location, wanted && location.Name() == name
}

// ParseDeadLetter takes the name of a dead letter apart; false if it is the name
// of something else. As Pyroscope does it takes any spelling of a shard and an
// ID; Location's Name may be another one then. A shard that is no number is 0.
func ParseDeadLetter(name string) (Location, bool) {
	parts := strings.Split(name, "/")
	if len(parts) != 5 || parts[0]+"/" != DeadLetterPrefix || parts[1] == "" || parts[2] == "" || parts[4] != deadLetterFile {
		return Location{}, false
	}
	id, err := ulid.Parse(parts[3])
	if err != nil {
		return Location{}, false
	}
	location := Location{Kind: DeadLetter, Directory: parts[2], ID: id}
	if shard, err := strconv.ParseUint(parts[1], 10, 32); err == nil {
		location.Shard = uint32(shard)
	}
	return location, true
}
