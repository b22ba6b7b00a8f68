package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

const inspectDetail = `Reads a stopped node's store and changes nothing. Group 1 is the directory, group
0 is what the node keeps for itself. Bucket paths and keys are written as text, or
as 0x and hexadecimal digits; the parts of a path are separated by slashes.
`

func inspectCommands() []command {
	return []command{
		{name: "inspect tree", summary: "show the buckets of a stopped node's store with their sizes", detail: inspectDetail, setup: setUpInspectTree},
		{name: "inspect scan", summary: "show the rows of a bucket of a stopped node's store", detail: inspectDetail, setup: setUpInspectScan},
		{name: "inspect get", args: "KEY", summary: "show one row of a stopped node's store", detail: inspectDetail, setup: setUpInspectGet},
		{name: "inspect hash", summary: "show digests of the groups of a stopped node's store, to compare replicas by", detail: inspectDetail, setup: setUpInspectHash},
		{name: "inspect check", summary: "verify the layout of a stopped node's store", detail: inspectDetail, setup: setUpInspectCheck},
	}
}

// store is the read-only store of a data directory.
type store struct {
	dataDir string
	group   uint64
}

func storeFlags(set *flag.FlagSet) *store {
	s := &store{}
	set.StringVar(&s.dataDir, "data-dir", "./data", "`DIR` data directory of a node that is stopped")
	return s
}

func (s *store) groupFlag(set *flag.FlagSet) {
	set.Uint64Var(&s.group, "group", 1, "`N` the group to look into")
}

// open calls fn with the engine, which is closed afterwards. The data may lie where nothing can be
// written, on a snapshot of a disk for one.
func (s *store) open(std streams, fn func(*kv.Engine) error) error {
	engine, err := kv.OpenEngine(filepath.Join(s.dataDir, "store"), kv.EngineOptions{ReadOnly: true})
	if errors.Is(err, kv.ErrInUse) {
		return fmt.Errorf("the node of %s is running: stop it first, or inspect a copy (%w)", s.dataDir, err)
	}
	if err != nil {
		return err
	}
	if why := engine.Unlocked(); why != nil {
		fmt.Fprintf(std.err, "note: the store is not locked, no node may use it meanwhile (%v)\n", why)
	}
	return errors.Join(fn(engine), engine.Close())
}

// view calls fn with a transaction on one group.
func (s *store) view(std streams, fn func(*kv.Tx) error) error {
	return s.open(std, func(engine *kv.Engine) error {
		db, err := engine.DB(s.group)
		if err != nil {
			return err
		}
		return db.View(fn)
	})
}

// bucket follows a path from the root.
func bucketAt(tx *kv.Tx, path [][]byte) (*kv.Bucket, error) {
	if len(path) == 0 {
		return nil, flags.Usagef("-bucket is needed; see: skerry inspect tree")
	}
	bucket := tx.Bucket(path[0])
	for _, name := range path[1:] {
		if bucket == nil {
			break
		}
		bucket = bucket.Bucket(name)
	}
	if bucket == nil {
		return nil, fmt.Errorf("there is no bucket %s; see: skerry inspect tree", pathText(path))
	}
	return bucket, nil
}

func setUpInspectTree(set *flag.FlagSet) action {
	s := storeFlags(set)
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		return s.open(std, func(engine *kv.Engine) error {
			return eachGroup(engine, func(group uint64, tx *kv.Tx) error { return writeTree(std.out, group, tx) })
		})
	}
}

func eachGroup(engine *kv.Engine, fn func(uint64, *kv.Tx) error) error {
	groups, err := engine.Namespaces()
	if err != nil {
		return err
	}
	for _, group := range groups {
		db, err := engine.DB(group)
		if err != nil {
			return err
		}
		if err := db.View(func(tx *kv.Tx) error { return fn(group, tx) }); err != nil {
			return fmt.Errorf("group %d: %w", group, err)
		}
	}
	return nil
}

// sizes of a bucket with all below it.
type sizes struct{ buckets, keys, bytes uint64 }

func (s *sizes) add(other sizes) {
	s.buckets += other.buckets
	s.keys += other.keys
	s.bytes += other.bytes
}

func writeTree(w io.Writer, group uint64, tx *kv.Tx) error {
	rows := newGrid("BUCKET", "BUCKETS", "KEYS", "SIZE", "MEANING")
	var total sizes
	err := tx.ForEach(func(name []byte, bucket *kv.Bucket) error {
		below, err := treeRows(rows, [][]byte{name}, bucket)
		total.add(below)
		return err
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "group %d: %d buckets, %d keys, %s\n\n", group, total.buckets, total.keys, sizeText(total.bytes)); err != nil {
		return err
	}
	if err := rows.write(w); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w)
	return err
}

func treeRows(rows *grid, path [][]byte, bucket *kv.Bucket) (sizes, error) {
	total := sizes{buckets: 1}
	below := newGrid()
	err := bucket.ForEach(func(k, v []byte) error {
		if v != nil {
			total.add(sizes{keys: 1, bytes: uint64(len(k) + len(v))})
			return nil
		}
		deeper, err := treeRows(below, append(path[:len(path):len(path)], k), bucket.Bucket(k))
		total.add(deeper)
		return err
	})
	rows.row(pathText(path), total.buckets, total.keys, sizeText(total.bytes), statemachine.DescribeBucket(path))
	rows.append(below)
	return total, err
}

func setUpInspectCheck(set *flag.FlagSet) action {
	s := storeFlags(set)
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		return s.open(std, func(engine *kv.Engine) error {
			faults := 0
			err := eachGroup(engine, func(group uint64, tx *kv.Tx) error {
				before := faults
				report := func(fault error) {
					faults++
					fmt.Fprintf(std.out, "group %d: %s\n", group, oneLine(fault.Error()))
				}
				for fault := range tx.Check() {
					report(fault)
				}
				if err := statemachine.Check(ctx, tx, report); err != nil {
					return err
				}
				if faults == before {
					fmt.Fprintf(std.out, "group %d: ok\n", group)
				}
				return nil
			})
			if err == nil && faults > 0 {
				err = fmt.Errorf("%d faults: restore the data directory from a backup, or replace the node", faults)
			}
			return err
		})
	}
}
