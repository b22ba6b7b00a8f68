package objectstest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/storage/objects"
)

func list(ctx context.Context, bucket objects.Bucket, options objects.ListOptions) ([]objects.Entry, error) {
	var all []objects.Entry
	for entry, err := range bucket.List(ctx, options) {
		if err != nil {
			return all, err
		}
		all = append(all, entry)
	}
	return all, nil
}

func wantNames(t *testing.T, bucket objects.Bucket, options objects.ListOptions, want ...string) {
	t.Helper()
	got, err := list(t.Context(), bucket, options)
	if err != nil {
		t.Errorf("list %+v: %v", options, err)
		return
	}
	names := make([]string, len(got))
	for i, entry := range got {
		names[i] = entry.Name
		if entry.Prefix != strings.HasSuffix(entry.Name, "/") || entry.Prefix == !entry.Modified.IsZero() {
			t.Errorf("list %+v: %+v", options, entry)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("list %+v: %q, want %q", options, names, want)
	}
}

// expected is what a list should yield of some names.
func expected(names []string, options objects.ListOptions) []string {
	var all []string
	for _, name := range slices.Sorted(slices.Values(names)) {
		below, within := strings.CutPrefix(name, options.Prefix)
		if !within {
			continue
		}
		if cut := strings.IndexByte(below, '/'); options.Delimited && cut >= 0 {
			name = options.Prefix + below[:cut+1]
		}
		if name > options.After {
			all = append(all, name)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(all)))
}

// What tells orders apart: a slash comes after a hyphen and before a letter.
var listed = []string{
	"a", "a-b", "a-c/c", "ab", "ac/c", "b/a-/x", "b/a/x", "b/a/y", "b/ab/x", "b/b", "b/c",
	"dlq/10/anonymous/1/meta.pb", "dlq/10/anonymous/2/meta.pb", "dlq/10/t/3/meta.pb", "dlq/9-/x", "dlq/9/anonymous/4/meta.pb", "z",
}

func lists(t *testing.T, bucket objects.Bucket) {
	for i, name := range listed {
		put(t, bucket, name, make([]byte, i))
	}
	entries, err := list(t.Context(), bucket, objects.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if want := slices.Index(listed, entry.Name); entry.Size != int64(want) {
			t.Errorf("%+v, want size %d", entry, want)
		}
	}
	for _, prefix := range []string{"", "a", "a-", "a-b", "a-c/", "ac/", "b/", "b/a", "b/a/", "dlq/", "dlq/9", "dlq/9/", "dlq/10/anonymous/", "c", "zz/"} {
		for _, delimited := range []bool{false, true} {
			for _, after := range append([]string{"", "b/", "b/a/", "b/a0", "dlq/9/", "dlq/10/anonymous/", "zzz", "~"}, listed...) {
				options := objects.ListOptions{Prefix: prefix, After: after, Delimited: delimited}
				wantNames(t, bucket, options, expected(listed, options)...)
			}
		}
	}
}

func listsEnd(t *testing.T, bucket objects.Bucket) {
	for i := range 12 {
		put(t, bucket, fmt.Sprintf("x/%02d", i), nil)
	}
	for stop := range 12 {
		seen := 0
		for entry, err := range bucket.List(t.Context(), objects.ListOptions{}) {
			if want := fmt.Sprintf("x/%02d", seen); err != nil || entry.Name != want {
				t.Fatalf("%+v, %v, want %s", entry, err, want)
			}
			if seen++; seen > stop {
				break
			}
		}
	}
	// One that is cancelled must not look like one that came to its end.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := 0
	var failure error
	for _, err := range bucket.List(ctx, objects.ListOptions{}) {
		if failure = err; err == nil {
			seen++
		}
		cancel()
	}
	if failure == nil && seen < 12 {
		t.Errorf("%d entries, and no word of those that were left out", seen)
	}
}

// What was there all the time is yielded once, whatever comes and goes.
func listsOfChanges(t *testing.T, bucket objects.Bucket) {
	var stay []string
	for i := range 30 {
		name := fmt.Sprintf("d/%02d/x", i)
		put(t, bucket, name, nil)
		if i%3 == 0 {
			stay = append(stay, name)
		}
	}
	for _, delimited := range []bool{false, true} {
		options := objects.ListOptions{Prefix: "d/", Delimited: delimited}
		want := expected(stay, options)
		var got []string
		step := 0
		for entry, err := range bucket.List(t.Context(), options) {
			if err != nil {
				t.Fatal(err)
			}
			if len(got) > 0 && entry.Name <= got[len(got)-1] {
				t.Errorf("%q after %q", entry.Name, got[len(got)-1])
			}
			got = append(got, entry.Name)
			for _, change := range []int{step, 29 - step, step + 2} {
				if name := fmt.Sprintf("d/%02d/x", change); !slices.Contains(stay, name) {
					deleted(t, bucket, name)
				}
			}
			put(t, bucket, fmt.Sprintf("d/%02d-new/x", step), nil)
			step++
		}
		for _, name := range want {
			if !slices.Contains(got, name) {
				t.Errorf("%s is missing from %q", name, got)
			}
		}
	}
}

// random compares a bucket with a map.
func random(t *testing.T, bucket objects.Bucket) {
	const seed = 1
	draw := rand.New(rand.NewPCG(seed, seed))
	model := map[string][]byte{}
	for range 120 {
		// No name is the directory of another one: folders cannot have that.
		name := fmt.Sprintf("%c/%c%d", 'a'+draw.IntN(3), 'a'+draw.IntN(2), draw.IntN(3))
		content := bytes.Repeat([]byte{byte(draw.Uint32())}, draw.IntN(100))
		switch draw.IntN(6) {
		case 0, 1:
			put(t, bucket, name, content)
			model[name] = content
		case 2:
			if err := bucket.PutIfAbsent(t.Context(), name, content); (err != nil) != (model[name] != nil) {
				t.Fatalf("put %s if absent: %v", name, err)
			}
			if model[name] == nil {
				model[name] = content
			}
		case 3:
			deleted(t, bucket, name)
			delete(model, name)
		case 4:
			if want, ok := model[name]; ok {
				holds(t, bucket, name, want)
			} else {
				absent(t, bucket, name)
			}
		case 5:
			options := objects.ListOptions{Prefix: []string{"", "a/", "b/b"}[draw.IntN(3)], After: []string{"", name}[draw.IntN(2)], Delimited: draw.IntN(2) == 0}
			wantNames(t, bucket, options, expected(slices.Collect(maps.Keys(model)), options)...)
		}
		if t.Failed() {
			return
		}
	}
}
