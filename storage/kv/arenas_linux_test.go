//go:build cgo

package kv

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Blocks that many threads read lie in one place: threads with arenas of their own keep
// what was freed there from each other.
func TestBlocksShareAnArena(t *testing.T) {
	if os.Getenv("MALLOC_ARENA_MAX") != "" {
		t.Skip("the environment sets the number of arenas")
	}
	e := testEngine(t, vfs.NewMem(), EngineOptions{CacheBytes: 1, MemTableBytes: minMemTableBytes})
	db, err := e.DB(1)
	must(t, err)
	const keys = 2000
	value := make([]byte, 4<<10)
	must(t, db.Update(func(tx *Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		for i := 0; i < keys && err == nil; i++ {
			err = b.Put(fmt.Appendf(nil, "%06d", i), value)
		}
		return err
	}))
	must(t, db.Sync())
	var reading sync.WaitGroup
	for first := range 8 {
		reading.Go(func() {
			runtime.LockOSThread() // and never unlock: the thread ends here
			for i := first; i < keys; i += 8 {
				err := db.View(func(tx *Tx) error {
					if got := tx.Bucket([]byte("b")).Get(fmt.Appendf(nil, "%06d", i)); len(got) != len(value) {
						return fmt.Errorf("key %d has %d bytes", i, len(got))
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	reading.Wait()
	if arenas := threadArenas(t); arenas > 0 {
		t.Errorf("%d threads' arenas, want none", arenas)
	}
}

// threadArenas counts the heaps of glibc's arenas but the first: each is a mapping at a
// multiple of 64 MiB, of which a part is in use. Go's heap may begin in such a one, too.
func threadArenas(t *testing.T) int {
	t.Helper()
	const size = 64 << 20
	maps, err := os.Open("/proc/self/maps")
	must(t, err)
	defer maps.Close()
	ofGo := make([]byte, 64<<10)
	defer runtime.KeepAlive(ofGo)
	inGo := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(ofGo))))
	found, begin, used := 0, uint64(0), uint64(0)
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		var from, to uint64
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &from, &to); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		switch {
		case len(fields) == 5 && fields[1] == "rw-p" && from%size == 0:
			begin, used = from, to
		case len(fields) == 5 && fields[1] == "---p" && from == used && to == begin+size:
			if inGo < begin || inGo >= to {
				found++
			}
		}
	}
	return found
}
