package index

import (
	"bytes"

	"github.com/skerrydb/skerry/storage/kv"
)

// rowCursor reads rows of a shard by key. Keys that follow one another cost a
// step each, others a seek.
type rowCursor struct {
	cursor     *kv.Cursor
	placed     bool
	key, value []byte
}

func newRowCursor(shard *kv.Bucket) *rowCursor { return &rowCursor{cursor: shard.LendingCursor()} }

// get returns a row's value, valid until the next call, nil if there is none.
func (c *rowCursor) get(key []byte) []byte {
	if c.placed && c.key != nil && bytes.Compare(c.key, key) < 0 {
		c.key, c.value = c.cursor.Next()
	}
	if !c.placed || !bytes.Equal(c.key, key) {
		c.key, c.value = c.cursor.Seek(key)
		c.placed = true
	}
	if !bytes.Equal(c.key, key) {
		return nil
	}
	return c.value
}
