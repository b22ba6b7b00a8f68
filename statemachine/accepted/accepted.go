// Package accepted is the table of what a group has taken over from streams: for
// each tenant and stream, the last transfer that was accepted. Rows lie at the
// tenant's point, so that they go where the tenant's blocks go; they stay for
// ever, since a transfer may be repeated at any time.
//
//	"accepted"  point (8) shard (4) tenant → incarnation (8), number (8), and, if any, deleted until (8)
package accepted

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

var (
	rowsName = []byte("accepted")

	errRow = errors.New("accepted: malformed row")
)

// Mark is the last transfer of a stream to a tenant that was accepted; the zero
// mark is before all.
type Mark struct {
	// Of the stream; numbers of a later one are later.
	Incarnation uint64
	Number      uint64
	// All that the tenant's group has of the stream is younger than deletions up to this
	// moment, Unix milliseconds, whatever the blocks' ids say. It only grows.
	DeletedUntil uint64
}

// Compare orders marks: by incarnation, then by number.
func (m Mark) Compare(other Mark) int {
	return cmp.Or(cmp.Compare(m.Incarnation, other.Incarnation), cmp.Compare(m.Number, other.Number))
}

// Stream is a mark, and of which stream and tenant it is.
type Stream struct {
	Stream uint32
	Tenant string
	Mark
}

func key(stream uint32, tenant string) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 12+len(tenant)), clusterv1.TenantPoint(tenant, stream))
	return append(binary.BigEndian.AppendUint32(b, stream), tenant...)
}

func decodeMark(stored []byte) (Mark, error) {
	switch len(stored) {
	case 0:
		return Mark{}, nil
	case 16, 24:
		m := Mark{Incarnation: binary.BigEndian.Uint64(stored), Number: binary.BigEndian.Uint64(stored[8:])}
		if len(stored) == 24 {
			m.DeletedUntil = binary.BigEndian.Uint64(stored[16:])
		}
		return m, nil
	}
	return Mark{}, errRow
}

func decode(k, stored []byte) (Stream, error) {
	if len(k) <= 12 {
		return Stream{}, fmt.Errorf("%w: %x", errRow, k)
	}
	s := Stream{Stream: binary.BigEndian.Uint32(k[8:]), Tenant: string(k[12:])}
	if string(key(s.Stream, s.Tenant)) != string(k) {
		return s, fmt.Errorf("%w: stream %d, tenant %q lie at another point", errRow, s.Stream, s.Tenant)
	}
	var err error
	if s.Mark, err = decodeMark(stored); err == nil && s.Mark == (Mark{}) {
		err = fmt.Errorf("%w: nothing accepted", errRow)
	}
	return s, err
}

// Get returns the mark of a stream and tenant.
func Get(tx *kv.Tx, stream uint32, tenant string) (Mark, error) {
	rows := tx.Bucket(rowsName)
	if rows == nil {
		return Mark{}, nil
	}
	return decodeMark(rows.Get(key(stream, tenant)))
}

// Put stores the mark of a stream and tenant.
func Put(tx *kv.Tx, stream uint32, tenant string, mark Mark) error {
	rows, err := tx.CreateBucketIfNotExists(rowsName)
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint64(nil, mark.Incarnation)
	b = binary.BigEndian.AppendUint64(b, mark.Number)
	if mark.DeletedUntil > 0 {
		b = binary.BigEndian.AppendUint64(b, mark.DeletedUntil)
	}
	return rows.Put(key(stream, tenant), b)
}

// Of lists the marks of a tenant whose points are in the spans.
func Of(tx *kv.Tx, spans []*clusterv1.RangeRef, tenant string) iter.Seq2[Stream, error] {
	return func(yield func(Stream, error) bool) {
		rows := tx.Bucket(rowsName)
		if rows == nil {
			return
		}
		lo, hi := clusterv1.TenantSpan(tenant)
		cursor := rows.Cursor()
		for k, stored := cursor.Seek(binary.BigEndian.AppendUint64(nil, lo)); k != nil; k, stored = cursor.Next() {
			s, err := decode(k, stored)
			if err == nil {
				point := binary.BigEndian.Uint64(k)
				if hi != 0 && point >= hi {
					return
				}
				if s.Tenant != tenant || !within(spans, point) {
					continue
				}
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

func within(spans []*clusterv1.RangeRef, point uint64) bool {
	for _, span := range spans {
		if span.GetKeyspace() == clusterv1.Keyspace_KEYSPACE_TENANT && span.Contains(point) {
			return true
		}
	}
	return false
}

// All lists all rows, by their points.
func All(tx *kv.Tx) iter.Seq2[Stream, error] {
	return func(yield func(Stream, error) bool) {
		rows := tx.Bucket(rowsName)
		if rows == nil {
			return
		}
		cursor := rows.Cursor()
		for k, stored := cursor.First(); k != nil; k, stored = cursor.Next() {
			if !yield(decode(k, stored)) {
				return
			}
		}
	}
}

// Describe words a row for people.
func Describe(k, stored []byte) (keyText, valueText string, err error) {
	s, err := decode(k, stored)
	valueText = fmt.Sprintf("accepted up to %d of incarnation %d", s.Number, s.Incarnation)
	if s.DeletedUntil > 0 {
		valueText += fmt.Sprintf(", all of it younger than %d", s.DeletedUntil)
	}
	return fmt.Sprintf("stream %d to tenant %q", s.Stream, s.Tenant), valueText, err
}
