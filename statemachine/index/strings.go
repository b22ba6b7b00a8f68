package index

import (
	"encoding/binary"
	"errors"
	"fmt"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// stringTable is a shard's shared table. String 0 is "" and is not stored; the
// others are numbered in order of first use.
type stringTable struct {
	list []string
	ids  map[string]int32
	// Of all strings.
	bytes int
}

func newStringTable(capacity int) *stringTable {
	t := &stringTable{list: make([]string, 1, capacity+1), ids: make(map[string]int32, capacity+1)}
	t.ids[""] = 0
	return t
}

var errStrings = errors.New("index: malformed string table")

// loadStrings reads the whole table of a shard.
func loadStrings(shard *kv.Bucket, record Record) (*stringTable, error) {
	t := newStringTable(int(record.Strings))
	cursor := shard.Cursor()
	for k, v := cursor.Seek([]byte{tagStrings}); len(k) > 0 && k[0] == tagStrings; k, v = cursor.Next() {
		if len(k) != 5 || binary.BigEndian.Uint32(k[1:]) != uint32(len(t.list)) {
			return nil, errStrings
		}
		if err := t.appendChunk(v); err != nil {
			return nil, err
		}
	}
	if len(t.list)-1 != int(record.Strings) {
		return nil, fmt.Errorf("%w: %d strings, the record says %d", errStrings, len(t.list)-1, record.Strings)
	}
	return t, nil
}

// A chunk holds the strings that one block added: each its length, then bytes.
func (t *stringTable) appendChunk(chunk []byte) error {
	for len(chunk) > 0 {
		size, n := binary.Uvarint(chunk)
		if n <= 0 || size > uint64(len(chunk)-n) {
			return errStrings
		}
		t.add(string(chunk[n : n+int(size)]))
		chunk = chunk[n+int(size):]
	}
	return nil
}

func encodeChunk(added []string) []byte {
	var chunk []byte
	for _, s := range added {
		chunk = binary.AppendUvarint(chunk, uint64(len(s)))
		chunk = append(chunk, s...)
	}
	return chunk
}

// intern returns the number of a string, adding it if it is new.
func (t *stringTable) intern(s string) int32 {
	if id, ok := t.ids[s]; ok {
		return id
	}
	return t.add(s)
}

func (t *stringTable) add(s string) int32 {
	id := int32(len(t.list))
	t.ids[s] = id
	t.list = append(t.list, s)
	t.bytes += len(s)
	return id
}

// at returns a string by number. References in stored blocks were checked when
// they were written; a number outside the table means a damaged store.
func (t *stringTable) at(ref int32) (string, error) {
	if ref < 0 || int(ref) >= len(t.list) {
		return "", fmt.Errorf("%w: reference %d of %d", errStrings, ref, len(t.list))
	}
	return t.list[ref], nil
}

// translate rewrites every string reference of a block from one table to
// another, in the fixed order of exported tables: block tenant, creator, then
// for each dataset tenant, name and labels. The label counts are no references.
func translate(block *metastorev1.BlockMeta, from, to *stringTable) error {
	var failed error
	move := func(ref *int32) {
		s, err := from.at(*ref)
		if err != nil {
			failed = err
			return
		}
		*ref = to.intern(s)
	}
	move(&block.Tenant)
	move(&block.CreatedBy)
	for _, dataset := range block.Datasets {
		move(&dataset.Tenant)
		move(&dataset.Name)
		sets := labelSets(dataset.Labels)
		for set, ok := sets.next(); ok; set, ok = sets.next() {
			for i := range set {
				move(&set[i])
			}
		}
	}
	return failed
}

// sourceTable wraps the table that came with a block, to be translated from.
func sourceTable(block *metastorev1.BlockMeta) *stringTable {
	if len(block.StringTable) == 0 {
		return &stringTable{list: []string{""}}
	}
	return &stringTable{list: block.StringTable}
}

// exportStrings gives a stored block a table of its own that holds just the
// strings it refers to.
func exportStrings(block *metastorev1.BlockMeta, shared *stringTable) error {
	own := newStringTable(8)
	if err := translate(block, shared, own); err != nil {
		return err
	}
	block.StringTable = own.list
	return nil
}
