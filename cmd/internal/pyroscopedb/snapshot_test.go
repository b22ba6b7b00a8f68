package pyroscopedb_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb"
	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb/pyroscopedbtest"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

func snapshot(t *testing.T, compress bool, block *metastorev1.BlockMeta) string {
	t.Helper()
	directory := filepath.Join(t.TempDir(), "3-4711-1735776000000")
	if err := pyroscopedbtest.Snapshot(write(t, func(w *pyroscopedbtest.Writer) { w.Add(block) }), directory, compress); err != nil {
		t.Fatal(err)
	}
	return directory
}

func TestSnapshots(t *testing.T) {
	block := newBlock(time.Minute, "", 1, 0, "checkout")
	for _, compress := range []bool{false, true} {
		directory, temporary := snapshot(t, compress, block), t.TempDir()
		db, err := pyroscopedb.OpenSnapshot(t.Context(), directory, pyroscopedb.Unpacking{Directory: temporary, MaxBytes: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		got, damage := readAll(t, db)
		wantBlocks(t, got, []*metastorev1.BlockMeta{block})
		if len(damage) > 0 || !strings.Contains(db.String(), "term 3, index 4711") {
			t.Errorf("%s: damaged: %q", db, damage)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		wantEmpty(t, temporary)
	}
}

func wantEmpty(t *testing.T, directory string) {
	t.Helper()
	if left, err := os.ReadDir(directory); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestSnapshotRefusals(t *testing.T) {
	edit := func(name string, change func([]byte) []byte) func(t *testing.T, directory string) {
		return func(t *testing.T, directory string) {
			path := filepath.Join(directory, name)
			content, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, change(content), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, directory string)
		want  string
	}{
		"no meta":    {func(_ *testing.T, directory string) { os.Remove(filepath.Join(directory, "meta.json")) }, "no meta.json"},
		"no state":   {func(_ *testing.T, directory string) { os.Remove(filepath.Join(directory, "state.bin")) }, "state.bin"},
		"bad meta":   {edit("meta.json", func(b []byte) []byte { return b[:10] }), "meta.json"},
		"cut":        {edit("state.bin", func(b []byte) []byte { return b[:len(b)-100] }), ""},
		"bit flip":   {edit("state.bin", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }), ""},
		"more":       {edit("state.bin", func(b []byte) []byte { return append(b, 0) }), ""},
		"no content": {edit("state.bin", func([]byte) []byte { return nil }), "it has 0 bytes"},
	} {
		for _, compress := range []bool{false, true} {
			directory, temporary := snapshot(t, compress, newBlock(0, "", 1, 0, "x")), t.TempDir()
			c.spoil(t, directory)
			_, err := pyroscopedb.OpenSnapshot(t.Context(), directory, pyroscopedb.Unpacking{Directory: temporary, MaxBytes: 1 << 30})
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), directory) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			wantEmpty(t, temporary)
		}
	}
	temporary := t.TempDir()
	_, err := pyroscopedb.OpenSnapshot(t.Context(), snapshot(t, true, newBlock(0, "", 1, 0, "x")), pyroscopedb.Unpacking{Directory: temporary, MaxBytes: 1000})
	if err == nil || !strings.Contains(err.Error(), "-unpack-max-gib") {
		t.Errorf("too large: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pyroscopedb.OpenSnapshot(ended, snapshot(t, true, newBlock(0, "", 1, 0, "x")), pyroscopedb.Unpacking{Directory: temporary, MaxBytes: 1 << 30}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	wantEmpty(t, temporary)
}
