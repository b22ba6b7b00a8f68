package kv

import "sync"

// arena makes the copies a transaction gives out. The first of them lie in blocks borrowed from the
// engine, which are given back and used again when the transaction ends: most transactions then
// allocate nothing for what they read. A long scan goes on in blocks of its own, each freed by the
// garbage collector with the last slice of it, so it holds only what its caller keeps.
type arena struct {
	lend     bool   // nothing is copied: what the store gives out lives as long as the transaction
	free     []byte // the unused rest of the current block
	pool     *blockPool
	borrowed []*[arenaBlockBytes]byte
	first    [1]*[arenaBlockBytes]byte // the room of borrowed, as long as that is enough
}

const (
	arenaBlockBytes  = 64 << 10
	arenaBorrowedMax = 64                  // blocks one transaction borrows at most
	arenaOwnBytes    = arenaBlockBytes / 4 // copies this large get memory of their own
)

// blockPool keeps blocks between transactions, as long as the garbage collector lets it.
type blockPool struct{ blocks sync.Pool }

func (p *blockPool) get() *[arenaBlockBytes]byte {
	if b, ok := p.blocks.Get().(*[arenaBlockBytes]byte); ok {
		return b
	}
	return new([arenaBlockBytes]byte)
}

// copy returns a copy of p, never nil, with len == cap.
func (a *arena) copy(p []byte) []byte {
	n := len(p)
	if n == 0 {
		return []byte{}
	}
	if a.lend {
		return p[:n:n]
	}
	if n > len(a.free) {
		if n >= arenaOwnBytes {
			return append(make([]byte, 0, n), p...)[:n:n]
		}
		a.grow()
	}
	out := a.free[:n:n]
	a.free = a.free[n:]
	copy(out, p)
	return out
}

// copyPair copies two slices side by side.
func (a *arena) copyPair(p, q []byte) (p2, q2 []byte) {
	n, m := len(p), len(p)+len(q)
	if n == 0 || m == n || m > len(a.free) { // never enough where all is lent
		return a.copy(p), a.copy(q)
	}
	out := a.free[:m:m]
	a.free = a.free[m:]
	copy(out, p)
	copy(out[n:], q)
	return out[:n:n], out[n:]
}

func (a *arena) grow() {
	if len(a.borrowed) == arenaBorrowedMax {
		a.free = make([]byte, arenaBlockBytes)
		return
	}
	if a.borrowed == nil {
		a.borrowed = a.first[:0]
	}
	b := a.pool.get()
	a.borrowed = append(a.borrowed, b)
	a.free = b[:]
}

// release gives the borrowed blocks back. Built for the race detector it overwrites them, so that who
// uses a slice after its transaction sees it.
func (a *arena) release() {
	for _, b := range a.borrowed {
		for i := 0; raceEnabled && i < len(b); i++ {
			b[i] = 0xdb
		}
		a.pool.blocks.Put(b)
	}
	*a = arena{}
}
