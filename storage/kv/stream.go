package kv

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// The stream of a database's contents, written by WriteTo and read by Restore. Numbers are
// varints unless a size in bytes is given; those are big endian.
//
//	magic(7) version(1) txID(8) rootSequence(8)
//	  'k' len key len value           a pair in the current bucket
//	  'b' len name sequence nests(1)  a bucket in the current one, which becomes current
//	  'u'                             back to the parent bucket
//	'e' records(8) crc32c(4)          counts 'k' and 'b'; the sum is of all bytes before it
//
// Names in a bucket ascend. The stream knows nothing of namespaces or of the layout of rows, so it
// fits any namespace and outlives a change of layout.
const (
	streamMagic   = "skrykvs"
	streamVersion = 1

	recordKey    = 'k'
	recordBucket = 'b'
	recordUp     = 'u'
	recordEnd    = 'e'

	streamBufferBytes = 64 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// streamWriter writes records. The first error sticks.
type streamWriter struct {
	out     *bufio.Writer
	crc     uint32
	records uint64
	scratch []byte
	err     error
}

func newStreamWriter(w io.Writer) *streamWriter {
	return &streamWriter{out: bufio.NewWriterSize(w, streamBufferBytes)}
}

func (s *streamWriter) write(p []byte) {
	if s.err != nil {
		return
	}
	s.crc = crc32.Update(s.crc, castagnoli, p)
	_, s.err = s.out.Write(p)
}

func (s *streamWriter) header(txID, rootSequence uint64) {
	b := append(s.scratch[:0], streamMagic...)
	b = append(b, streamVersion)
	b = binary.BigEndian.AppendUint64(b, txID)
	s.scratch = binary.BigEndian.AppendUint64(b, rootSequence)
	s.write(s.scratch)
}

func (s *streamWriter) key(key, value []byte) {
	b := append(s.scratch[:0], recordKey)
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = append(b, key...)
	s.scratch = binary.AppendUvarint(b, uint64(len(value)))
	s.write(s.scratch)
	s.write(value)
	s.records++
}

func (s *streamWriter) bucket(name []byte, row bucketRow) {
	b := append(s.scratch[:0], recordBucket)
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = append(b, name...)
	b = binary.AppendUvarint(b, row.sequence)
	nests := byte(0)
	if row.nests {
		nests = 1
	}
	s.scratch = append(b, nests)
	s.write(s.scratch)
	s.records++
}

func (s *streamWriter) up(times int) {
	for range times {
		s.write([]byte{recordUp})
	}
}

func (s *streamWriter) end() error {
	b := append(s.scratch[:0], recordEnd)
	s.scratch = binary.BigEndian.AppendUint64(b, s.records)
	s.write(s.scratch)
	s.write(binary.BigEndian.AppendUint32(s.scratch[:0], s.crc))
	if s.err != nil {
		return s.err
	}
	return s.out.Flush()
}

// countingWriter counts what was written to w.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// WriteTo writes what the transaction sees as a stream that Restore reads, holding only a block of
// it in memory. It returns the number of bytes written.
func (tx *Tx) WriteTo(w io.Writer) (int64, error) {
	if tx.db == nil {
		return 0, ErrTxClosed
	}
	out := &countingWriter{w: w}
	err := tx.writeStream(newStreamWriter(out))
	return out.n, err
}

// Copy is WriteTo without the count.
func (tx *Tx) Copy(w io.Writer) error {
	_, err := tx.WriteTo(w)
	return err
}

func (tx *Tx) writeStream(s *streamWriter) error {
	s.header(uint64(tx.ID()), tx.root.Sequence())
	it := tx.newIterator(tx.root.lower, tx.root.upper)
	defer tx.freeIterator(it)
	walk := newWalker(tx.root.prefix)
	for ok := it.First(); ok && s.err == nil; ok = it.Next() {
		ended, err := walk.step(it.Key())
		if err != nil {
			return err
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("kv: read: %w", err)
		}
		s.up(ended)
		if walk.kind == kindKey {
			s.key(walk.name, v)
			continue
		}
		row, err := decodeBucketRow(v)
		if err != nil {
			return err
		}
		s.bucket(walk.name, row)
	}
	if err := it.Error(); err != nil {
		return fmt.Errorf("kv: read: %w", err)
	}
	s.up(walk.open())
	return s.end()
}
