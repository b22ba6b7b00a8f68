package index

import (
	"bytes"
	"slices"

	"github.com/oklog/ulid/v2"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// foundBlocks collects the blocks of an answer, shard by shard. Answers have tens
// of thousands: what they consist of is made for a shard at once, not for each
// block.
type foundBlocks struct {
	// Of the shard under way.
	shard []foundBlock
	bytes arena
	// Block under way.
	scratch []byte
	ids     []byte
}

type foundBlock struct {
	id       ulid.ULID
	transfer uint64
	encoded  []byte
}

// add takes a block of the shard under way. It keeps no reference to encoded.
func (f *foundBlocks) add(id ulid.ULID, transfer uint64, encoded []byte) {
	f.shard = append(f.shard, foundBlock{id, transfer, f.bytes.keep(encoded)})
}

// finish appends the shard's blocks to an answer, in the order of their ids.
func (f *foundBlocks) finish(key ShardKey, answer []*nodev1.EncodedBlock) []*nodev1.EncodedBlock {
	slices.SortFunc(f.shard, func(a, b foundBlock) int { return bytes.Compare(a.id[:], b.id[:]) })
	f.ids = f.ids[:0]
	for i := range f.shard {
		f.ids = appendID(f.ids, f.shard[i].id)
	}
	ids, blocks := string(f.ids), make([]nodev1.EncodedBlock, len(f.shard))
	answer = slices.Grow(answer, len(blocks))
	for i := range blocks {
		b := &blocks[i]
		b.Tenant, b.Shard, b.Id = key.Tenant, key.Shard, ids[i*ulid.EncodedSize:(i+1)*ulid.EncodedSize]
		b.Block, b.Transfer = f.shard[i].encoded, f.shard[i].transfer
		answer = append(answer, b)
	}
	clear(f.shard)
	f.shard = f.shard[:0]
	return answer
}

// arena keeps copies of many short slices in few long ones. A long one lives as
// long as one of the copies in it does.
type arena struct{ last []byte }

// Lengths of the long slices: each is twice as long as the one before.
const (
	arenaFirst = 1 << 10
	arenaMost  = 64 << 10
)

func (a *arena) keep(b []byte) []byte {
	if len(b) > cap(a.last)-len(a.last) {
		length := max(arenaFirst, min(2*cap(a.last), arenaMost))
		a.last = make([]byte, 0, max(length, len(b)))
	}
	begin := len(a.last)
	a.last = append(a.last, b...)
	return a.last[begin:len(a.last):len(a.last)]
}
