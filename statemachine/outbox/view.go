package outbox

import (
	"encoding/binary"
	"fmt"
	"iter"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/ordered"
	"github.com/skerrydb/skerry/storage/kv"
)

// MaxTransfers and MaxBytes (of blocks' metadata) are when an outbox is full: its
// stream's segments are not compacted until there is room. Completions are never
// refused, so it may hold more.
const (
	MaxTransfers = 10_000
	MaxBytes     = 64 << 20
)

// Full tells whether the stream has no room for more.
func (s Stream) Full() bool { return s.Transfers >= MaxTransfers || s.Bytes >= MaxBytes }

// Position is that of a transfer in the order of a group: stream by stream, as
// they were made. The zero position is before all; number 0 is before all of its stream.
type Position struct {
	Stream uint32
	Number uint64
	Tenant string
}

// Entry is a transfer that waits.
type Entry struct {
	Position
	*raftlogv1.Transfer
}

// Watermark is how far the transfers of a stream to a tenant are.
type Watermark struct {
	Stream      uint32
	Tenant      string
	Incarnation uint64
	Progress
}

// View reads the outbox in one transaction.
type View struct{ rows *kv.Bucket }

// NewView returns a view; the transaction must outlive it.
func NewView(tx *kv.Tx) View { return View{tx.Bucket(rowsName)} }

// Stream returns what is known of a stream.
func (v View) Stream(shard uint32) (Stream, error) {
	if v.rows == nil {
		return decodeStream(nil)
	}
	return decodeStream(v.rows.Get(streamKey(tagStream, shard)))
}

// Listed is a stream, and of which shard.
type Listed struct {
	Shard uint32
	Stream
}

// Streams lists the streams that ever made transfers, by their points.
func (v View) Streams() iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		for k, stored := range v.scan([]byte{tagStream}) {
			shard, rest, err := shardOf(k)
			if err == nil && len(rest) > 0 {
				err = errRow
			}
			listed := Listed{Shard: shard}
			if err == nil {
				listed.Stream, err = decodeStream(stored)
			}
			if !yield(listed, err) || err != nil {
				return
			}
		}
	}
}

// scan goes through the rows whose keys begin with a prefix.
func (v View) scan(prefix []byte) iter.Seq2[[]byte, []byte] {
	return walk(v.rows, nil, func() *kv.Cursor { return v.rows.PrefixCursor(prefix) })
}

// walk goes through rows, from the one of a key on, or from the first. Keys and values are
// valid until the next.
func walk(rows *kv.Bucket, from []byte, open func() *kv.Cursor) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, stored []byte) bool) {
		if rows == nil {
			return
		}
		cursor := open()
		defer cursor.Release()
		k, stored := cursor.Seek(from)
		for ; k != nil; k, stored = cursor.Next() {
			if !yield(k, stored) {
				return
			}
		}
	}
}

// After lists the positions of the transfers behind a position, in order.
func (v View) After(after Position) iter.Seq2[Position, error] {
	return order(walk(v.rows, after.next(), func() *kv.Cursor { return v.rows.PrefixCursor([]byte{tagOrder}) }))
}

// Of is After within the stream of the position.
func (v View) Of(after Position) iter.Seq2[Position, error] {
	var from []byte
	if after.Number > 0 {
		from = after.next()
	}
	return order(walk(v.rows, from, func() *kv.Cursor { return v.rows.HeadCursor(streamKey(tagOrder, after.Stream)) }))
}

// next returns the key behind a position's row, nil for the zero position.
func (p Position) next() []byte {
	if p == (Position{}) {
		return nil
	}
	return append(orderKey(p.Stream, p.Number, p.Tenant), 0)
}

func order(rows iter.Seq2[[]byte, []byte]) iter.Seq2[Position, error] {
	return func(yield func(Position, error) bool) {
		for k := range rows {
			at, err := decodeOrder(k)
			if !yield(at, err) || err != nil {
				return
			}
		}
	}
}

func decodeOrder(key []byte) (Position, error) {
	shard, rest, err := shardOf(key)
	if err != nil || len(rest) <= 8 {
		return Position{}, fmt.Errorf("%w: order %x", errRow, key)
	}
	return Position{shard, binary.BigEndian.Uint64(rest), string(rest[8:])}, nil
}

// Get returns the transfer at a position; an error if there is none.
func (v View) Get(at Position) (*raftlogv1.Transfer, error) {
	var stored []byte
	if v.rows != nil {
		stored = v.rows.Get(entryKey(at.Stream, at.Tenant, at.Number))
	}
	if stored == nil {
		return nil, fmt.Errorf("%w: transfer %d of stream %d to %q is in the order only", errRow, at.Number, at.Stream, at.Tenant)
	}
	return decodeTransfer(stored)
}

// Chain lists what waits for a tenant in a stream, in order.
func (v View) Chain(shard uint32, tenant string) iter.Seq2[Entry, error] {
	if v.rows == nil {
		return func(func(Entry, error) bool) {}
	}
	p, err := decodeProgress(v.rows.Get(tenantKey(shard, tenant)))
	if err != nil {
		return func(yield func(Entry, error) bool) { yield(Entry{}, err) }
	}
	return chain(v.rows, shard, tenant, p)
}

// chain begins behind what is finished: rows that were deleted lately cost as much to
// step over as others. If nothing was issued since, nothing waits.
func chain(rows *kv.Bucket, shard uint32, tenant string, p Progress) iter.Seq2[Entry, error] {
	prefix := chainKey(shard, tenant)
	return func(yield func(Entry, error) bool) {
		if p.Finished == p.Issued {
			return
		}
		for k, stored := range walk(rows, entryKey(shard, tenant, p.Finished+1), func() *kv.Cursor { return rows.PrefixCursor(prefix) }) {
			if len(k) != len(prefix)+8 {
				yield(Entry{}, fmt.Errorf("%w: entry %x", errRow, k))
				return
			}
			transfer, err := decodeTransfer(stored)
			e := Entry{Position{shard, binary.BigEndian.Uint64(k[len(prefix):]), tenant}, transfer}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Watermarks lists the streams in spans that ever made a transfer to a tenant,
// by their points.
func (v View) Watermarks(spans []*clusterv1.RangeRef, tenant string) iter.Seq2[Watermark, error] {
	return func(yield func(Watermark, error) bool) {
		prefix := ownerKey(tenant)
		for k, stored := range v.scan(prefix) {
			shard, rest, err := shardOf(k[len(prefix)-1:])
			if err == nil && len(rest) > 0 {
				err = errRow
			}
			if err == nil && !within(spans, shard) {
				continue
			}
			mark := Watermark{Stream: shard, Tenant: tenant}
			if err == nil {
				mark.Progress, err = decodeProgress(stored)
			}
			if err == nil {
				var stream Stream
				stream, err = v.Stream(shard)
				mark.Incarnation = stream.Incarnation
			}
			if !yield(mark, err) || err != nil {
				return
			}
		}
	}
}

func within(spans []*clusterv1.RangeRef, shard uint32) bool {
	point := clusterv1.StreamPoint(shard)
	for _, span := range spans {
		if span.GetKeyspace() == clusterv1.Keyspace_KEYSPACE_STREAM && span.Contains(point) {
			return true
		}
	}
	return false
}

// Describe words a row for people.
func Describe(key, stored []byte) (keyText, valueText string, err error) {
	if len(key) == 0 {
		return "", "", errRow
	}
	if key[0] == tagOwner {
		tenant, rest, ok := ordered.Cut(key[1:])
		if !ok || len(rest) != streamSize-1 {
			return "", "", errRow
		}
		p, err := decodeProgress(stored)
		return fmt.Sprintf("of tenant %q in stream %d", tenant, binary.BigEndian.Uint32(rest[8:])), describeProgress(p), err
	}
	shard, rest, err := shardOf(key)
	if err != nil {
		return "", "", err
	}
	switch key[0] {
	case tagStream:
		s, err := decodeStream(stored)
		return fmt.Sprintf("stream %d", shard),
			fmt.Sprintf("incarnation %d, last transfer %d, %d wait with %d blocks of %d bytes", s.Incarnation, s.Last, s.Transfers, s.Blocks, s.Bytes), err
	case tagTenant:
		p, err := decodeProgress(stored)
		return fmt.Sprintf("stream %d to tenant %q", shard, rest), describeProgress(p), err
	case tagOrder:
		at, err := decodeOrder(key)
		return fmt.Sprintf("stream %d, transfer %d", shard, at.Number), fmt.Sprintf("to tenant %q", at.Tenant), err
	case tagEntry:
		tenant, number, ok := ordered.Cut(rest)
		if !ok || len(number) != 8 {
			return "", "", errRow
		}
		transfer, err := decodeTransfer(stored)
		return fmt.Sprintf("stream %d to tenant %q, transfer %d", shard, tenant, binary.BigEndian.Uint64(number)), fmt.Sprint(transfer), err
	}
	return "", "", errRow
}

func describeProgress(p Progress) string {
	return fmt.Sprintf("issued up to %d, finished up to %d", p.Issued, p.Finished)
}
