// Package ordered encodes texts of variable length inside of keys, such that keys
// sort as the texts do, whatever bytes are in them.
package ordered

import (
	"bytes"
	"strings"
)

// A zero byte in a text is followed by 0xff, the text by 0, 1.

// Append appends a text to a key.
func Append(to []byte, text string) []byte {
	for {
		zero := strings.IndexByte(text, 0)
		if zero < 0 {
			return append(append(to, text...), 0, 1)
		}
		to = append(append(to, text[:zero+1]...), 0xff)
		text = text[zero+1:]
	}
}

// Cut takes a text off the front of a key, and returns the rest. It reports
// false if there is none.
func Cut(key []byte) (text string, rest []byte, ok bool) {
	var b strings.Builder
	for {
		zero := bytes.IndexByte(key, 0)
		if zero < 0 || zero+1 == len(key) {
			return "", nil, false
		}
		b.Write(key[:zero])
		switch key[zero+1] {
		case 1:
			return b.String(), key[zero+2:], true
		case 0xff:
			b.WriteByte(0)
		default:
			return "", nil, false
		}
		key = key[zero+2:]
	}
}
