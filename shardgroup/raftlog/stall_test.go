package raftlog

import (
	"sync"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
)

// Dragonboat starts and removes replicas under a lock that its callback takes, too: a
// save that has to wait for flushes must not wait for that lock as well.
func TestStallsTakeNoLocks(t *testing.T) {
	var mu sync.Mutex
	callback := func(config.LogDBInfo) {
		mu.Lock()
		defer mu.Unlock()
	}
	opened, err := NewFactory(0, zap.NewNop(), prometheus.NewRegistry()).Create(config.NodeHostConfig{}, callback, []string{t.TempDir()}, nil)
	must(t, err)
	l := opened.(*Log)
	stalls := func() float64 {
		m := &dto.Metric{}
		must(t, l.metrics.stalls.Write(m))
		return m.GetCounter().GetValue()
	}
	done := make(chan error, 1)
	mu.Lock()
	go func() {
		// More than the memory tables may hold.
		command := make([]byte, 70<<20)
		for index := uint64(1); index <= 8 && stalls() == 0; index++ {
			entry := raftpb.Entry{Term: 1, Index: index, Cmd: command}
			if err := l.SaveRaftState([]raftpb.Update{{ShardID: 1, ReplicaID: 1, State: raftpb.State{Term: 1}, EntriesToSave: []raftpb.Entry{entry}}}, 1); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(time.Minute):
		t.Fatal("a save waits for a lock of dragonboat's")
	}
	mu.Unlock()
	if stalls() == 0 {
		t.Error("no save had to wait")
	}
	must(t, l.Close())
}
