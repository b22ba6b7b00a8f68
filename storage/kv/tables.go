package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableBytes is about the size of one table built for a restore.
const tableBytes = 64 << 20

// tables builds sorted tables in a scratch directory out of the rows of one namespace in order. If
// they are to cover what is there, their range deletions together span the namespace without a gap.
type tables struct {
	engine    *Engine
	namespace uint64
	cover     bool
	limit     uint64 // bytes of a table before the next one is begun
	dir       string
	made      bool
	paths     []string // of all tables begun

	w     *sstable.Writer
	start []byte // where the current table's span begins
}

func (e *Engine) newTables(namespace uint64, cover bool) *tables {
	e.mu.Lock()
	e.scratch++
	dir := e.dir.join(dirScratch, strconv.FormatUint(e.scratch, 10))
	e.mu.Unlock()
	start, _ := namespaceSpan(namespace)
	return &tables{engine: e, namespace: namespace, cover: cover, limit: tableBytes, dir: dir, start: start}
}

// add writes the next row.
func (t *tables) add(key, value []byte) error {
	if t.w != nil && t.w.Raw().EstimatedSize() >= t.limit {
		if err := t.closeTable(key); err != nil {
			return err
		}
		t.start = bytes.Clone(key)
	}
	if t.w == nil {
		if err := t.beginTable(); err != nil {
			return err
		}
	}
	if err := t.w.Set(key, value); err != nil {
		return fmt.Errorf("kv: build table: %w", err)
	}
	return nil
}

// finish writes out the last table.
func (t *tables) finish() error {
	_, upper := namespaceSpan(t.namespace)
	return t.closeTable(upper)
}

func (t *tables) beginTable() error {
	vfsys := t.engine.dir.fs
	if !t.made {
		if err := vfsys.MkdirAll(t.dir, 0o755); err != nil {
			return fmt.Errorf("kv: build table: %w", err)
		}
		t.made = true
	}
	path := vfsys.PathJoin(t.dir, fmt.Sprintf("%06d.sst", len(t.paths)))
	f, err := vfsys.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("kv: build table: %w", err)
	}
	t.paths = append(t.paths, path)
	t.w = sstable.NewWriter(objstorageprovider.NewFileWritable(f), t.engine.tableOptions)
	return nil
}

// closeTable syncs and closes the current table, whose span ends at end.
func (t *tables) closeTable(end []byte) error {
	w := t.w
	t.w = nil
	var err error
	if t.cover {
		err = w.DeleteRange(t.start, end)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("kv: build table: %w", err)
	}
	return nil
}

// discard removes what is left of the tables: all of them unless they were ingested.
func (t *tables) discard() {
	var err error
	if t.w != nil {
		err = t.w.Close()
	}
	if t.made {
		err = errors.Join(err, t.engine.dir.fs.RemoveAll(t.dir))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// The next opening clears the scratch directory.
		t.engine.events.Errorf("remove scratch tables: %v", err)
	}
}
