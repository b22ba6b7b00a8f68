// Package enginebench measures the state machine of a group over one storage engine or another, in this process:
// real entries are applied and real queries answered, without Raft and without gRPC.
//
// It is apart from package bench, which measures servers from outside and knows nothing of them; what is asked,
// paced and checked here is asked, paced and checked by it.
package enginebench

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/boltrows"
)

// Engine is a storage engine, and how it makes commits durable.
type Engine string

// The engines. Those without "sync" leave that to a log that would be replayed.
const (
	Pebble     Engine = "pebble"
	Bbolt      Engine = "bbolt"
	PebbleSync Engine = "pebble-sync"
	BboltSync  Engine = "bbolt-sync"
)

// Engines are all of them.
func Engines() []Engine { return []Engine{Pebble, Bbolt, PebbleSync, BboltSync} }

// Parse returns the engines of a list with commas, each once.
func Parse(list string) ([]Engine, error) {
	var found []Engine
	for name := range strings.SplitSeq(list, ",") {
		engine := Engine(name)
		if !slices.Contains(Engines(), engine) {
			return nil, fmt.Errorf("%q is no engine: want some of %v", name, Engines())
		}
		if slices.Contains(found, engine) {
			return nil, fmt.Errorf("engine %s is given twice", name)
		}
		found = append(found, engine)
	}
	return found, nil
}

// open opens the engine in a folder, with the memory that a node gives it.
func (e Engine) open(dir string) (*kv.Engine, error) {
	options := kv.EngineOptions{Durability: kv.NoWAL}
	if e == PebbleSync || e == BboltSync {
		options.Durability = kv.WALSync
	}
	if e == Pebble || e == PebbleSync {
		return kv.OpenEngine(filepath.Join(dir, "store"), options)
	}
	store, err := boltrows.Open(filepath.Join(dir, "store"), boltrows.Options{})
	if err != nil {
		return nil, err
	}
	return kv.EngineOver(store, dir, options)
}
