package index

import (
	"encoding/binary"
	"math"
)

// reader takes stored values apart. After the first failure everything it
// returns is zero and failed stays true, so callers may check once at the end.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) fail() { r.rest, r.failed = nil, true }

func (r *reader) uvarint() uint64 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 { // most are
		v := r.rest[0]
		r.rest = r.rest[1:]
		return uint64(v)
	}
	return r.longUvarint()
}

func (r *reader) longUvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// number reads a string or series number.
func (r *reader) number() int32 {
	v := r.uvarint()
	if v > math.MaxInt32 {
		r.fail()
		return 0
	}
	return int32(v)
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

// bytes reads a length and that many bytes; they alias what is read from.
func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

func appendNumber(to []byte, number int32) []byte {
	return binary.AppendUvarint(to, uint64(uint32(number)))
}

func appendBytes(to, field []byte) []byte {
	return append(binary.AppendUvarint(to, uint64(len(field))), field...)
}
