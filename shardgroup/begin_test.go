package shardgroup_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/skerrydb/skerry/shardgroup"
)

// panicking fails as the log does on a disk that fails while it is opened.
type panicking struct{ config.TransportFactory }

func (panicking) Validate(string) bool { return true }

func (panicking) Create(config.NodeHostConfig, raftio.MessageHandler, raftio.ChunkHandler) raftio.ITransport {
	panic(errors.New("close of closed channel"))
}

// A start over which dragonboat panics ends with an error that says what to do.
func TestPanicOfRaftIsAnError(t *testing.T) {
	node, err := shardgroup.Open(t.Context(), shardgroup.Options{
		DataDir: t.TempDir(), RaftAddress: freeAddress(t), Found: true, Groups: 1, Transport: panicking{},
		CacheBytes: 8 << 20, MemTableBytes: 1 << 20,
	}, zaptest.NewLogger(t), prometheus.NewRegistry())
	if err == nil {
		closeNode(t, node)
		t.Fatal("the node started")
	}
	if !strings.Contains(err.Error(), "check the disk") || !strings.Contains(err.Error(), "close of closed channel") {
		t.Errorf("got %v", err)
	}
}
