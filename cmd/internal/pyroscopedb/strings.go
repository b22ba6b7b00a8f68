package pyroscopedb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

var errStrings = errors.New("damaged string table")

// stringTable is the strings that the blocks of a shard share. Entry 0 is "".
type stringTable struct {
	all []string
	// Why the table ends where it does; nil if it is whole. Strings behind the first
	// fault are not known: their numbers depend on it.
	fault error
}

func newStringTable() *stringTable { return &stringTable{all: []string{""}} }

// add appends a row. Rows must come in the order of their keys.
func (t *stringTable) add(key, value []byte) {
	if t.fault != nil {
		return
	}
	fail := func(format string, args ...any) {
		t.fault = fmt.Errorf("%w: %s; strings from %d on are not known", errStrings, fmt.Sprintf(format, args...), len(t.all))
	}
	if len(key) != 4 {
		fail("a key has %d bytes, want 4", len(key))
		return
	}
	if first := binary.BigEndian.Uint32(key); uint64(first) != uint64(len(t.all)) {
		fail("a row begins with string %d, want %d", first, len(t.all))
		return
	}
	added, err := decodeStrings(value)
	if err != nil {
		fail("the row of string %d: %v", len(t.all), err)
		return
	}
	t.all = append(t.all, added...)
}

// decodeStrings reads a row of a string table.
func decodeStrings(value []byte) ([]string, error) {
	count, rest, ok := cutUint32(value)
	// Each string takes 4 bytes at least: a wrong count must not cost memory.
	if !ok || uint64(count) > uint64(len(rest)/4) {
		return nil, fmt.Errorf("%d strings in %d bytes", count, len(value))
	}
	all := make([]string, 0, count)
	for i := range count {
		size, tail, ok := cutUint32(rest)
		if !ok || uint64(size) > uint64(len(tail)) {
			return nil, fmt.Errorf("string %d of the row has %d bytes, %d are left", i, size, len(tail))
		}
		s := string(tail[:size])
		if !utf8.ValidString(s) {
			return nil, fmt.Errorf("string %d of the row is not UTF-8", i)
		}
		all, rest = append(all, s), tail[size:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes follow the last string", len(rest))
	}
	return all, nil
}

func cutUint32(b []byte) (uint32, []byte, bool) {
	if len(b) < 4 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(b), b[4:], true
}
