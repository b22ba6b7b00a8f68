package selector_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/proto/selector"
)

func TestParse(t *testing.T) { // R-QRY-2
	for text, matchers := range map[string]int{
		`{}`: 0, `{a="b"}`: 1, `{a="b",c!="d",e=~"f|g",h!~"i.*"}`: 4, `{a="b",}`: 1,
		"{a='b',c=`d`}": 2, `{a=~"[a-z0-9]{5,64}-.{10}",b!~"(?i)(\\pL|\\d){1,100}"}`: 2, `{a=~"` + strings.Repeat("abcdefg|", 8000) + `x"}`: 1, `{"utf-8.name"="x"}`: 1, `metric`: 1, `{"metric"}`: 1, `metric{a="b"}`: 2,
	} {
		parsed, err := selector.Parse(text)
		if err != nil || len(parsed) != matchers {
			t.Errorf("%s: %v, %v, want %d matchers", text, parsed, err, matchers)
		}
	}
	for _, text := range []string{
		``, ` `, `{a=b}`, `{a.b="c"}`, `{a=~"("}`, `{a="b"}[5m]`, `{a="b" or c="d"}`, `{,}`, `{`, `{a="b"} offset 5m`, "{a=\"\xff\"}",
		`{a="` + strings.Repeat("x", selector.MaxBytes) + `"}`,
		// Large when compiled.
		`{` + strings.Repeat(`a=~"(`+strings.Repeat("a", 3300)+`){1000}",`, 18) + `}`,
		`{a!~"` + strings.Repeat("a{1000}", 9000) + `"}`, `{a=~'` + strings.Repeat("a{1000}", 9000) + `'}`,
		"{\"b\"=~`" + strings.Repeat(`\pL`, 20_000) + "`}", `{a=~"(?i)` + strings.Repeat(`[^\\P{Greek}]`, 4000) + `"}`,
	} {
		if parsed, err := selector.Parse(text); !errors.Is(err, selector.ErrInvalid) {
			t.Errorf("%.40q: %v, %v", text, parsed, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{}`, `{a="b"}`, `{a=~"(a|b)*",}`, "{\x00", `x{y!~"z"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := selector.Parse(text)
		if err != nil && !errors.Is(err, selector.ErrInvalid) {
			t.Fatalf("%q: %v", text, err)
		}
		for _, matcher := range parsed {
			matcher.Matches(text)
		}
	})
}
