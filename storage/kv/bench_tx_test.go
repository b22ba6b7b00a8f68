package kv

import "testing"

// BenchmarkTx measures ways to read a writing transaction's own writes: 1000 steps in a transaction over a
// filled store, committed. The hash is what Get uses, the indexed batch what cursors use, made when the
// first of them moves. "from the start" indexes each write as it is made.
//
//	go test ./storage/kv -run '^$' -bench BenchmarkTx -kv.rows 100000
func BenchmarkTx(b *testing.B) {
	s := newBenchStores(b)
	for i := 0; i < *benchRows; i += 1000 {
		must(b, oursPut(s.ours, i, 1000, inOrder))
	}
	must(b, s.engine.Sync())
	s.rest(b)
	const steps = 1000
	small := benchValues[0][:100]
	type state struct {
		tx     *Tx
		bucket *Bucket
		key    []byte
		cursor *Cursor
	}
	row := func(s *state, n int) []byte {
		s.key = benchKey(s.key, spread(n))
		return s.key
	}
	put := func(s *state, n int) { must(b, s.bucket.Put(row(s, n), small)) }
	hash := func(s *state, n int) {
		if s.bucket.Get(row(s, n)) == nil {
			b.Fatal("row missing")
		}
	}
	inBatch := func(s *state, n int) {
		s.tx.order()
		w := s.tx.writer.(*pebbleWriter)
		of := w.rows
		if w.indexed {
			of = w.batch
		}
		v, held, found, err := lookupIn(of, s.bucket.child(row(s, n), endKey))
		if err != nil || !found {
			b.Fatal("row missing")
		}
		s.tx.arena.copy(v)
		letGo(held)
	}
	seek := func(s *state, n int) {
		if k, _ := s.cursor.Seek(row(s, n)); k == nil {
			b.Fatal("row missing")
		}
	}
	fromStart := func(s *state, n int) {
		if n%steps == 0 {
			must(b, s.tx.writer.(*pebbleWriter).index())
		}
	}
	half := func(do func(*state, int)) func(*state, int) {
		return func(s *state, n int) {
			if n%steps >= steps/2 {
				do(s, n-steps/2)
			}
		}
	}
	other := func(do func(*state, int)) func(*state, int) {
		return func(s *state, n int) { do(s, n+*benchRows/2) }
	}
	for _, way := range []struct {
		name string
		step []func(*state, int)
	}{
		{"put/plain batch", []func(*state, int){put}},
		{"put/indexed from the start", []func(*state, int){fromStart, put}},
		{"put then get it/hash", []func(*state, int){put, hash}},
		{"put then get it/indexed batch", []func(*state, int){put, inBatch}},
		{"get another then put/hash", []func(*state, int){other(hash), put}},
		{"get another then put/indexed batch", []func(*state, int){other(inBatch), put}},
		{"put half then get those too/hash", []func(*state, int){half(hash), put}},
		{"put half then get those too/indexed batch", []func(*state, int){half(inBatch), put}},
		{"put then seek/indexed when needed", []func(*state, int){put, seek}},
		{"put then seek/indexed from the start", []func(*state, int){fromStart, put, seek}},
		{"put half then seek those too/indexed when needed", []func(*state, int){half(seek), put}},
		{"put half then seek those too/indexed from the start", []func(*state, int){fromStart, half(seek), put}},
	} {
		b.Run(way.name, func(b *testing.B) {
			must(b, s.engine.Sync())
			s.rest(b)
			b.ResetTimer()
			for n := 0; n < b.N; {
				must(b, s.ours.Update(func(tx *Tx) error {
					st := &state{tx: tx, bucket: tx.Bucket(benchBucket)}
					st.cursor = st.bucket.Cursor()
					for i := 0; i < steps; i++ {
						for _, step := range way.step {
							step(st, n)
						}
						n++
					}
					return nil
				}))
			}
		})
	}
}
