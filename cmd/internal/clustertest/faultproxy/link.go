package faultproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// Bytes that a link holds for each direction: chunkBytes × queuedChunks and
	// two more chunks at most, beside the kernel's buffers.
	chunkBytes   = 32 << 10
	queuedChunks = 16
	// How finely a rate is kept.
	ratePieces = 20 // a second
	// Until a target that does not answer counts as down.
	dialTimeout = 10 * time.Second
)

// link is one connection: the caller's end, and ours to the target.
type link struct {
	out               Flow // from the caller to the target's host
	outPath, backPath *path
	target            string

	mu     sync.Mutex
	caller *net.TCPConn
	callee *net.TCPConn  // nil until dialled
	done   chan struct{} // closed by reset
	dead   bool
}

// chunk is what was read at once. The last one says how the sender ended.
type chunk struct {
	came time.Time
	data []byte
	end  error // io.EOF if it closed, another if the connection broke
}

// run passes bytes in both directions until both ended, or until reset.
func (l *link) run() {
	defer l.reset() // what ended in order is closed by now, so that this is no more than tidying
	if !l.outPath.await(time.Now(), l.done) || !l.dial() {
		return
	}
	var directions sync.WaitGroup
	directions.Go(func() { l.pass(l.caller, l.callee, l.outPath) })
	directions.Go(func() { l.pass(l.callee, l.caller, l.backPath) })
	directions.Wait()
	l.close()
}

// dial connects to the target, from the caller's address: logs on the other side
// name who really called.
func (l *link) dial() bool {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		select {
		case <-l.done:
			cancel()
		case <-ctx.Done():
		}
	})
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: l.caller.RemoteAddr().(*net.TCPAddr).IP}, Control: lingerZero}
	conn, err := dialer.DialContext(ctx, "tcp", l.target)
	if err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		conn.Close()
		return false
	}
	l.callee = conn.(*net.TCPConn)
	return l.callee.SetLinger(-1) == nil
}

// lingerZero makes a close in the middle of a dial a reset.
func lingerZero(_, _ string, raw syscall.RawConn) error {
	var set error
	err := raw.Control(func(fd uintptr) {
		set = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	})
	return errors.Join(err, set)
}

func (l *link) pass(from, to *net.TCPConn, p *path) {
	queue := make(chan chunk, queuedChunks)
	var reader sync.WaitGroup
	reader.Go(func() { l.read(from, queue) })
	l.write(to, queue, p)
	reader.Wait()
}

func (l *link) read(from *net.TCPConn, queue chan<- chunk) {
	buffer := make([]byte, chunkBytes)
	for {
		n, err := from.Read(buffer)
		c := chunk{came: time.Now(), data: append([]byte(nil), buffer[:n]...), end: err}
		select {
		case queue <- c:
		case <-l.done:
			return
		}
		if err != nil {
			return
		}
	}
}

// write delivers what was read, as the flow's rule wants it.
func (l *link) write(to *net.TCPConn, queue <-chan chunk, p *path) {
	for {
		var c chunk
		select {
		case c = <-queue:
		case <-l.done:
			return
		}
		if !p.await(c.came, l.done) {
			return
		}
		if !l.deliver(to, c.data, p) {
			return
		}
		switch {
		case errors.Is(c.end, io.EOF):
			to.CloseWrite() //nolint:errcheck // it may be gone already
			return
		case c.end != nil:
			l.reset()
			return
		}
	}
}

// deliver writes data no faster than the rule allows; a drop in the middle holds
// the rest.
func (l *link) deliver(to *net.TCPConn, data []byte, p *path) bool {
	for len(data) > 0 {
		rule, changed := p.get()
		piece := data
		if rule.Rate > 0 {
			piece = data[:min(len(data), max(1, rule.Rate/ratePieces))]
		}
		if _, err := to.Write(piece); err != nil {
			l.reset()
			return false
		}
		p.count(len(piece), 0)
		data = data[len(piece):]
		if rule.Rate > 0 {
			timer := time.NewTimer(time.Duration(len(piece)) * time.Second / time.Duration(rule.Rate))
			ok := p.wait(rule, changed, timer.C, l.done)
			timer.Stop()
			if !ok || !p.await(time.Time{}, l.done) {
				return false
			}
		}
	}
	return true
}

// close ends both connections in order.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return
	}
	l.dead = true
	close(l.done)
	l.caller.Close()
	l.callee.Close()
}

// reset ends both connections at once; both sides learn of it.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return
	}
	l.dead = true
	close(l.done)
	for _, conn := range []*net.TCPConn{l.caller, l.callee} {
		if conn != nil {
			conn.SetLinger(0) //nolint:errcheck // it may be gone already
			conn.Close()
		}
	}
}
