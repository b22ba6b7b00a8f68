package ordered_test

import (
	"bytes"
	"cmp"
	"testing"

	"pgregory.net/rapid"

	"github.com/skerrydb/skerry/statemachine/ordered"
)

func TestOrder(t *testing.T) {
	text := rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 'a', 0xfe, 0xff}), 0, 6).Draw(t, "bytes"))
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, tail := text.Draw(t, "a"), text.Draw(t, "b"), text.Draw(t, "tail")
		keyA, keyB := ordered.Append(nil, a), ordered.Append(nil, b)
		if got, want := bytes.Compare(append(keyA, tail...), keyB), cmp.Compare(a, b); a != b && got != want {
			t.Errorf("%q and %q compare as %d, want %d", a, b, got, want)
		}
		got, rest, ok := ordered.Cut(append(ordered.Append(nil, a), tail...))
		if !ok || got != a || string(rest) != tail {
			t.Errorf("%q %q came back as %q %q (%v)", a, tail, got, rest, ok)
		}
	})
}

func TestCutRefuses(t *testing.T) {
	for _, key := range []string{"", "a", "a\x00", "\x00\x02", "a\x00\xff"} {
		if text, _, ok := ordered.Cut([]byte(key)); ok {
			t.Errorf("%q was read as %q", key, text)
		}
	}
}
