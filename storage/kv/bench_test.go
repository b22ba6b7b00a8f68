package kv

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// The benchmarks do the same work on an engine without log and on bbolt without sync, one after the
// other in the same run, on the disk of the machine:
//
//	go test ./storage/kv -run '^$' -bench . -benchtime 1x -kv.rows 1000000 -timeout 1h
//
// Each reports ns/op of both and, as "x-bbolt", how many times as fast as bbolt we are.

var benchRows = flag.Int("kv.rows", 20_000, "rows of 1.5 KB in the stores of the benchmarks")

var benchBucket = []byte("blocks")

// benchKey is the key of row i: a time and an identifier. Rows in order of i are in key order.
func benchKey(dst []byte, i int) []byte {
	dst = binary.BigEndian.AppendUint64(dst[:0], 1_760_000_000_000+uint64(i))
	return binary.BigEndian.AppendUint64(dst, uint64(i)*0x9e3779b97f4a7c15)
}

// benchSpread is the i-th row of an order without locality that visits each row once before any a
// second time.
func benchSpread(i, rows int) int {
	const prime = 2_654_435_761
	return int(uint64(i%rows) * prime % uint64(rows))
}

// benchValues are rows as a metastore keeps them: about 1.5 KB of encoded metadata with names from a
// small vocabulary, random identifiers, times and offsets. A block of them compresses about three
// times. There are many more than fit a block, so rows do not repeat within one.
var benchValues = func() [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	values := make([][]byte, 4096)
	for i := range values {
		values[i] = benchMetadata(rng)
	}
	return values
}()

func benchValue(i int) []byte { return benchValues[i%len(benchValues)] }

// benchMetadata makes a block's metadata in wire format.
func benchMetadata(rng *rand.Rand) []byte {
	names := []string{"service_name", "namespace", "__profile_type__", "pod", "service_repository", "cluster",
		"process_cpu:cpu:nanoseconds:cpu:nanoseconds", "memory:alloc_space:bytes:space:bytes",
		"memory:inuse_objects:count:space:bytes", "mutex:contentions:count:contentions:count",
		"goroutine:goroutine:count:goroutine:count", "block:delay:nanoseconds:contentions:count"}
	words := []string{"gateway", "checkout", "cart", "search", "billing", "ingest", "querier", "ruler", "auth", "frontend"}
	text := func(b []byte, field uint64, s string) []byte {
		b = binary.AppendUvarint(b, field<<3|2)
		b = binary.AppendUvarint(b, uint64(len(s)))
		return append(b, s...)
	}
	number := func(b []byte, field, v uint64) []byte {
		return binary.AppendUvarint(binary.AppendUvarint(b, field<<3), v)
	}
	const letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	random := func(n int) string {
		id := make([]byte, n)
		for i := range id {
			id[i] = letters[rng.IntN(len(letters))]
		}
		return string(id)
	}
	b := text(nil, 2, "01J"+random(23))
	now := 1_760_000_000_000 + rng.Uint64N(100_000_000)
	b = number(number(b, 5, now), 6, now+rng.Uint64N(10_000))
	b = text(number(b, 8, rng.Uint64N(50_000_000)), 10, "")
	for range 8 {
		service := words[rng.IntN(len(words))] + "-" + words[rng.IntN(len(words))]
		data := text(nil, 2, service)
		data = number(number(data, 3, now), 4, now+rng.Uint64N(10_000))
		for range 4 {
			data = number(data, 5, rng.Uint64N(50_000_000))
		}
		data = text(data, 7, service+"-"+random(10)+"-"+random(5))
		for range 2 {
			data = text(data, 9, names[rng.IntN(len(names))])
		}
		b = text(b, 9, string(data))
	}
	for _, name := range names {
		b = text(b, 11, name)
	}
	return b
}

// benchStores is a pair of stores on disk.
type benchStores struct {
	dir    string
	engine *Engine
	ours   *DB
	bolt   *bolt.DB
}

func openBenchEngine(b testing.TB, dir string, mode Durability) *Engine {
	e, err := OpenEngine(filepath.Join(dir, "kv"), EngineOptions{
		Durability: mode,
		// bbolt has all its pages in memory; so shall we.
		CacheBytes: max(64<<20, int64(*benchRows)*2500),
	})
	must(b, err)
	return e
}

func openBenchBolt(b testing.TB, dir string) *bolt.DB {
	db, err := bolt.Open(filepath.Join(dir, "bbolt"), 0o600,
		&bolt.Options{NoSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	must(b, err)
	return db
}

// newBenchStores makes a pair of empty stores with one bucket.
func newBenchStores(b testing.TB) *benchStores {
	s := &benchStores{dir: b.TempDir()}
	s.engine, s.bolt = openBenchEngine(b, s.dir, NoWAL), openBenchBolt(b, s.dir)
	b.Cleanup(func() {
		must(b, s.engine.Close())
		must(b, s.bolt.Close())
	})
	s.ours = namespaceDB(b, s.engine, 1)
	must(b, s.ours.Update(func(tx *Tx) error { return created(tx.CreateBucketIfNotExists(benchBucket)) }))
	must(b, s.bolt.Update(func(tx *bolt.Tx) error { return created(tx.CreateBucketIfNotExists(benchBucket)) }))
	return s
}

func created[B any](_ B, err error) error { return err }

// fill puts all rows and lets the engine come to rest, as bbolt is.
func (s *benchStores) fill(b testing.TB) {
	for i := 0; i < *benchRows; i += 1000 {
		must(b, oursPut(s.ours, i, 1000, inOrder))
		must(b, boltPut(s.bolt, i, 1000, inOrder))
	}
	must(b, s.engine.Sync())
	s.rest(b)
}

// rest waits until no compaction is due, or long enough.
func (s *benchStores) rest(b testing.TB) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	begun := time.Now()
	for range tick.C {
		m := s.engine.pebble.Metrics()
		if m.Compact.NumInProgress == 0 && m.Compact.EstimatedDebt == 0 {
			return
		}
		if time.Since(begun) > 2*time.Minute {
			b.Logf("not at rest: %d bytes to compact", m.Compact.EstimatedDebt)
			return
		}
	}
}

func inOrder(i int) int { return i % *benchRows }
func spread(i int) int  { return benchSpread(i, *benchRows) }

func oursPut(db *DB, from, n int, order func(int) int) error {
	var key []byte
	return db.Update(func(tx *Tx) error {
		bucket := tx.Bucket(benchBucket)
		for i := from; i < from+n; i++ {
			key = benchKey(key, order(i))
			if err := bucket.Put(key, benchValue(i)); err != nil {
				return err
			}
		}
		return nil
	})
}

func boltPut(db *bolt.DB, from, n int, order func(int) int) error {
	return db.Update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket(benchBucket)
		for i := from; i < from+n; i++ {
			// bbolt keeps the key until the transaction ends.
			if err := bucket.Put(benchKey(nil, order(i)), benchValue(i)); err != nil {
				return err
			}
		}
		return nil
	})
}

// compare runs n times ops operations on both stores and reports what one costs.
func compare(b *testing.B, ops int, ours, theirs func(b *testing.B)) {
	n := b.N
	b.ResetTimer()
	begun := time.Now()
	for range n {
		ours(b)
	}
	took := time.Since(begun)
	b.StopTimer()
	begun = time.Now()
	for range n {
		theirs(b)
	}
	reportRatio(b, n*ops, took, time.Since(begun))
}

// compareFresh is compare on stores that are empty each time.
func compareFresh(b *testing.B, ops int, ours, theirs func(s *benchStores)) {
	var took, boltTook time.Duration
	for range b.N {
		s := newBenchStores(b)
		begun := time.Now()
		ours(s)
		took += time.Since(begun)
		begun = time.Now()
		theirs(s)
		boltTook += time.Since(begun)
	}
	reportRatio(b, b.N*ops, took, boltTook)
}

func reportRatio(b *testing.B, ops int, ours, theirs time.Duration) {
	b.ReportMetric(float64(ours.Nanoseconds())/float64(ops), "ns/op")
	b.ReportMetric(float64(theirs.Nanoseconds())/float64(ops), "bbolt-ns/op")
	b.ReportMetric(float64(theirs)/float64(ours), "x-bbolt")
}

// sum reads every byte of a row.
func sum(k, v []byte) (s uint64) {
	for len(v) >= 8 {
		s += binary.LittleEndian.Uint64(v)
		v = v[8:]
	}
	return s + uint64(len(k)+len(v))
}

func BenchmarkRead(b *testing.B) {
	s := newBenchStores(b)
	s.fill(b)
	view := func(fn func(*Bucket)) func(*testing.B) {
		return func(b *testing.B) {
			must(b, s.ours.View(func(tx *Tx) error { fn(tx.Bucket(benchBucket)); return nil }))
		}
	}
	boltView := func(fn func(*bolt.Bucket)) func(*testing.B) {
		return func(b *testing.B) {
			must(b, s.bolt.View(func(tx *bolt.Tx) error { fn(tx.Bucket(benchBucket)); return nil }))
		}
	}
	var total uint64
	gets := min(*benchRows, 100_000)
	// Once over everything: reads from memory are compared.
	warm := func(k, v []byte) error { total += sum(k, v); return nil }
	view(func(bucket *Bucket) { must(b, bucket.ForEach(warm)) })(b)
	s.rest(b)
	boltView(func(bucket *bolt.Bucket) { must(b, bucket.ForEach(warm)) })(b)
	for _, way := range []struct {
		name  string
		order func(int) int
	}{{"get", spread}, {"get-in-order", inOrder}} {
		order := way.order
		b.Run(way.name, func(b *testing.B) {
			var key []byte
			compare(b, gets, view(func(bucket *Bucket) {
				for i := range gets {
					key = benchKey(key, order(i))
					total += sum(key, bucket.Get(key))
				}
			}), boltView(func(bucket *bolt.Bucket) {
				for i := range gets {
					key = benchKey(key, order(i))
					total += sum(key, bucket.Get(key))
				}
			}))
		})
	}
	b.Run("get-missing", func(b *testing.B) {
		var key []byte
		compare(b, gets, view(func(bucket *Bucket) {
			for i := range gets {
				key = append(benchKey(key, spread(i)), 'x')
				total += sum(key, bucket.Get(key))
			}
		}), boltView(func(bucket *bolt.Bucket) {
			for i := range gets {
				key = append(benchKey(key, spread(i)), 'x')
				total += sum(key, bucket.Get(key))
			}
		}))
	})
	for _, way := range []struct {
		name string
		each func(k, v []byte) error
	}{
		{"scan", warm},
		{"scan-keys", func(k, _ []byte) error { total += uint64(len(k)); return nil }},
	} {
		each := way.each
		b.Run(way.name, func(b *testing.B) {
			compare(b, *benchRows,
				view(func(bucket *Bucket) { must(b, bucket.ForEach(each)) }),
				boltView(func(bucket *bolt.Bucket) { must(b, bucket.ForEach(each)) }))
		})
	}
	b.Run("seek-next10", func(b *testing.B) {
		var key []byte
		seeks := min(*benchRows, 20_000)
		compare(b, seeks, view(func(bucket *Bucket) {
			c := bucket.Cursor()
			for i := range seeks {
				key = benchKey(key, spread(i))
				k, v := c.Seek(key)
				for n := 0; n < 10 && k != nil; n++ {
					total += sum(k, v)
					k, v = c.Next()
				}
			}
		}), boltView(func(bucket *bolt.Bucket) {
			c := bucket.Cursor()
			for i := range seeks {
				key = benchKey(key, spread(i))
				k, v := c.Seek(key)
				for n := 0; n < 10 && k != nil; n++ {
					total += sum(k, v)
					k, v = c.Next()
				}
			}
		}))
	})
	b.Run("view-get", func(b *testing.B) {
		var key []byte
		compare(b, gets, func(b *testing.B) {
			for i := range gets {
				must(b, s.ours.View(func(tx *Tx) error {
					key = benchKey(key, spread(i))
					total += sum(key, tx.Bucket(benchBucket).Get(key))
					return nil
				}))
			}
		}, func(b *testing.B) {
			for i := range gets {
				must(b, s.bolt.View(func(tx *bolt.Tx) error {
					key = benchKey(key, spread(i))
					total += sum(key, tx.Bucket(benchBucket).Get(key))
					return nil
				}))
			}
		})
	})
	if total == 0 {
		b.Fatal("nothing was read")
	}
}

// BenchmarkOverwrite replaces rows without locality, 100 a transaction.
func BenchmarkOverwrite(b *testing.B) {
	s := newBenchStores(b)
	s.fill(b)
	txs := max(1, *benchRows/1000)
	b.Run("tx100", func(b *testing.B) {
		done, boltDone := 0, 0
		compare(b, txs*100, func(b *testing.B) {
			for range txs {
				must(b, oursPut(s.ours, done, 100, spread))
				done += 100
			}
		}, func(b *testing.B) {
			for range txs {
				must(b, boltPut(s.bolt, boltDone, 100, spread))
				boltDone += 100
			}
		})
	})
}

// BenchmarkPut fills stores, in key order.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("tx%d", size), func(b *testing.B) {
			rows := max(*benchRows*size/1000, *benchRows/10)
			compareFresh(b, rows, func(s *benchStores) {
				for i := 0; i < rows; i += size {
					must(b, oursPut(s.ours, i, size, inOrder))
				}
			}, func(s *benchStores) {
				for i := 0; i < rows; i += size {
					must(b, boltPut(s.bolt, i, size, inOrder))
				}
			})
		})
	}
}

// BenchmarkNested creates buckets three deep, one key in each, 1000 buckets a transaction.
func BenchmarkNested(b *testing.B) {
	buckets := *benchRows / 1000 * 1000
	small := benchValues[0][:100]
	var k1, k2, k3 []byte
	path := func(i int) {
		k1, k2, k3 = benchKey(nil, i/10_000), benchKey(nil, i/100%100), benchKey(nil, i%100)
	}
	compareFresh(b, buckets, func(s *benchStores) {
		for from := 0; from < buckets; from += 1000 {
			must(b, s.ours.Update(func(tx *Tx) error {
				for i := from; i < from+1000; i++ {
					path(i)
					one, err := tx.CreateBucketIfNotExists(k1)
					if err != nil {
						return err
					}
					two, err := one.CreateBucketIfNotExists(k2)
					if err != nil {
						return err
					}
					three, err := two.CreateBucketIfNotExists(k3)
					if err != nil {
						return err
					}
					if err := three.Put(k1, small); err != nil {
						return err
					}
				}
				return nil
			}))
		}
	}, func(s *benchStores) {
		for from := 0; from < buckets; from += 1000 {
			must(b, s.bolt.Update(func(tx *bolt.Tx) error {
				for i := from; i < from+1000; i++ {
					path(i)
					one, err := tx.CreateBucketIfNotExists(k1)
					if err != nil {
						return err
					}
					two, err := one.CreateBucketIfNotExists(k2)
					if err != nil {
						return err
					}
					three, err := two.CreateBucketIfNotExists(k3)
					if err != nil {
						return err
					}
					if err := three.Put(k1, small); err != nil {
						return err
					}
				}
				return nil
			}))
		}
	})
}

// BenchmarkStore measures what a filled store costs as a whole: its bytes, opening it, a snapshot's
// memory, dropping its bucket.
func BenchmarkStore(b *testing.B) {
	s := newBenchStores(b)
	s.fill(b)
	b.Run("disk", func(b *testing.B) {
		b.ReportMetric(float64(benchDiskBytes(b, filepath.Join(s.dir, "kv"))), "bytes")
		b.ReportMetric(float64(benchDiskBytes(b, filepath.Join(s.dir, "bbolt"))), "bbolt-bytes")
		b.ReportMetric(float64(benchDiskBytes(b, filepath.Join(s.dir, "kv")))/
			float64(benchDiskBytes(b, filepath.Join(s.dir, "bbolt"))), "of-bbolt")
	})
	b.Run("snapshot", func(b *testing.B) { benchSnapshot(b, s) })
	b.Run("snapshot-rss", func(b *testing.B) { benchResident(b, s) })
	b.Run("open", func(b *testing.B) { benchReopen(b, s, false, false) })
	b.Run("open-after-kill", func(b *testing.B) { benchReopen(b, s, true, false) })
	b.Run("open-cold", func(b *testing.B) { benchReopen(b, s, false, true) })
	b.Run("open-cold-after-kill", func(b *testing.B) { benchReopen(b, s, true, true) })
	b.Run("drop", func(b *testing.B) {
		begun := time.Now()
		must(b, s.ours.Update(func(tx *Tx) error { return tx.DeleteBucket(benchBucket) }))
		took := time.Since(begun)
		begun = time.Now()
		must(b, s.bolt.Update(func(tx *bolt.Tx) error { return tx.DeleteBucket(benchBucket) }))
		reportRatio(b, 1, took, time.Since(begun))
		must(b, s.ours.Update(func(tx *Tx) error { return created(tx.CreateBucketIfNotExists(benchBucket)) }))
		must(b, s.bolt.Update(func(tx *bolt.Tx) error { return created(tx.CreateBucketIfNotExists(benchBucket)) }))
		s.fill(b)
	})
}

func benchDiskBytes(b testing.TB, path string) (bytes int64) {
	must(b, filepath.Walk(path, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return err
	}))
	return bytes
}
