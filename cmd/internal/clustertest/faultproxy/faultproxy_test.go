package faultproxy

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// world is hosts a and b, which call, and c, which listens.
type world struct {
	*Network
	t        *testing.T
	address  string // of c
	accepted chan *net.TCPConn
	target   net.Listener
}

var hosts = map[string]string{"a": "127.0.0.31", "b": "127.0.0.32", "c": "127.0.0.33"}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Network: New(), t: t, accepted: make(chan *net.TCPConn, 16)}
	t.Cleanup(w.Close)
	for host, address := range hosts {
		w.Name(netip.MustParseAddr(address), host)
	}
	var err error
	if w.target, err = net.Listen("tcp", hosts["c"]+":0"); err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := w.target.Accept()
			if err != nil {
				return
			}
			w.accepted <- conn.(*net.TCPConn)
		}
	})
	t.Cleanup(serving.Wait)
	t.Cleanup(func() { w.target.Close() })
	if w.address, err = w.Listen("c", hosts["c"]+":0", w.target.Addr().String()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) dial(host string) *net.TCPConn {
	w.t.Helper()
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(hosts[host])}}
	conn, err := dialer.Dial("tcp", w.address)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.owned(conn.(*net.TCPConn))
}

func (w *world) owned(conn *net.TCPConn) *net.TCPConn {
	w.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	return conn
}

func (w *world) accept() *net.TCPConn {
	w.t.Helper()
	select {
	case conn := <-w.accepted:
		return w.owned(conn)
	case <-time.After(patience):
		w.t.Fatal("nobody was connected")
		return nil
	}
}

// connected is a connection through the network, both ends.
func (w *world) connected(host string) (caller, callee *net.TCPConn) {
	w.t.Helper()
	caller = w.dial(host)
	callee = w.accept()
	return caller, callee
}

func (w *world) wantPasses(from, to *net.TCPConn, text string) {
	w.t.Helper()
	w.send(from, text)
	w.wantArrives(to, text)
}

func (w *world) send(from *net.TCPConn, text string) {
	w.t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantArrives(to *net.TCPConn, text string) {
	w.t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
		w.t.Fatalf("got %q, %v, want %q", got, err, text)
	}
}

// wantHeld waits until so many deliveries wait.
func (w *world) wantHeld(flow Flow, held int) {
	w.t.Helper()
	w.eventually("held", held, func() int { return w.Stats(flow).Held })
}

func (w *world) eventually(what string, want int, get func() int) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for get() != want {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: %d, want %d", what, get(), want)
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *world) wantReset(conn *net.TCPConn) {
	w.t.Helper()
	if n, err := conn.Read(make([]byte, 1)); n > 0 || !errors.Is(err, syscall.ECONNRESET) {
		w.t.Errorf("read %d bytes, %v; want a reset", n, err)
	}
}

// wantRefused demands that a call ends at once, even while it is made.
func (w *world) wantRefused(host string) {
	w.t.Helper()
	dialer := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(hosts[host])}}
	conn, err := dialer.Dial("tcp", w.address)
	if err == nil {
		w.wantReset(w.owned(conn.(*net.TCPConn)))
	} else if !errors.Is(err, syscall.ECONNRESET) {
		w.t.Errorf("the call failed with %v, want a reset", err)
	}
}

func TestPass(t *testing.T) {
	w := newWorld(t)
	caller, callee := w.connected("a")
	payload := make([]byte, 5<<20)
	rand.Read(payload) //nolint:errcheck // never fails
	for _, direction := range [][2]*net.TCPConn{{caller, callee}, {callee, caller}} {
		var sender sync.WaitGroup
		sender.Go(func() {
			direction[0].Write(payload) //nolint:errcheck // the reader tells
			direction[0].CloseWrite()   //nolint:errcheck // the reader tells
		})
		got, err := io.ReadAll(direction[1])
		if sender.Wait(); err != nil || !bytes.Equal(got, payload) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	}
	if host, _, _ := net.SplitHostPort(callee.RemoteAddr().String()); host != hosts["a"] {
		t.Errorf("called by %s", host)
	}
	w.eventually("links of a", 0, func() int { return w.Stats(Flow{"a", "c"}).Links })
	if stats := w.Stats(Flow{"c", "a"}); stats != (Stats{Bytes: int64(len(payload))}) {
		t.Errorf("stats are %+v", stats)
	}
}

func TestDrop(t *testing.T) {
	w := newWorld(t)
	caller, callee := w.connected("a")
	other, otherCallee := w.connected("b")
	w.Partition([]string{"a"}, []string{"c"})
	w.send(caller, "request")
	w.send(callee, "response")
	fresh := w.dial("a") // succeeds: the kernel answers
	w.send(fresh, "new")
	w.wantHeld(Flow{"a", "c"}, 2)
	w.wantHeld(Flow{"c", "a"}, 1)
	w.wantPasses(other, otherCallee, "b is not a")
	if stats := w.Stats(Flow{"a", "c"}); stats.Bytes != 0 || stats.Links != 2 || len(w.accepted) != 0 {
		t.Errorf("stats are %+v, %d accepted", stats, len(w.accepted))
	}
	// The end of a connection is not seen either.
	fresh.Close()
	w.Heal()
	w.wantArrives(callee, "request")
	w.wantArrives(caller, "response")
	late := w.accept()
	w.wantArrives(late, "new")
	if n, err := late.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d, %v", n, err)
	}
	w.wantPasses(caller, callee, "more")
}

func TestDropOneWay(t *testing.T) {
	w := newWorld(t)
	caller, callee := w.connected("a")
	w.OneWay([]string{"c"}, []string{"a"})
	w.wantPasses(caller, callee, "request")
	w.send(callee, "response")
	w.wantHeld(Flow{"c", "a"}, 1)
	w.Set(Flow{"c", "a"}, Rule{})
	w.wantArrives(caller, "response")
}

// Who writes into a dropped flow is stopped: what is held is bounded.
func TestDropIsBounded(t *testing.T) {
	w := newWorld(t)
	caller, callee := w.connected("a")
	w.Set(Flow{"a", "c"}, Rule{Mode: Drop})
	w.send(caller, "x")
	w.wantHeld(Flow{"a", "c"}, 1)
	if err := caller.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := caller.Write(make([]byte, 256<<20))
	if err == nil || n > 64<<20 {
		t.Errorf("%d bytes were taken, %v", n, err)
	}
	w.Heal()
	if read, err := io.ReadFull(callee, make([]byte, n+1)); err != nil {
		t.Errorf("of %d bytes arrived %d, %v", n+1, read, err)
	}
}

func TestReset(t *testing.T) {
	w := newWorld(t)
	caller, callee := w.connected("a")
	other, otherCallee := w.connected("b")
	w.Set(Flow{"c", "a"}, Rule{Mode: Reset})
	w.wantReset(caller)
	w.wantReset(callee)
	w.wantRefused("a")
	w.wantPasses(other, otherCallee, "b is not a")
	w.Heal()
	caller, callee = w.connected("a")
	w.wantPasses(caller, callee, "healed")
}

func TestCut(t *testing.T) {
	w := newWorld(t)
	caller, callee := w.connected("a")
	if cut := w.Cut("c", "a"); cut != 1 {
		t.Errorf("cut %d", cut)
	}
	w.wantReset(caller)
	w.wantReset(callee)
	caller, callee = w.connected("a")
	w.wantPasses(caller, callee, "again")
}

func TestRefuse(t *testing.T) {
	w := newWorld(t)
	caller, callee := w.connected("a")
	w.Set(Flow{"a", "c"}, Rule{Mode: Refuse})
	w.wantRefused("a")
	w.wantPasses(caller, callee, "established")
}

func TestTargetDown(t *testing.T) {
	w := newWorld(t)
	w.target.Close()
	w.wantRefused("a")
}

// The end of a process looks as without a network between.
func TestTargetResets(t *testing.T) {
	w := newWorld(t)
	caller, callee := w.connected("a")
	if err := callee.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	callee.Close()
	w.wantReset(caller)
}

func TestDelay(t *testing.T) {
	const delay = 60 * time.Millisecond
	w := newWorld(t)
	caller, callee := w.connected("a")
	w.Set(Flow{"a", "c"}, Rule{Delay: delay})
	began := time.Now()
	w.wantPasses(caller, callee, "one")
	if took := time.Since(began); took < delay {
		t.Errorf("arrived after %v", took)
	}
	// A long delay is not waited for once it is lifted.
	w.Set(Flow{"a", "c"}, Rule{Delay: time.Hour})
	w.send(caller, "two")
	w.Heal()
	w.wantArrives(callee, "two")
}

func TestRate(t *testing.T) {
	w := newWorld(t)
	caller, callee := w.connected("a")
	w.Set(Flow{"a", "c"}, Rule{Rate: 100 << 10})
	began := time.Now()
	w.wantPasses(caller, callee, string(make([]byte, 20<<10)))
	if took := time.Since(began); took < 150*time.Millisecond {
		t.Errorf("20 KiB at 100 KiB/s arrived after %v", took)
	}
	// A drop in the middle holds the rest.
	w.Set(Flow{"a", "c"}, Rule{Rate: 1})
	w.send(caller, "slow")
	w.wantArrives(callee, "s")
	w.Set(Flow{"a", "c"}, Rule{Mode: Drop})
	w.wantHeld(Flow{"a", "c"}, 1)
	w.Heal()
	w.wantArrives(callee, "low")
}

// Close ends what is held, delayed, or not read by anybody; goleak sees the rest.
func TestClose(t *testing.T) {
	w := newWorld(t)
	caller, callee := w.connected("a")
	stuck, _ := w.connected("b")
	w.Set(Flow{"a", "c"}, Rule{Mode: Drop})
	w.Set(Flow{"c", "a"}, Rule{Delay: time.Hour})
	w.send(caller, "held")
	w.send(callee, "delayed")
	fresh := w.dial("a")
	w.wantHeld(Flow{"a", "c"}, 2)
	if err := stuck.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	stuck.Write(make([]byte, 256<<20)) //nolint:errcheck // runs into its deadline
	w.Close()
	w.wantReset(caller)
	w.wantReset(callee)
	w.wantReset(fresh)
	if _, err := w.Listen("c", "127.0.0.33:0", ""); !errors.Is(err, net.ErrClosed) {
		t.Errorf("listens after Close: %v", err)
	}
}
