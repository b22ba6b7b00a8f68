package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// The layout of rows in the shared store. DESIGN.md draws it.
//
//	namespace = 'n' id(8, big endian)
//	meta row  = namespace 0x00
//	root      = namespace 0x01
//	key       = parent escape(name) 0x00 0x01
//	bucket    = parent escape(name) 0x00 0x02
//
// escape replaces each 0x00 of a name by 0x00 0xff. A bucket's row is also the prefix of
// everything inside it, and that prefix with its last byte raised by one is the end.
const (
	tagNamespace = 'n'

	areaMeta = 0x00
	areaRoot = 0x01

	byteEscape  = 0x00
	escapedZero = 0xff
	endKey      = 0x01
	endBucket   = 0x02
	endBoth     = 0x03

	namespaceLen = 1 + 8
)

// maxHolderBytes is the longest row key of a bucket that may hold buckets: its path from the root, with
// two bytes for the end of each name and one for each zero byte inside. It is there so that row keys
// have a bound, and is out of reach of programs: to get there by names of ten bytes takes 350,000
// levels, whose rows together have 700 gigabytes of keys.
const maxHolderBytes = 4 << 20

// elementKind tells whether a name in a bucket is a key or a bucket.
type elementKind byte

const (
	kindKey    elementKind = endKey
	kindBucket elementKind = endBucket
)

var errBadKey = errors.New("kv: malformed row key")

// appendNamespace appends the prefix of all rows of a namespace.
func appendNamespace(dst []byte, id uint64) []byte {
	dst = append(dst, tagNamespace)
	return binary.BigEndian.AppendUint64(dst, id)
}

// namespaceSpan returns the span [lower, upper) that holds all rows of a namespace.
func namespaceSpan(id uint64) (lower, upper []byte) {
	lower = appendNamespace(nil, id)
	if id == 1<<64-1 {
		return lower, []byte{tagNamespace + 1}
	}
	return lower, appendNamespace(nil, id+1)
}

// metaKey returns the key of a namespace's meta row.
func metaKey(id uint64) []byte { return append(appendNamespace(nil, id), areaMeta) }

// rootPrefix returns the prefix of a namespace's root bucket.
func rootPrefix(id uint64) []byte { return append(appendNamespace(nil, id), areaRoot) }

// appendName appends the escaped name without its terminator.
func appendName(dst, name []byte) []byte {
	for {
		i := bytes.IndexByte(name, 0)
		if i < 0 {
			return append(dst, name...)
		}
		dst = append(dst, name[:i]...)
		dst = append(dst, byteEscape, escapedZero)
		name = name[i+1:]
	}
}

// appendElement appends the escaped name with the terminator end.
func appendElement(dst, name []byte, end byte) []byte {
	return append(appendName(dst, name), byteEscape, end)
}

// prefixEnd returns the first key behind all that begin with a prefix, which must not be of
// 0xff alone: no row key is.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for end[len(end)-1] == 0xff {
		end = end[:len(end)-1]
	}
	end[len(end)-1]++
	return end
}

// cutElement reads the first element of rest, a row key without its parent's prefix. It appends
// the name to dst and returns it with the element's kind and what follows the element.
func cutElement(dst, rest []byte) (name []byte, kind elementKind, tail []byte, err error) {
	name = dst
	for {
		i := bytes.IndexByte(rest, byteEscape)
		if i < 0 || i+1 >= len(rest) {
			return nil, 0, nil, errBadKey
		}
		name = append(name, rest[:i]...)
		end := rest[i+1]
		rest = rest[i+2:]
		switch end {
		case escapedZero:
			name = append(name, 0)
		case endKey, endBucket:
			if len(name) == len(dst) || (end == endKey && len(rest) > 0) {
				return nil, 0, nil, errBadKey
			}
			return name, elementKind(end), rest, nil
		default:
			return nil, 0, nil, errBadKey
		}
	}
}

// span holds the bounds of a bucket. The slices share one allocation and never change.
type span struct {
	prefix []byte // the bucket's own row
	lower  []byte // at or below the first row inside the bucket
	upper  []byte // above the last row inside the bucket
}

// newSpan makes the span of the bucket whose row is prefix, which it copies.
func newSpan(prefix []byte) span {
	n := len(prefix)
	buf := make([]byte, 0, 2*n+1)
	buf = append(buf, prefix...)
	buf = append(buf, 0)
	buf = append(buf, prefix...)
	buf[2*n]++
	return span{
		prefix: buf[:n:n],
		lower:  buf[: n+1 : n+1],
		upper:  buf[n+1:],
	}
}
