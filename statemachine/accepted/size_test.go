package accepted_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/skerrydb/skerry/statemachine/accepted"
	"github.com/skerrydb/skerry/storage/kv"
)

// BenchmarkMarks tells what it costs to keep a mark for ever: 64 streams, each with data of
// every tenant.
func BenchmarkMarks(b *testing.B) {
	const streams, tenants = 64, 4000
	for b.Loop() {
		dir := b.TempDir()
		engine, err := kv.OpenEngine(dir, kv.EngineOptions{Durability: kv.NoWAL})
		if err != nil {
			b.Fatal(err)
		}
		db, err := engine.DB(2)
		if err != nil {
			b.Fatal(err)
		}
		random := rand.New(rand.NewPCG(1, 1))
		for from := 0; from < tenants; from += 100 {
			err := db.Update(func(tx *kv.Tx) error {
				for i := range 100 {
					tenant := fmt.Sprintf("tenant-%d-of-%08x", from+i, random.Uint32())
					for stream := range uint32(streams) {
						if err := accepted.Put(tx, stream, tenant, accepted.Mark{Incarnation: 1, Number: random.Uint64N(1 << 40)}); err != nil {
							return err
						}
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		if err := errors.Join(engine.Sync(), engine.Close()); err != nil {
			b.Fatal(err)
		}
		size := int64(0)
		err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".sst" {
				return err
			}
			info, err := entry.Info()
			if err == nil {
				size += info.Size()
			}
			return err
		})
		if err != nil || size == 0 {
			b.Fatal("no tables", err)
		}
		b.ReportMetric(float64(size)/streams/tenants, "bytes/mark")
	}
}
