package queue

import (
	"encoding/binary"
	"errors"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// Levels is the number of levels whose blocks are compacted: those of level
// Levels are final.
const Levels = 3

// Full is the number of waiting blocks from which a key counts as full, by
// level. All replicas keep the full keys in an order of their own, so the
// numbers never change.
var Full = [Levels]int{20, 10, 10}

// Key names what is compacted together.
type Key struct {
	// Empty for segments.
	Tenant string
	Shard  uint32
	// At most Levels-1.
	Level uint32
}

var (
	blocksName   = []byte("queue")
	oldestName   = []byte("queue-oldest")
	fullName     = []byte("queue-full")
	returnedName = []byte("queue-returned")

	errRow = errors.New("queue: malformed row")
)

const (
	tagBlock    = 'b'
	tagID       = 'i'
	tagNumbers  = 'n'
	tagReturned = 'r'
)

func (k Key) prefix() []byte {
	keyspace, point := clusterv1.BlockPoint(k.Tenant, k.Shard)
	b := make([]byte, 0, 48+len(k.Tenant))
	b = append(b, byte(keyspace))
	b = binary.BigEndian.AppendUint64(b, point)
	b = append(b, byte(k.Level))
	b = binary.BigEndian.AppendUint32(b, k.Shard)
	b = binary.AppendUvarint(b, uint64(len(k.Tenant)))
	return append(b, k.Tenant...)
}

// Place is a block's place in its key's queue.
type Place struct {
	// Log time at which it came, Unix nanoseconds.
	At int64
	ID ulid.ULID
}

const placeSize = 8 + 16

func (p Place) append(to []byte) []byte {
	return append(appendTime(to, p.At), p.ID[:]...)
}

func decodePlace(b []byte) (Place, error) {
	if len(b) != placeSize {
		return Place{}, errRow
	}
	return Place{decodeTime(b), ulid.ULID(b[8:])}, nil
}

// Times sort by value, also negative ones.
func appendTime(to []byte, at int64) []byte {
	return binary.BigEndian.AppendUint64(to, uint64(at)^(1<<63))
}

func decodeTime(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ (1 << 63)) }

// orderKey is the row of a key by the time of its oldest block.
func (k Key) orderKey(oldest int64) []byte {
	b := appendTime([]byte{byte(k.Level)}, oldest)
	b = binary.BigEndian.AppendUint32(b, k.Shard)
	return append(b, k.Tenant...)
}

const orderFixed = 1 + 8 + 4

func decodeOrderKey(row []byte) (Key, int64, error) {
	if len(row) < orderFixed {
		return Key{}, 0, errRow
	}
	key := Key{Tenant: string(row[orderFixed:]), Shard: binary.BigEndian.Uint32(row[9:]), Level: uint32(row[0])}
	return key, decodeTime(row[1:]), nil
}

// numbers is what is known of a key's queue.
type numbers struct {
	oldest int64
	blocks uint32
}

func (n numbers) encode() []byte {
	return binary.BigEndian.AppendUint32(appendTime(nil, n.oldest), n.blocks)
}

func decodeNumbers(b []byte) (numbers, error) {
	if len(b) != 12 {
		return numbers{}, errRow
	}
	return numbers{decodeTime(b), binary.BigEndian.Uint32(b[8:])}, nil
}
