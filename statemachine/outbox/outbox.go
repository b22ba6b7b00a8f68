// Package outbox is the table of transfers: blocks of tenants that jobs of a
// stream made, and that wait to be taken over by the tenants' groups. The blocks
// themselves are in the index, with the stream (index.OutboxKey), so queries see
// them from the moment the job completed.
//
//	"outbox"
//	  'e' point (8) shard (4) tenant, ordered, x (8)   raftlog.v1.Transfer
//	  'q' point (8) shard (4) x (8) tenant             nothing: the order in which they were made
//	  's' point (8) shard (4)                          the stream: incarnation, last number given, sums
//	  't' point (8) shard (4) tenant                   last number issued to the tenant, last one finished
//	  'w' tenant, ordered, point (8) shard (4)         the same, for those who ask for a tenant
//
// The transfers of a stream and tenant form a chain: each names the one before,
// so that they can be accepted in order and once. What is finished was accepted,
// and is gone from here; the rows of stream and tenant stay for ever.
package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/ordered"
	"github.com/skerrydb/skerry/storage/kv"
)

var (
	rowsName = []byte("outbox")

	errRow = errors.New("outbox: malformed row")

	// ErrIncarnation refuses an acknowledgement of another life of the stream.
	ErrIncarnation = errors.New("the stream has another incarnation")
	// ErrNotIssued refuses an acknowledgement of what was never made.
	ErrNotIssued = errors.New("no such transfer was made")
)

const (
	tagEntry  = 'e'
	tagOrder  = 'q'
	tagStream = 's'
	tagTenant = 't'
	tagOwner  = 'w'
)

// streamSize is the length of what names a stream in a key, with the tag.
const streamSize = 1 + 8 + 4

func streamKey(tag byte, shard uint32) []byte {
	b := binary.BigEndian.AppendUint64([]byte{tag}, clusterv1.StreamPoint(shard))
	return binary.BigEndian.AppendUint32(b, shard)
}

func tenantKey(shard uint32, tenant string) []byte {
	return append(streamKey(tagTenant, shard), tenant...)
}

func chainKey(shard uint32, tenant string) []byte {
	return ordered.Append(streamKey(tagEntry, shard), tenant)
}

func entryKey(shard uint32, tenant string, x uint64) []byte {
	return binary.BigEndian.AppendUint64(chainKey(shard, tenant), x)
}

func orderKey(shard uint32, x uint64, tenant string) []byte {
	return append(binary.BigEndian.AppendUint64(streamKey(tagOrder, shard), x), tenant...)
}

func ownerKey(tenant string) []byte { return ordered.Append([]byte{tagOwner}, tenant) }

// shardOf reads the stream that a key names behind its tag; the rest follows.
func shardOf(key []byte) (shard uint32, rest []byte, err error) {
	if len(key) < streamSize {
		return 0, nil, errRow
	}
	shard = binary.BigEndian.Uint32(key[1+8:])
	if binary.BigEndian.Uint64(key[1:]) != clusterv1.StreamPoint(shard) {
		return 0, nil, fmt.Errorf("%w: stream %d lies at another point", errRow, shard)
	}
	return shard, key[streamSize:], nil
}

// Progress is how far the transfers of a stream to a tenant are: those up to
// Finished were accepted, those up to Issued made.
type Progress struct{ Issued, Finished uint64 }

func (p Progress) encode() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, p.Issued), p.Finished)
}

func decodeProgress(stored []byte) (Progress, error) {
	switch len(stored) {
	case 0:
		return Progress{}, nil
	case 16:
		return Progress{binary.BigEndian.Uint64(stored), binary.BigEndian.Uint64(stored[8:])}, nil
	}
	return Progress{}, errRow
}

// Stream is what is known of a stream's transfers to all tenants.
type Stream struct {
	// Grows if the stream is rewound to an older state, from 1 on.
	Incarnation uint64
	// The last number given.
	Last uint64
	// What waits: transfers, their blocks, and the bytes of the blocks' metadata.
	Transfers, Blocks, Bytes uint64
}

func (s Stream) encode() []byte {
	var b []byte
	for _, word := range []uint64{s.Incarnation, s.Last, s.Transfers, s.Blocks, s.Bytes} {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return b
}

func decodeStream(stored []byte) (Stream, error) {
	word := func(i int) uint64 { return binary.BigEndian.Uint64(stored[8*i:]) }
	switch len(stored) {
	case 0:
		return Stream{Incarnation: 1}, nil
	case 5 * 8:
		return Stream{word(0), word(1), word(2), word(3), word(4)}, nil
	}
	return Stream{}, errRow
}

func decodeTransfer(stored []byte) (*raftlogv1.Transfer, error) {
	transfer := &raftlogv1.Transfer{}
	if err := transfer.UnmarshalVT(stored); err != nil {
		return nil, fmt.Errorf("%w: %w", errRow, err)
	}
	return transfer, nil
}

// Writer changes the outbox in one transaction. A job makes transfers to many tenants of
// a stream, and an acknowledgement ends many: what is known of streams and pairs is
// written once, in Flush.
type Writer struct {
	rows    *kv.Bucket
	streams table[uint32, Stream]
	pairs   table[pair, Progress]
}

// pair is a stream and a tenant.
type pair struct {
	shard  uint32
	tenant string
}

// table is what is known of some rows, in the order of first use.
type table[K, T comparable] struct {
	known map[K]*known[K, T]
	order []*known[K, T]
}

// known is what a row says, and what it will.
type known[K, T comparable] struct {
	key         K
	stored, now T
}

// get returns what is known of a row, to be changed; it is read when it is first asked for.
func (t *table[K, T]) get(key K, row []byte, rows *kv.Bucket, decode func([]byte) (T, error)) (*T, error) {
	if k := t.known[key]; k != nil {
		return &k.now, nil
	}
	stored, err := decode(rows.Get(row))
	if err != nil {
		return nil, err
	}
	if t.known == nil {
		t.known = map[K]*known[K, T]{}
	}
	k := &known[K, T]{key, stored, stored}
	t.known[key], t.order = k, append(t.order, k)
	return &k.now, nil
}

// flush calls write for what has changed.
func (t *table[K, T]) flush(write func(key K, now T) error) error {
	for _, k := range t.order {
		if k.now == k.stored {
			continue
		}
		if err := write(k.key, k.now); err != nil {
			return err
		}
		k.stored = k.now
	}
	return nil
}

// NewWriter returns a writer for a writable transaction. Call Flush before it commits.
func NewWriter(tx *kv.Tx) (*Writer, error) {
	rows, err := tx.CreateBucketIfNotExists(rowsName)
	return &Writer{rows: rows}, err
}

// stream returns what is known of a stream, to be changed.
func (w *Writer) stream(shard uint32) (*Stream, error) {
	return w.streams.get(shard, streamKey(tagStream, shard), w.rows, decodeStream)
}

// progress returns what is known of a pair, to be changed.
func (w *Writer) progress(shard uint32, tenant string) (*Progress, error) {
	return w.pairs.get(pair{shard, tenant}, tenantKey(shard, tenant), w.rows, decodeProgress)
}

// Flush writes what became of streams and pairs.
func (w *Writer) Flush() error {
	err := w.streams.flush(func(shard uint32, s Stream) error {
		return w.rows.Put(streamKey(tagStream, shard), s.encode())
	})
	if err != nil {
		return err
	}
	return w.pairs.flush(func(p pair, progress Progress) error {
		encoded := progress.encode()
		if err := w.rows.Put(tenantKey(p.shard, p.tenant), encoded); err != nil {
			return err
		}
		return w.rows.Put(append(ownerKey(p.tenant), streamKey(tagOwner, p.shard)[1:]...), encoded)
	})
}

// Next returns the number of a stream's next transfers: one for all tenants of a
// job.
func (w *Writer) Next(shard uint32) (uint64, error) {
	stream, err := w.stream(shard)
	if err != nil {
		return 0, err
	}
	stream.Last++
	return stream.Last, nil
}

// Issue adds a transfer to a tenant, behind the last one, which becomes its
// previous. The transfer must have blocks.
func (w *Writer) Issue(shard uint32, tenant string, x uint64, transfer *raftlogv1.Transfer) error {
	stream, err := w.stream(shard)
	if err != nil {
		return err
	}
	p, err := w.progress(shard, tenant)
	if err != nil {
		return err
	}
	transfer.Previous = p.Issued
	if err := w.put(entryKey(shard, tenant, x), transfer); err != nil {
		return err
	}
	if err := w.rows.Put(orderKey(shard, x, tenant), nil); err != nil {
		return err
	}
	stream.Transfers++
	stream.Blocks += uint64(len(transfer.GetBlocks()))
	stream.Bytes += transfer.GetBytes()
	p.Issued = x
	return nil
}

func (w *Writer) put(key []byte, transfer *raftlogv1.Transfer) error {
	encoded, err := transfer.MarshalVT()
	if err != nil {
		return err
	}
	return w.rows.Put(key, encoded)
}

// Check tells what an acknowledgement of a tenant's transfers up to a number
// finds: whether it changes anything, ErrIncarnation or ErrNotIssued if it must be
// refused.
func (w *Writer) Check(shard uint32, incarnation uint64, tenant string, x uint64) (news bool, err error) {
	stream, err := w.stream(shard)
	if err != nil {
		return false, err
	}
	if stream.Incarnation != incarnation {
		return false, fmt.Errorf("%w: stream %d, %d instead of %d", ErrIncarnation, shard, stream.Incarnation, incarnation)
	}
	p, err := w.progress(shard, tenant)
	if err != nil {
		return false, err
	}
	if x <= p.Finished {
		return false, nil
	}
	if w.rows.Get(entryKey(shard, tenant, x)) == nil {
		return false, fmt.Errorf("%w: stream %d, tenant %q, %d after %d of %d", ErrNotIssued, shard, tenant, x, p.Finished, p.Issued)
	}
	return true, nil
}

// Finish forgets a tenant's transfers up to one that Check found, and returns
// their blocks.
func (w *Writer) Finish(shard uint32, tenant string, x uint64) (blocks []string, err error) {
	stream, err := w.stream(shard)
	if err != nil {
		return nil, err
	}
	p, err := w.progress(shard, tenant)
	if err != nil {
		return nil, err
	}
	var keys [][]byte
	for e, err := range chain(w.rows, shard, tenant, *p) {
		if err != nil {
			return nil, err
		}
		if e.Number > x {
			break
		}
		keys = append(keys, entryKey(shard, tenant, e.Number), orderKey(shard, e.Number, tenant))
		blocks = append(blocks, e.GetBlocks()...)
		stream.Transfers--
		stream.Bytes -= e.GetBytes()
	}
	for _, key := range keys {
		if err := w.rows.Delete(key); err != nil {
			return nil, err
		}
	}
	stream.Blocks -= uint64(len(blocks))
	p.Finished = max(p.Finished, x)
	return blocks, nil
}

// Younger returns the blocks of a tenant's transfers that hold nothing from before a
// deletion, whatever their ids say: those of jobs that knew of it.
func (w *Writer) Younger(shard uint32, tenant string, until uint64) (map[ulid.ULID]bool, error) {
	p, err := w.progress(shard, tenant)
	if err != nil {
		return nil, err
	}
	younger := map[ulid.ULID]bool{}
	for e, err := range chain(w.rows, shard, tenant, *p) {
		if err != nil {
			return nil, err
		}
		if e.GetDeletedUntil() < until {
			continue
		}
		for _, text := range e.GetBlocks() {
			id, err := ulid.ParseStrict(text)
			if err != nil {
				return nil, fmt.Errorf("%w: block %q", errRow, text)
			}
			younger[id] = true
		}
	}
	return younger, nil
}

// Forget takes blocks out of a tenant's transfers. The transfers stay: the chain
// must not break.
func (w *Writer) Forget(shard uint32, tenant string, gone map[ulid.ULID]bool) error {
	p, err := w.progress(shard, tenant)
	if err != nil {
		return err
	}
	var changed []Entry
	var blocks, bytes uint64
	for e, err := range chain(w.rows, shard, tenant, *p) {
		if err != nil {
			return err
		}
		var left []string
		for _, text := range e.GetBlocks() {
			id, err := ulid.ParseStrict(text)
			if err != nil {
				return fmt.Errorf("%w: block %q", errRow, text)
			}
			if !gone[id] {
				left = append(left, text)
			}
		}
		if len(left) == len(e.GetBlocks()) {
			continue
		}
		blocks += uint64(len(e.GetBlocks()) - len(left))
		if e.Blocks = left; len(left) == 0 {
			bytes += e.GetBytes()
			e.Bytes = 0
		}
		changed = append(changed, e)
	}
	if len(changed) == 0 {
		return nil
	}
	for _, e := range changed {
		if err := w.put(entryKey(shard, tenant, e.Number), e.Transfer); err != nil {
			return err
		}
	}
	stream, err := w.stream(shard)
	if err != nil {
		return err
	}
	stream.Blocks -= blocks
	stream.Bytes -= bytes
	return nil
}
