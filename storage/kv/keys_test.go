package kv

import (
	"bytes"
	"testing"
)

// encodePath returns the row key of the element at the end of a path of buckets.
func encodePath(path [][]byte, end byte) []byte {
	key := rootPrefix(1)
	for i, name := range path {
		if i == len(path)-1 {
			return appendElement(key, name, end)
		}
		key = appendElement(key, name, endBucket)
	}
	return key
}

// FuzzKeys checks of two names anywhere in a tree: they come back as they went in, rows are in the
// order of names, and a bucket's rows are one span that holds nothing else.
func FuzzKeys(f *testing.F) {
	for _, names := range [][2]string{{"a", "b"}, {"a", "a\x00"}, {"\x00", "\x00\x00"}, {"a\x00\xff", "a\x00\x01"}, {"\xff", "\xff\xff"}, {"a", "a\x02"}, {"a\x00", "a\x01"}} {
		f.Add([]byte(names[0]), []byte(names[1]), []byte("in"))
	}
	f.Fuzz(func(t *testing.T, a, b, inner []byte) {
		if len(a) == 0 || len(b) == 0 || len(inner) == 0 {
			return
		}
		parent := rootPrefix(1)
		for _, kind := range []elementKind{kindKey, kindBucket} {
			row := appendElement(bytes.Clone(parent), a, byte(kind))
			name, got, tail, err := cutElement(nil, row[len(parent):])
			if err != nil || got != kind || len(tail) != 0 || !bytes.Equal(name, a) {
				t.Fatalf("%q as %d came back as %q, %d, %q, %v", a, kind, name, got, tail, err)
			}
		}
		order := bytes.Compare(a, b)
		for _, endA := range []byte{endKey, endBucket} {
			for _, endB := range []byte{endKey, endBucket} {
				rowA, rowB := encodePath([][]byte{a}, endA), encodePath([][]byte{b}, endB)
				if got := bytes.Compare(rowA, rowB); order != 0 && got != order {
					t.Fatalf("rows of %q and %q compare %d, names %d", a, b, got, order)
				}
			}
		}
		s := newSpan(encodePath([][]byte{a}, endBucket))
		within := func(row []byte) bool {
			return bytes.Compare(row, s.lower) >= 0 && bytes.Compare(row, s.upper) < 0
		}
		if within(s.prefix) {
			t.Fatalf("bucket %q lists itself", a)
		}
		for _, end := range []byte{endKey, endBucket} {
			if !within(encodePath([][]byte{a, inner}, end)) || !within(encodePath([][]byte{a, inner, b}, end)) {
				t.Fatalf("bucket %q does not span %q inside", a, inner)
			}
			if order != 0 && (within(encodePath([][]byte{b}, end)) || within(encodePath([][]byte{b, inner}, end))) {
				t.Fatalf("bucket %q spans its neighbour %q", a, b)
			}
		}
	})
}

// FuzzCutElement checks that no bytes whatever crash the reader of row keys, and that those it takes
// are those the writer makes.
func FuzzCutElement(f *testing.F) {
	for _, s := range []string{"", "a", "a\x00", "a\x00\x01", "a\x00\x01b", "a\x00\x02b\x00\x01", "\x00\xff\x00\x01", "a\x00\x03", "\x00\x02"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, rest []byte) {
		name, kind, tail, err := cutElement(nil, rest)
		if err != nil {
			return
		}
		if again := append(appendElement(nil, name, byte(kind)), tail...); !bytes.Equal(again, rest) {
			t.Fatalf("%q read as %q, written as %q", rest, name, again)
		}
	})
}
