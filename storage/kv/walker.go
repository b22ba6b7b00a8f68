package kv

import (
	"bytes"
	"fmt"
)

// walker follows the rows of a namespace in order and tells where each stands in the tree of
// buckets. It refuses rows that no sequence of writes leaves behind: a row whose bucket has none,
// a name that is both key and bucket, a key in the root.
type walker struct {
	prefix []byte // row key of the bucket the walk is in
	depths []int  // length of prefix for each bucket the walk is in, root first
	name   []byte // of the latest element, valid until the next step but one
	spare  []byte // what name was before
	kind   elementKind
}

func newWalker(root []byte) *walker {
	return &walker{prefix: bytes.Clone(root), depths: []int{len(root)}}
}

// step takes the next row's key. It returns how many buckets ended before it. A bucket that begins
// is entered: the next element may be inside. So is one that has a key's name, beside the error.
func (w *walker) step(key []byte) (ended int, err error) {
	for !bytes.HasPrefix(key, w.prefix) {
		if len(w.depths) == 1 {
			return 0, fmt.Errorf("%w: row outside the namespace", errBadKey)
		}
		w.leave()
		ended++
	}
	inRoot := len(w.depths) == 1
	afterKey := ended == 0 && w.kind == kindKey
	name, kind, tail, err := cutElement(w.spare[:0], key[len(w.prefix):])
	if err != nil {
		return ended, err
	}
	switch {
	case len(tail) > 0:
		return ended, fmt.Errorf("%w: row inside the missing bucket %q", errBadKey, name)
	case kind == kindKey && inRoot:
		return ended, fmt.Errorf("%w: key %q in the root", errBadKey, name)
	case afterKey && kind == kindBucket && bytes.Equal(w.name, name):
		err = fmt.Errorf("%w: %q is both key and bucket", errBadKey, name)
	}
	w.name, w.spare, w.kind = name, w.name, kind
	if kind == kindBucket {
		w.prefix = append(w.prefix[:0], key...)
		w.depths = append(w.depths, len(key))
	}
	return ended, err
}

// leave goes back to the parent bucket.
func (w *walker) leave() {
	w.depths = w.depths[:len(w.depths)-1]
	w.prefix = w.prefix[:w.depths[len(w.depths)-1]]
}

// parent returns the row key of the bucket that holds the latest element, which is a bucket.
func (w *walker) parent() []byte { return w.prefix[:w.depths[len(w.depths)-2]] }

// open returns how many buckets below the root the walk is in.
func (w *walker) open() int { return len(w.depths) - 1 }
