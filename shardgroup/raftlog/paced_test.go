package raftlog

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// A disk on which no table can be made is tried again, less and less often, and saves
// go on as far as memory allows.
func TestFailingFlushesArePaced(t *testing.T) {
	const tries = 6 // pauses of 10, 20, 40, 80 and 160 ms
	var mu sync.Mutex
	var first, last time.Time
	made, reached := 0, make(chan struct{})
	toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpCreate || !strings.HasSuffix(op.Path, ".sst") {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		switch made++; made {
		case 1:
			first = time.Now()
		case tries:
			last = time.Now()
			close(reached)
		}
		return errors.New("disk broken")
	})}
	core, lines := observer.New(zapcore.WarnLevel)
	l, err := open(errorfs.Wrap(vfs.NewMem(), toggle), "log", 0, zap.New(core), prometheus.NewRegistry())
	must(t, err)
	save := func(index uint64) {
		t.Helper()
		entry := raftpb.Entry{Term: 1, Index: index, Cmd: make([]byte, 9<<20)}
		must(t, l.SaveRaftState([]raftpb.Update{{ShardID: 1, ReplicaID: 1, State: raftpb.State{Term: 1}, EntriesToSave: []raftpb.Entry{entry}}}, 1))
	}
	toggle.On()
	for index := range uint64(3) {
		save(1 + index)
	}
	select {
	case <-reached:
	case <-time.After(time.Minute):
		t.Fatal("flushing was not tried again")
	}
	toggle.Off()
	if took := last.Sub(first); took < 310*time.Millisecond {
		t.Errorf("%d tries within %s", tries, took)
	}
	if n := lines.Len(); n == 0 || n > 2*tries {
		t.Errorf("%d lines logged", n)
	}
	// More than fits in memory: it must have been written out.
	for index := range uint64(8) {
		save(4 + index)
	}
	must(t, l.Close())
}
