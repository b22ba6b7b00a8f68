package kv

// arena makes copies that live as long as someone holds them. It fills blocks of memory, so that
// a scan does not allocate for each key; a block is freed when the last slice of it is dropped, so
// a long scan holds only what its caller keeps.
type arena struct {
	free []byte // the unused rest of the current block
	size int    // of the current block
}

const (
	arenaBlockMin = 512
	arenaBlockMax = 32 << 10
)

// copy returns a copy of p, never nil, with len == cap.
func (a *arena) copy(p []byte) []byte {
	n := len(p)
	if n > len(a.free) {
		if n >= arenaBlockMax/4 {
			return append(make([]byte, 0, n), p...)[:n:n]
		}
		a.size = max(min(2*a.size, arenaBlockMax), arenaBlockMin, n)
		a.free = make([]byte, a.size)
	}
	out := a.free[:n:n]
	a.free = a.free[n:]
	copy(out, p)
	if out == nil {
		return []byte{}
	}
	return out
}
