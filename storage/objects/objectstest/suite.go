// Package objectstest tests what keeps a bucket: one suite for all backends, and
// a real S3 server to run it against, with faults between.
package objectstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/skerrydb/skerry/storage/objects"
)

// Run tests that a backend is a bucket. Each call of open returns an empty one.
func Run(t *testing.T, open func(t *testing.T) objects.Bucket) {
	for name, test := range map[string]func(*testing.T, objects.Bucket){
		"missing objects": missing, "whole objects": whole, "limits": limits, "ranges": ranges, "refused names": refusedNames,
		"odd names": oddNames, "put if absent": putIfAbsent, "one of many puts if absent": oneOfMany,
		"directories are no objects": directories,
		"lists":                      lists, "lists that end early": listsEnd, "lists of what changes": listsOfChanges,
		"check leaves nothing": checkLeavesNothing, "prefixes": prefixes, "contexts": contexts, "random operations": random,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

const someName = "segments/1/anonymous/01J8E68YM0Z2RRKCY9SYGX3054/block.bin"

func put(t *testing.T, bucket objects.Bucket, name string, content []byte) {
	t.Helper()
	if err := bucket.Put(t.Context(), name, content); err != nil {
		t.Fatalf("put %q: %v", name, err)
	}
}

// deleted accepts both things that a backend may say of what is missing.
func deleted(t *testing.T, bucket objects.Bucket, name string) {
	t.Helper()
	if err := bucket.Delete(t.Context(), name); err != nil && !errors.Is(err, objects.ErrNotFound) {
		t.Fatalf("delete %q: %v", name, err)
	}
}

func holds(t *testing.T, bucket objects.Bucket, name string, want []byte) {
	t.Helper()
	if got, err := bucket.Get(t.Context(), name, 1<<30); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q: got %d bytes, %v, want %d", name, len(got), err, len(want))
	}
}

func absent(t *testing.T, bucket objects.Bucket, name string) {
	t.Helper()
	if got, err := bucket.Get(t.Context(), name, 1<<20); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("get %q: %q, %v", name, got, err)
	}
	if got, _, err := bucket.GetRange(t.Context(), name, -8, 8); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("get range of %q: %q, %v", name, got, err)
	}
	if got, err := bucket.Attributes(t.Context(), name); !errors.Is(err, objects.ErrNotFound) {
		t.Errorf("attributes of %q: %v, %v", name, got, err)
	}
}

func missing(t *testing.T, bucket objects.Bucket) {
	absent(t, bucket, someName)
	deleted(t, bucket, someName)
	put(t, bucket, someName, []byte("x"))
	deleted(t, bucket, someName)
	absent(t, bucket, someName)
	deleted(t, bucket, someName)
}

func whole(t *testing.T, bucket objects.Bucket) {
	for _, content := range [][]byte{[]byte("one"), {}, bytes.Repeat([]byte("two"), 1000), bytes.Repeat([]byte("six MiB "), 6<<17), []byte("short")} {
		put(t, bucket, someName, content)
		holds(t, bucket, someName, content)
		if got, err := bucket.Attributes(t.Context(), someName); err != nil || got.Size != int64(len(content)) || got.Modified.IsZero() {
			t.Errorf("attributes: %+v, %v, want size %d", got, err, len(content))
		}
	}
}

func limits(t *testing.T, bucket objects.Bucket) {
	put(t, bucket, someName, []byte("12345"))
	for limit, want := range map[int64]error{-1: objects.ErrRange, 0: objects.ErrRange, 4: objects.ErrTooLarge, 5: nil, 6: nil} {
		if got, err := bucket.Get(t.Context(), someName, limit); !errors.Is(err, want) || err == nil && string(got) != "12345" {
			t.Errorf("limit %d: %q, %v, want %v", limit, got, err, want)
		}
	}
}

func ranges(t *testing.T, bucket objects.Bucket) {
	put(t, bucket, "x", []byte("0123456789"))
	put(t, bucket, "empty", nil)
	for _, test := range []struct {
		name           string
		offset, length int64
		want           string
		size           int64
	}{
		{"x", 0, 1, "0", 10},
		{"x", 0, 10, "0123456789", 10},
		{"x", 0, 1 << 62, "0123456789", 10},
		{"x", 3, 4, "3456", 10},
		{"x", 8, 5, "89", 10},
		{"x", 9, 1, "9", 10},
		{"x", 10, 1, "", 10},
		{"x", 1000, 1 << 62, "", 10},
		{"x", -1, 1, "9", 10},
		{"x", -4, 4, "6789", 10},
		{"x", -4, 2, "67", 10},
		{"x", -4, 1000, "6789", 10},
		{"x", -10, 10, "0123456789", 10},
		{"x", -256, 256, "0123456789", 10},
		{"x", -256, 3, "012", 10},
		{"empty", 0, 1, "", 0},
		{"empty", 5, 1, "", 0},
		{"empty", -256, 256, "", 0},
	} {
		got, size, err := bucket.GetRange(t.Context(), test.name, test.offset, test.length)
		if err != nil || string(got) != test.want || size != test.size {
			t.Errorf("%s from %d, %d bytes: %q of %d, %v, want %q of %d", test.name, test.offset, test.length, got, size, err, test.want, test.size)
		}
	}
	for _, length := range []int64{0, -1} {
		if _, _, err := bucket.GetRange(t.Context(), "x", 0, length); !errors.Is(err, objects.ErrRange) {
			t.Errorf("length %d: %v", length, err)
		}
	}
}

func refusedNames(t *testing.T, bucket objects.Bucket) {
	for _, name := range []string{"", ".", "..", "../x", "/x", "a/../../x", "a/../b", "a//b", "a/", "a/./b", ".skerry-x", "a/.skerry-x", "a\x00b", "a\xff"} {
		_, gotten := bucket.Get(t.Context(), name, 1)
		_, _, ranged := bucket.GetRange(t.Context(), name, 0, 1)
		_, looked := bucket.Attributes(t.Context(), name)
		for operation, err := range map[string]error{
			"get": gotten, "get range": ranged, "attributes": looked, "put": bucket.Put(t.Context(), name, nil),
			"put if absent": bucket.PutIfAbsent(t.Context(), name, nil), "delete": bucket.Delete(t.Context(), name),
		} {
			if !errors.Is(err, objects.ErrName) {
				t.Errorf("%s %q: %v", operation, name, err)
			}
		}
	}
	for _, prefix := range []string{"/", "//", ".", "..", "../", "/x", "a//", "a//b", "a/../"} {
		if _, err := list(t.Context(), bucket, objects.ListOptions{Prefix: prefix}); !errors.Is(err, objects.ErrName) {
			t.Errorf("list %q: %v", prefix, err)
		}
	}
	wantNames(t, bucket, objects.ListOptions{})
}

func oddNames(t *testing.T, bucket objects.Bucket) {
	all := []string{" a ", "%2e%2e", "&", "+", "-", "<a>", "=?x#y", "a b", `a"b`, "a'b", "a\\b", "ä/ö", "日本"}
	slices.Sort(all)
	for _, name := range all {
		put(t, bucket, "odd/"+name+"/x", []byte(name))
	}
	for _, name := range all {
		holds(t, bucket, "odd/"+name+"/x", []byte(name))
		wantNames(t, bucket, objects.ListOptions{Prefix: "odd/" + name + "/"}, "odd/"+name+"/x")
	}
	want := make([]string, len(all))
	for i, name := range all {
		want[i] = "odd/" + name + "/x"
	}
	wantNames(t, bucket, objects.ListOptions{}, want...)
	for i := range want {
		wantNames(t, bucket, objects.ListOptions{After: want[i]}, want[i+1:]...)
	}
}

func putIfAbsent(t *testing.T, bucket objects.Bucket) {
	try := func(content string) error { return bucket.PutIfAbsent(t.Context(), someName, []byte(content)) }
	if err := try("one"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := try("two"); !errors.Is(err, objects.ErrExists) {
			t.Errorf("second put: %v", err)
		}
	}
	holds(t, bucket, someName, []byte("one"))
	deleted(t, bucket, someName)
	if err := try("three"); err != nil {
		t.Error(err)
	}
	holds(t, bucket, someName, []byte("three"))
}

func oneOfMany(t *testing.T, bucket objects.Bucket) {
	var all sync.WaitGroup
	won := make(chan []byte, 8)
	for i := range 8 {
		all.Go(func() {
			content := fmt.Append(nil, "writer ", i)
			err := bucket.PutIfAbsent(t.Context(), someName, content)
			if err == nil {
				won <- content
			} else if !errors.Is(err, objects.ErrExists) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(won) != 1 {
		t.Fatalf("%d writers were told that they wrote it", len(won))
	}
	holds(t, bucket, someName, <-won)
}

func directories(t *testing.T, bucket objects.Bucket) {
	put(t, bucket, "a/b/c", nil)
	absent(t, bucket, "a")
	absent(t, bucket, "a/b")
	deleted(t, bucket, "a/b")
	deleted(t, bucket, "a/b/c/d")
	holds(t, bucket, "a/b/c", nil)
}

func checkLeavesNothing(t *testing.T, bucket objects.Bucket) {
	if err := bucket.Check(t.Context()); err != nil {
		t.Error(err)
	}
	wantNames(t, bucket, objects.ListOptions{})
	if bucket.String() == "" {
		t.Error("it does not say where it is")
	}
}

func prefixes(t *testing.T, bucket objects.Bucket) {
	within, err := objects.WithPrefix(bucket, "/some/where/")
	if err != nil {
		t.Fatal(err)
	}
	put(t, bucket, "some/whereelse/x", nil)
	put(t, bucket, "x", nil)
	wantNames(t, within, objects.ListOptions{})
	for _, name := range []string{"a/1", "a/2", "b"} {
		put(t, within, name, []byte(name))
		holds(t, bucket, "some/where/"+name, []byte(name))
		holds(t, within, name, []byte(name))
	}
	wantNames(t, within, objects.ListOptions{}, "a/1", "a/2", "b")
	wantNames(t, within, objects.ListOptions{After: "a/1"}, "a/2", "b")
	wantNames(t, within, objects.ListOptions{Prefix: "a/"}, "a/1", "a/2")
	wantNames(t, within, objects.ListOptions{Delimited: true}, "a/", "b")
	if err := within.Put(t.Context(), "../x", nil); !errors.Is(err, objects.ErrName) {
		t.Error(err)
	}
}

func contexts(t *testing.T, bucket objects.Bucket) {
	put(t, bucket, "x", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, gotten := bucket.Get(ctx, "x", 1)
	_, listed := list(ctx, bucket, objects.ListOptions{})
	for operation, err := range map[string]error{
		"get": gotten, "put": bucket.Put(ctx, "x", nil), "delete": bucket.Delete(ctx, "x"), "list": listed,
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", operation, err)
		}
	}
	holds(t, bucket, "x", nil)
}
