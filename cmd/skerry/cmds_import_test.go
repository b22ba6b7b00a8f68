package main

import (
	"path/filepath"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb/pyroscopedbtest"
)

// metastoredb writes a database as Pyroscope's metastore has it, with three blocks,
// and with a row that is damaged; or it writes a database as a snapshot.
//
//	metastoredb FILE [damaged]
//	metastoredb snapshot FILE DIR
func metastoredb(script *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		script.Fatalf("usage: metastoredb FILE [damaged], or: metastoredb snapshot FILE DIR")
	}
	if args[0] == "snapshot" {
		script.Check(pyroscopedbtest.Snapshot(script.MkAbs(args[1]), script.MkAbs(args[2]), true))
		return
	}
	w, err := pyroscopedbtest.Create(filepath.Clean(script.MkAbs(args[0])))
	script.Check(err)
	for n := range uint64(3) {
		w.Add(numberedBlock(n))
	}
	if slices.Contains(args, "damaged") {
		block := numberedBlock(3)
		w.Bucket(pyroscopedbtest.Shard(block)...).Put([]byte(block.Id), []byte{0xff})
	}
	script.Check(w.Close())
}
