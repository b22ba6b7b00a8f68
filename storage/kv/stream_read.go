package kv

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// streamReader reads a stream and trusts nothing in it.
type streamReader struct {
	in      *bufio.Reader
	crc     uint32
	records uint64

	txID         uint64
	rootSequence uint64

	levels []streamLevel // the buckets the stream is in, root first

	// The latest record. key and value are valid until the next one.
	kind  byte
	key   []byte
	value []byte
	row   bucketRow
}

// streamLevel is a bucket that has begun and not ended.
type streamLevel struct {
	last  []byte // the latest name in it
	nests bool
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("kv: "+format+": %w", append(args, ErrCorruptStream)...)
}

// newStreamReader reads the header.
func newStreamReader(r io.Reader) (*streamReader, error) {
	s := &streamReader{
		in:     bufio.NewReaderSize(r, streamBufferBytes),
		levels: []streamLevel{{nests: true}},
	}
	var head [len(streamMagic) + 1 + 8 + 8]byte
	if err := s.read(head[:]); err != nil {
		return nil, err
	}
	magic, rest := head[:len(streamMagic)], head[len(streamMagic):]
	if string(magic) != streamMagic {
		return nil, corrupt("not a stream of a database")
	}
	if rest[0] > streamVersion {
		return nil, fmt.Errorf("kv: stream of version %d, this binary reads up to %d: %w",
			rest[0], streamVersion, ErrNewerFormat)
	}
	s.txID = binary.BigEndian.Uint64(rest[1:])
	s.rootSequence = binary.BigEndian.Uint64(rest[9:])
	return s, nil
}

// next reads a record. At the end of a whole and sound stream it returns io.EOF.
func (s *streamReader) next() error {
	var err error
	if s.kind, err = s.readByte(); err != nil {
		return err
	}
	switch s.kind {
	case recordKey:
		return s.readKey()
	case recordBucket:
		return s.readBucket()
	case recordUp:
		if len(s.levels) == 1 {
			return corrupt("record %d leaves the root", s.records)
		}
		s.levels = s.levels[:len(s.levels)-1]
		return nil
	case recordEnd:
		return s.readEnd()
	}
	return corrupt("unknown record %#x after %d", s.kind, s.records)
}

func (s *streamReader) readKey() error {
	if len(s.levels) == 1 {
		return corrupt("record %d is a key in the root", s.records)
	}
	if err := s.readName(); err != nil {
		return err
	}
	n, err := s.readUvarint()
	if err != nil {
		return err
	}
	if n > MaxValueSize {
		return corrupt("record %d has a value of %d bytes", s.records, n)
	}
	s.value, err = s.readBytes(s.value[:0], int(n))
	s.records++
	return err
}

func (s *streamReader) readBucket() error {
	if !s.levels[len(s.levels)-1].nests {
		return corrupt("record %d is a bucket in a bucket of keys", s.records)
	}
	err := s.readName()
	if err != nil {
		return err
	}
	if s.row.sequence, err = s.readUvarint(); err != nil {
		return err
	}
	nests, err := s.readByte()
	if err != nil {
		return err
	}
	if nests > 1 {
		return corrupt("record %d has an unknown mark", s.records)
	}
	s.row.nests = nests == 1
	s.levels = append(s.levels, streamLevel{nests: s.row.nests})
	s.records++
	return nil
}

// readName reads a name, which must follow the one before in its bucket.
func (s *streamReader) readName() error {
	n, err := s.readUvarint()
	if err != nil {
		return err
	}
	if n == 0 || n > MaxKeySize {
		return corrupt("record %d has a name of %d bytes", s.records, n)
	}
	if s.key, err = s.readBytes(s.key[:0], int(n)); err != nil {
		return err
	}
	level := &s.levels[len(s.levels)-1]
	if bytes.Compare(level.last, s.key) >= 0 {
		return corrupt("record %d is out of order", s.records)
	}
	level.last = append(level.last[:0], s.key...)
	return nil
}

func (s *streamReader) readEnd() error {
	var count, sum [8]byte
	if err := s.read(count[:]); err != nil {
		return err
	}
	want := s.crc
	if err := s.read(sum[:4]); err != nil {
		return err
	}
	switch {
	case binary.BigEndian.Uint32(sum[:4]) != want:
		return corrupt("checksum differs")
	case binary.BigEndian.Uint64(count[:]) != s.records:
		return corrupt("%d records where %d were written", s.records, binary.BigEndian.Uint64(count[:]))
	case len(s.levels) > 1:
		return corrupt("ends inside a bucket")
	}
	if _, err := s.in.ReadByte(); !errors.Is(err, io.EOF) {
		if err != nil {
			return fmt.Errorf("kv: read stream: %w", err)
		}
		return corrupt("goes on after its end")
	}
	return io.EOF
}

// read fills p.
func (s *streamReader) read(p []byte) error {
	if _, err := io.ReadFull(s.in, p); err != nil {
		return s.cutShort(err)
	}
	s.crc = crc32.Update(s.crc, castagnoli, p)
	return nil
}

// cutShort tells a stream that ends early from one that cannot be read.
func (s *streamReader) cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return corrupt("cut short after %d records", s.records)
	}
	return fmt.Errorf("kv: read stream: %w", err)
}

func (s *streamReader) readByte() (byte, error) {
	b, err := s.in.ReadByte()
	if err != nil {
		return 0, s.cutShort(err)
	}
	s.crc = crc32.Update(s.crc, castagnoli, []byte{b})
	return b, nil
}

func (s *streamReader) readUvarint() (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b, err := s.readByte()
		if err != nil {
			return 0, err
		}
		if shift == 63 && b > 1 {
			break
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, corrupt("record %d has a number out of range", s.records)
}

// readBytes appends n bytes to dst, growing it only as they arrive: a length may be a lie.
func (s *streamReader) readBytes(dst []byte, n int) ([]byte, error) {
	for n > 0 {
		step := min(n, 1<<20)
		from := len(dst)
		dst = append(dst, make([]byte, step)...)
		if err := s.read(dst[from:]); err != nil {
			return dst, err
		}
		n -= step
	}
	return dst, nil
}
