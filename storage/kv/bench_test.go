package kv

import (
	"encoding/binary"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// The benchmarks run the same work on an engine without log and on bbolt without sync, on the disk
// of the machine.

const benchRows = 100_000

func benchKey(i int) []byte {
	// Spread over the key space, the same for both.
	return binary.BigEndian.AppendUint64(nil, uint64(i)*0x9e3779b97f4a7c15)
}

var benchValue = make([]byte, 1024)

func benchOurs(b *testing.B) *DB {
	e, err := OpenEngine(b.TempDir(), EngineOptions{})
	must(b, err)
	b.Cleanup(func() { must(b, e.Close()) })
	db := namespaceDB(b, e, 1)
	update(b, db, func(tx *Tx) error {
		_, err := tx.CreateBucket([]byte("bucket"))
		return err
	})
	return db
}

func benchBolt(b *testing.B) *bolt.DB {
	db, err := bolt.Open(filepath.Join(b.TempDir(), "db"), 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	must(b, err)
	b.Cleanup(func() { must(b, db.Close()) })
	must(b, db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("bucket"))
		return err
	}))
	return db
}

func benchPuts(b *testing.B, batch int, put func(from, to int) error) {
	for done := 0; b.Loop(); done += batch {
		must(b, put(done, done+batch))
	}
	b.ReportMetric(float64(b.N)*float64(batch)/b.Elapsed().Seconds(), "puts/s")
}

func oursPut(db *DB) func(from, to int) error {
	return func(from, to int) error {
		return db.Update(func(tx *Tx) error {
			bucket := tx.Bucket([]byte("bucket"))
			for i := from; i < to; i++ {
				if err := bucket.Put(benchKey(i), benchValue); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func boltPut(db *bolt.DB) func(from, to int) error {
	return func(from, to int) error {
		return db.Update(func(tx *bolt.Tx) error {
			bucket := tx.Bucket([]byte("bucket"))
			for i := from; i < to; i++ {
				if err := bucket.Put(benchKey(i), benchValue); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func BenchmarkPut1(b *testing.B) {
	b.Run("kv", func(b *testing.B) { benchPuts(b, 1, oursPut(benchOurs(b))) })
	b.Run("bbolt", func(b *testing.B) { benchPuts(b, 1, boltPut(benchBolt(b))) })
}

func BenchmarkPut100(b *testing.B) {
	b.Run("kv", func(b *testing.B) { benchPuts(b, 100, oursPut(benchOurs(b))) })
	b.Run("bbolt", func(b *testing.B) { benchPuts(b, 100, boltPut(benchBolt(b))) })
}

func BenchmarkGet(b *testing.B) {
	b.Run("kv", func(b *testing.B) {
		db := benchOurs(b)
		must(b, oursPut(db)(0, benchRows))
		must(b, db.Sync())
		must(b, db.View(func(tx *Tx) error {
			bucket := tx.Bucket([]byte("bucket"))
			for i := 0; b.Loop(); i++ {
				if bucket.Get(benchKey(i%benchRows)) == nil {
					b.Fatal("missing")
				}
			}
			return nil
		}))
	})
	b.Run("bbolt", func(b *testing.B) {
		db := benchBolt(b)
		must(b, boltPut(db)(0, benchRows))
		must(b, db.View(func(tx *bolt.Tx) error {
			bucket := tx.Bucket([]byte("bucket"))
			for i := 0; b.Loop(); i++ {
				if bucket.Get(benchKey(i%benchRows)) == nil {
					b.Fatal("missing")
				}
			}
			return nil
		}))
	})
}

// BenchmarkView opens a transaction, two levels of buckets and one key.
func BenchmarkView(b *testing.B) {
	b.Run("kv", func(b *testing.B) {
		db := benchOurs(b)
		update(b, db, func(tx *Tx) error {
			inner, err := tx.Bucket([]byte("bucket")).CreateBucket([]byte("inner"))
			must(b, err)
			return inner.Put([]byte("k"), benchValue)
		})
		for b.Loop() {
			must(b, db.View(func(tx *Tx) error {
				tx.Bucket([]byte("bucket")).Bucket([]byte("inner")).Get([]byte("k"))
				return nil
			}))
		}
	})
	b.Run("bbolt", func(b *testing.B) {
		db := benchBolt(b)
		must(b, db.Update(func(tx *bolt.Tx) error {
			inner, err := tx.Bucket([]byte("bucket")).CreateBucket([]byte("inner"))
			must(b, err)
			return inner.Put([]byte("k"), benchValue)
		}))
		for b.Loop() {
			must(b, db.View(func(tx *bolt.Tx) error {
				tx.Bucket([]byte("bucket")).Bucket([]byte("inner")).Get([]byte("k"))
				return nil
			}))
		}
	})
}

func BenchmarkScan(b *testing.B) {
	b.Run("kv", func(b *testing.B) {
		db := benchOurs(b)
		must(b, oursPut(db)(0, benchRows))
		must(b, db.Sync())
		for b.Loop() {
			must(b, db.View(func(tx *Tx) error {
				return tx.Bucket([]byte("bucket")).ForEach(func(_, _ []byte) error { return nil })
			}))
		}
		b.ReportMetric(float64(b.N)*benchRows/b.Elapsed().Seconds(), "rows/s")
	})
	b.Run("bbolt", func(b *testing.B) {
		db := benchBolt(b)
		must(b, boltPut(db)(0, benchRows))
		for b.Loop() {
			must(b, db.View(func(tx *bolt.Tx) error {
				return tx.Bucket([]byte("bucket")).ForEach(func(_, _ []byte) error { return nil })
			}))
		}
		b.ReportMetric(float64(b.N)*benchRows/b.Elapsed().Seconds(), "rows/s")
	})
}

// BenchmarkCursorDelete deletes every second row in a loop of Next.
func BenchmarkCursorDelete(b *testing.B) {
	db := benchOurs(b)
	must(b, oursPut(db)(0, 10_000))
	for b.Loop() {
		tx, err := db.Begin(true)
		must(b, err)
		c := tx.Bucket([]byte("bucket")).Cursor()
		n := 0
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			if n++; n%2 == 0 {
				must(b, c.Delete())
			}
		}
		must(b, tx.Rollback())
	}
	b.ReportMetric(float64(b.N)*10_000/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkWalk walks a tree of many small buckets, as a hash over all contents does.
func BenchmarkWalk(b *testing.B) {
	const buckets, keys = 5000, 5
	b.Run("kv", func(b *testing.B) {
		db := benchOurs(b)
		update(b, db, func(tx *Tx) error {
			for i := range buckets {
				inner, err := tx.Bucket([]byte("bucket")).CreateBucket(benchKey(i))
				must(b, err)
				for k := range keys {
					must(b, inner.Put(benchKey(k), benchValue[:100]))
				}
			}
			return nil
		})
		must(b, db.Sync())
		for b.Loop() {
			must(b, db.View(func(tx *Tx) error {
				outer := tx.Bucket([]byte("bucket"))
				return outer.ForEach(func(k, _ []byte) error {
					return outer.Bucket(k).ForEach(func(_, _ []byte) error { return nil })
				})
			}))
		}
		b.ReportMetric(float64(b.N)*buckets/b.Elapsed().Seconds(), "buckets/s")
	})
	b.Run("bbolt", func(b *testing.B) {
		db := benchBolt(b)
		must(b, db.Update(func(tx *bolt.Tx) error {
			for i := range buckets {
				inner, err := tx.Bucket([]byte("bucket")).CreateBucket(benchKey(i))
				must(b, err)
				for k := range keys {
					must(b, inner.Put(benchKey(k), benchValue[:100]))
				}
			}
			return nil
		}))
		for b.Loop() {
			must(b, db.View(func(tx *bolt.Tx) error {
				outer := tx.Bucket([]byte("bucket"))
				return outer.ForEach(func(k, _ []byte) error {
					return outer.Bucket(k).ForEach(func(_, _ []byte) error { return nil })
				})
			}))
		}
		b.ReportMetric(float64(b.N)*buckets/b.Elapsed().Seconds(), "buckets/s")
	})
}
