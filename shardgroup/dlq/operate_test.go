package dlq_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/shardgroup/dlq"
	"github.com/skerrydb/skerry/storage/objects"
)

func aside(key string) string { return "dlq-rejected/" + strings.TrimPrefix(key, "dlq/") }

func keysOf(entries []objects.Entry) []string {
	var keys []string
	for _, e := range entries {
		keys = append(keys, e.Name)
	}
	return keys
}

func TestListByPages(t *testing.T) {
	b := newBench(t)
	f := dlq.Folders{Bucket: b.bucket}
	var want []string
	for i := range 7 {
		want = append(want, b.letter(segment(i, uint32(1+i/4), time.Minute)))
	}
	b.put("dlq/1/stray", nil)
	b.put(aside(want[0]), nil)
	var got []string
	pages := 0
	for after := ""; ; pages++ {
		entries, next, err := f.List(t.Context(), false, after, 3)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, keysOf(entries)...)
		if after = next; next == "" {
			break
		}
	}
	if !slices.Equal(got, want) || pages != 2 {
		t.Errorf("%d pages: %v", pages, got)
	}
	rejected, next, err := f.List(t.Context(), true, "", 1)
	if err != nil || next != "" || !slices.Equal(keysOf(rejected), []string{aside(want[0])}) {
		t.Errorf("%v, %q, %v", rejected, next, err)
	}
}

func TestShow(t *testing.T) {
	b := newBench(t)
	f := dlq.Folders{Bucket: b.bucket}
	good, bad := segment(1, 1, time.Minute), segment(2, 1, time.Minute)
	b.letter(good)
	b.object(bad)
	b.put(aside(letterName(bad)), []byte("bad"))

	shown, err := f.Show(t.Context(), letterName(good))
	if err != nil || shown.Fault != nil || shown.ObjectBytes != -1 || shown.Object != objectName(good) || shown.Footer != nil || shown.Size == 0 {
		t.Errorf("%+v, %v", shown, err)
	}
	shown, err = f.Show(t.Context(), aside(letterName(bad)))
	if err != nil || shown.Fault == nil || shown.ObjectBytes <= 0 || shown.Object != objectName(bad) || len(shown.Footer) == 0 || string(shown.Content) != "bad" {
		t.Errorf("%+v, %v", shown, err)
	}
	if _, err := f.Show(t.Context(), letterName(segment(3, 1, 0))); !errors.Is(err, objects.ErrNotFound) {
		t.Error(err)
	}
	for _, key := range []string{"", "dlq/", "segments/1/anonymous/x/block.bin", "../dlq/1/a/b/meta.pb", objectName(good)} {
		if _, err := f.Show(t.Context(), key); !errors.Is(err, dlq.ErrKey) {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func TestRetryAndPurge(t *testing.T) {
	b := newBench(t)
	f := dlq.Folders{Bucket: b.bucket}
	var keys []string
	for i := range dlq.PageMax + 10 {
		keys = append(keys, b.put(aside(letterName(segment(i, 1, time.Minute))), []byte("content")))
	}
	queued := b.letter(segment(9999, 2, time.Minute))
	b.put("dlq-rejected/notes.txt", []byte("mine"))

	// One by one, and what there is not.
	missing := aside(letterName(segment(8888, 1, 0)))
	done, err := f.Retry(t.Context(), []string{keys[0], queued, missing}, "", false)
	if err != nil || done.Entries != 1 || done.Bytes != 7 || len(done.Faults) != 1 || done.Faults[0].Key != missing {
		t.Errorf("%+v, %v", done, err)
	}
	if back := "dlq/" + strings.TrimPrefix(keys[0], "dlq-rejected/"); !b.exists(back) || b.exists(keys[0]) {
		t.Error("it was not moved back")
	}
	// All, by pages.
	for _, dry := range []bool{true, false} {
		var total uint64
		calls := 0
		for after := ""; ; calls++ {
			done, err := f.Retry(t.Context(), nil, after, dry)
			if err != nil || len(done.Faults) > 0 {
				t.Fatal(done, err)
			}
			total += done.Entries
			if after = done.Next; after == "" {
				break
			}
		}
		if total != uint64(len(keys)-1) || calls != 1 {
			t.Errorf("%d moved in %d calls, dry %v", total, calls+1, dry)
		}
	}
	if got := len(b.names("dlq/")); got != len(keys)+1 {
		t.Errorf("%d in the queue", got)
	}

	// Purging spares the queue, and what is no entry.
	rejected := b.put(aside(queued), []byte("bad"))
	if done, err := f.Purge(t.Context(), []string{queued}, "", false); err != nil || len(done.Faults) != 1 || !b.exists(queued) {
		t.Errorf("%+v, %v", done, err)
	}
	if done, err := f.Purge(t.Context(), nil, "", true); err != nil || done.Entries != 1 || done.Bytes != 3 || !b.exists(rejected) {
		t.Errorf("%+v, %v", done, err)
	}
	if done, err := f.Purge(t.Context(), nil, "", false); err != nil || done.Entries != 1 || b.exists(rejected) || !b.exists("dlq-rejected/notes.txt") {
		t.Errorf("%+v, %v", done, err)
	}
	for _, key := range []string{objectName(segment(1, 1, 0)), "dlq-rejected/notes.txt", ""} {
		if _, err := f.Purge(t.Context(), []string{key}, "", false); !errors.Is(err, dlq.ErrKey) {
			t.Errorf("%q: %v", key, err)
		}
	}
}
