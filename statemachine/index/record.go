package index

import (
	"encoding/binary"
	"errors"
	"math"
)

// Bounds are the earliest and latest data time seen, Unix milliseconds, both
// inclusive. They only widen while a shard lives.
type Bounds struct{ Min, Max int64 }

// nothing widens to whatever it is widened by, and overlaps no query.
var nothing = Bounds{math.MaxInt64, math.MinInt64}

func (b *Bounds) widen(other Bounds) {
	b.Min = min(b.Min, other.Min)
	b.Max = max(b.Max, other.Max)
}

// overlaps is the inclusive test that is used at each level. It is monotone in
// the bounds, so a shard that fails it holds no block that passes it, also for
// blocks and queries whose start lies after their end.
func (b Bounds) overlaps(query Bounds) bool { return b.Min <= query.Max && b.Max >= query.Min }

// Record is what the index knows about a shard without reading its blocks.
type Record struct {
	Bounds
	Blocks uint64
	// Bytes of the blocks' objects.
	ObjectBytes uint64
	// Number of strings in the shard's table, the implicit "" not counted.
	Strings uint32
	// Number of series.
	Series uint32
	// Number that the next block gets.
	Next uint32
	// Of segments, numbers below are counted in the rows of their tenants.
	Settled uint32
	// Index of the Raft entry with which the numbers of strings, series and
	// blocks began. Within one beginning they only grow, and what has a number
	// keeps it.
	Born uint64
	// Index of the Raft entry that last changed the shard: equal revisions of a
	// shard mean equal contents, on every replica.
	Revision uint64
}

const (
	recordFormat = 3
	recordSize   = 1 + 8 + 8 + 8 + 8 + 4 + 4 + 4 + 4 + 8 + 8
	boundsSize   = 8 + 8
)

var errRecord = errors.New("index: malformed shard record")

func (r Record) encode() []byte {
	b := append(make([]byte, 0, recordSize), recordFormat)
	b = r.Bounds.append(b)
	for _, word := range []uint64{r.Blocks, r.ObjectBytes, r.Born, r.Revision} {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	for _, word := range []uint32{r.Strings, r.Series, r.Next, r.Settled} {
		b = binary.BigEndian.AppendUint32(b, word)
	}
	return b
}

// DecodeRecord reads the value of a shard's record row.
func DecodeRecord(b []byte) (Record, error) {
	if len(b) != recordSize || b[0] != recordFormat {
		return Record{}, errRecord
	}
	bounds, err := decodeBounds(b[1 : 1+boundsSize])
	b = b[1+boundsSize:]
	return Record{
		Bounds:      bounds,
		Blocks:      binary.BigEndian.Uint64(b[0:]),
		ObjectBytes: binary.BigEndian.Uint64(b[8:]),
		Born:        binary.BigEndian.Uint64(b[16:]),
		Revision:    binary.BigEndian.Uint64(b[24:]),
		Strings:     binary.BigEndian.Uint32(b[32:]),
		Series:      binary.BigEndian.Uint32(b[36:]),
		Next:        binary.BigEndian.Uint32(b[40:]),
		Settled:     binary.BigEndian.Uint32(b[44:]),
	}, err
}

func (b Bounds) append(to []byte) []byte {
	to = binary.BigEndian.AppendUint64(to, uint64(b.Min))
	return binary.BigEndian.AppendUint64(to, uint64(b.Max))
}

func decodeBounds(b []byte) (Bounds, error) {
	if len(b) != boundsSize {
		return Bounds{}, errRecord
	}
	return Bounds{int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:]))}, nil
}
