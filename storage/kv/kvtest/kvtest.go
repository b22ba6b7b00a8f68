// Package kvtest gives databases to tests of packages that keep tables in one.
package kvtest

import (
	"testing"

	"github.com/skerrydb/skerry/storage/kv"
)

// Engine opens an engine that closes with the test.
func Engine(t testing.TB, options kv.EngineOptions) *kv.Engine {
	t.Helper()
	engine, err := kv.OpenEngine(t.TempDir(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return engine
}

// DB returns the database of a group, of an engine of its own.
func DB(t testing.TB, group uint64) *kv.DB {
	t.Helper()
	return Of(t, Engine(t, kv.EngineOptions{}), group)
}

// Of returns the database of a group.
func Of(t testing.TB, engine *kv.Engine, group uint64) *kv.DB {
	t.Helper()
	db, err := engine.DB(group)
	if err != nil {
		t.Fatal(err)
	}
	return db
}
