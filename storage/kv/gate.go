package kv

import "sync"

// gate counts who is inside and, once closed, lets nobody in and waits for the last to leave. The
// zero gate is closed.
type gate struct {
	mu     sync.Mutex
	left   sync.Cond // inside fell to zero
	open   bool
	inside int
}

func (g *gate) init() {
	g.left.L = &g.mu
	g.open = true
}

// enter reports whether the gate is open; if so the caller must leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open {
		g.inside++
	}
	return g.open
}

func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.inside == 0 && !g.open {
		g.left.Broadcast()
	}
}

// close shuts the gate, waits until nobody is inside and reports whether this call shut it.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	first := g.open
	g.open = false
	for g.inside > 0 {
		g.left.Wait()
	}
	return first
}
