package boltrows_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/skerrydb/skerry/storage/kv/boltrows"
	"github.com/skerrydb/skerry/storage/kv/rowstore"
)

// The tests of package kv run over this store, too; here is what they cannot reach.

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func namespace(id uint64) rowstore.Namespace {
	return rowstore.Namespace{ID: id, Lower: []byte{byte(id)}, Upper: []byte{byte(id) + 1}}
}

func open(t *testing.T, dir string) *boltrows.Store {
	t.Helper()
	s, err := boltrows.Open(dir, boltrows.Options{MapBytes: 1 << 20, ReplaceBytes: 1 << 10})
	must(t, err)
	return s
}

func row(id uint64, i int) []byte { return fmt.Appendf([]byte{byte(id)}, "%06d", i) }

func write(t *testing.T, s *boltrows.Store, id uint64, do func(rowstore.Writer)) {
	t.Helper()
	w, err := s.Begin(namespace(id))
	must(t, err)
	do(w)
	must(t, w.Commit(false))
	must(t, w.Close())
}

func count(t *testing.T, v rowstore.View, id uint64) (rows int) {
	t.Helper()
	n := namespace(id)
	it, err := v.Iterate(n.Lower, n.Upper)
	must(t, err)
	for ok := it.First(); ok; ok = it.Next() {
		rows++
	}
	return rows
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, id := range []uint64{9, 3} {
		write(t, s, id, func(w rowstore.Writer) { must(t, w.Set(row(id, 1), nil)) })
	}
	v, err := s.View(namespace(5)) // nobody wrote to it
	must(t, err)
	must(t, v.Close())
	must(t, s.Drop(namespace(9)))
	must(t, s.Sync())
	must(t, s.Close())

	s = open(t, dir)
	defer s.Close() //nolint:errcheck // nothing follows
	if got, err := s.Namespaces(); err != nil || !slices.Equal(got, []uint64{3}) {
		t.Error(got, err)
	}
	v, err = s.View(namespace(3))
	must(t, err)
	defer v.Close() //nolint:errcheck // nothing follows
	if value, _, found, err := v.Get(row(3, 1)); err != nil || !found || value == nil {
		t.Error(value, found, err)
	}
	if size, err := s.Size(namespace(3)); err != nil || size == 0 {
		t.Error(size, err)
	}
}

// TestBackOverEmptiedPages deletes most of many pages in a transaction, and goes back over them in it.
func TestBackOverEmptiedPages(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close() //nolint:errcheck // nothing follows
	const rows = 5000
	write(t, s, 1, func(w rowstore.Writer) {
		for i := range rows {
			must(t, w.Set(row(1, i), bytes.Repeat([]byte{1}, 100)))
		}
	})
	write(t, s, 1, func(w rowstore.Writer) {
		must(t, w.DeleteRange(row(1, 10), row(1, rows-10)))
		must(t, w.DeleteRange(row(1, rows-5), row(1, rows)))
		n := namespace(1)
		it, err := w.Iterate(n.Lower, n.Upper)
		must(t, err)
		seen := 0
		for ok := it.Last(); ok; ok = it.Prev() {
			seen++
		}
		if seen != 15 || count(t, w, 1) != 15 {
			t.Errorf("%d rows backwards, %d forwards", seen, count(t, w, 1))
		}
		if !it.SeekLT(row(1, rows/2)) || !bytes.Equal(it.Key(), row(1, 9)) {
			t.Errorf("before the middle is %q", it.Key())
		}
		if it.SeekLT(row(1, 0)) {
			t.Errorf("before the first is %q", it.Key())
		}
	})
}

// TestReplace replaces rows under a reader, and does not if that fails.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close() //nolint:errcheck // nothing follows
	write(t, s, 1, func(w rowstore.Writer) { must(t, w.Set(row(1, 1), []byte("old"))) })
	reader, err := s.View(namespace(1))
	must(t, err)
	fill := func(rows int, err error) func(func(key, value []byte) error) error {
		return func(add func(key, value []byte) error) error {
			for i := range rows {
				if err := add(row(1, i), []byte("new")); err != nil {
					return err
				}
			}
			return err
		}
	}
	broken := errors.New("broken")
	swap := func(apply func() error) error { return apply() }
	if err := s.Replace(namespace(1), fill(1000, broken), swap); !errors.Is(err, broken) {
		t.Error(err)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*.new")); err != nil || len(files) > 0 {
		t.Error(files, err)
	}
	if rows := count(t, reader, 1); rows != 1 {
		t.Errorf("%d rows after what failed", rows)
	}
	must(t, os.WriteFile(filepath.Join(dir, "0000000000000001.bolt.new"), []byte("of a crash"), 0o600))
	must(t, s.Replace(namespace(1), fill(1000, nil), swap))
	if rows := count(t, reader, 1); rows != 1 {
		t.Errorf("the reader sees %d rows", rows)
	}
	must(t, reader.Close())
	after, err := s.View(namespace(1))
	must(t, err)
	if rows := count(t, after, 1); rows != 1000 {
		t.Errorf("%d rows", rows)
	}
	must(t, after.Close())
}

func TestLongKeysAreRefused(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close() //nolint:errcheck // nothing follows
	w, err := s.Begin(namespace(1))
	must(t, err)
	if err := w.Set(make([]byte, 33<<10), nil); !errors.Is(err, bolterrors.ErrKeyTooLarge) {
		t.Error(err)
	}
	must(t, w.Close())
}
