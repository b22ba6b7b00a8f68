package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/statemachine"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// commandLog is a state machine that keeps all commands. To dragonboat it is on disk, so
// that snapshots are streamed.
type commandLog struct {
	mu       sync.Mutex
	commands [][]byte
}

func (l *commandLog) Open(<-chan struct{}) (uint64, error) { return 0, nil }
func (l *commandLog) Sync() error                          { return nil }
func (l *commandLog) Close() error                         { return nil }

func (l *commandLog) Update(entries []statemachine.Entry) ([]statemachine.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, entry := range entries {
		l.commands = append(l.commands, bytes.Clone(entry.Cmd))
		entries[i].Result.Value = uint64(len(l.commands))
	}
	return entries, nil
}

func (l *commandLog) Lookup(any) (any, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.commands), nil
}

func (l *commandLog) PrepareSnapshot() (any, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([][]byte{}, l.commands...), nil
}

func (l *commandLog) SaveSnapshot(state any, to io.Writer, _ <-chan struct{}) error {
	for _, command := range state.([][]byte) {
		if _, err := to.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(command))), command...)); err != nil {
			return err
		}
	}
	return nil
}

func (l *commandLog) RecoverFromSnapshot(from io.Reader, _ <-chan struct{}) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commands = nil
	for {
		var length [4]byte
		if _, err := io.ReadFull(from, length[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		command := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(from, command); err != nil {
			return err
		}
		l.commands = append(l.commands, command)
	}
}

// member is a node host on the transport.
type member struct {
	*dragonboat.NodeHost
	id      uint64
	address string
	peer    *peer // for its metrics only
	faults  *faults
	state   *commandLog
	// Changes the replica's settings, if set.
	change func(*config.Config)
}

const group = 5

func startMember(t *testing.T, id uint64, address string, options Options, given timeouts) *member {
	t.Helper()
	m := &member{id: id, address: address, peer: &peer{registry: prometheus.NewRegistry()}, faults: &faults{}}
	options.Fault = m.faults
	factory, err := NewFactory(options, zap.NewNop(), m.peer.registry)
	if err != nil {
		t.Fatal(err)
	}
	factory.timeouts = factory.timeouts.but(given)
	hostConfig := config.NodeHostConfig{
		NodeHostDir: filepath.Join(t.TempDir(), "raft"), RTTMillisecond: 10, RaftAddress: address, DeploymentID: deployment,
		Expert: config.ExpertConfig{
			LogDB:            config.GetTinyMemLogDBConfig(),
			Engine:           config.EngineConfig{ExecShards: 1, CommitShards: 1, ApplyShards: 1, SnapshotShards: 1, CloseShards: 1},
			TransportFactory: factory,
		},
	}
	if m.NodeHost, err = dragonboat.NewNodeHost(hostConfig); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.NodeHost.Close)
	return m
}

func (m *member) start(t *testing.T, members map[uint64]string, join bool) {
	t.Helper()
	m.state = &commandLog{}
	settings := config.Config{
		ReplicaID: m.id, ShardID: group, ElectionRTT: 20, HeartbeatRTT: 2, CheckQuorum: true,
		SnapshotEntries: 20, CompactionOverhead: 2,
	}
	if m.change != nil {
		m.change(&settings)
	}
	eventually(t, "the replica to start", func() bool {
		err := m.StartOnDiskReplica(members, join, func(uint64, uint64) statemachine.IOnDiskStateMachine { return m.state }, settings)
		if err != nil && !errors.Is(err, dragonboat.ErrShardAlreadyExist) { // one that was stopped goes in its time
			t.Fatal(err)
		}
		return err == nil
	})
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func startMembers(t *testing.T, n int, optionsOf func(id uint64) Options) []*member {
	t.Helper()
	members, start := prepareMembers(t, n, optionsOf, timeouts{})
	start()
	return members
}

// prepareMembers returns members, and what starts their replicas.
func prepareMembers(t *testing.T, n int, optionsOf func(id uint64) Options, given timeouts) ([]*member, func()) {
	t.Helper()
	logger.GetLogger("transport").SetLevel(logger.CRITICAL)
	for _, name := range []string{"raft", "dragonboat", "config", "logdb", "rsm", "order", "grpc", "raftpb"} {
		logger.GetLogger(name).SetLevel(logger.CRITICAL)
	}
	var members []*member
	initial := map[uint64]string{}
	for i := range n {
		id := uint64(i + 1)
		members = append(members, startMember(t, id, freeAddress(t), optionsOf(id), given))
		initial[id] = members[i].address
	}
	return members, func() {
		for _, m := range members {
			m.start(t, initial, false)
		}
	}
}

// propose adds a command, whatever elections happen.
func (m *member) propose(t *testing.T, command []byte) {
	t.Helper()
	eventually(t, "a proposal to be applied", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := m.SyncPropose(ctx, m.GetNoOPSession(group), command)
		return err == nil
	})
}

func (m *member) count(t *testing.T) int {
	t.Helper()
	n, err := m.state.Lookup(nil)
	if err != nil {
		t.Fatal(err)
	}
	return n.(int)
}

func (m *member) has(command string) bool {
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	return slices.ContainsFunc(m.state.commands, func(c []byte) bool { return string(c) == command })
}

// TestCluster runs a group of three over the transport and streams its state to a
// fourth replica.
func TestCluster(t *testing.T) {
	ca := newAuthority(t)
	for name, optionsOf := range map[string]func(id uint64) Options{
		"plain": func(id uint64) Options {
			return Options{LocalIP: netip.AddrFrom4([4]byte{127, 0, 0, byte(10 + id)})}
		},
		"mutual TLS": func(id uint64) Options {
			options, _ := ca.mutual(ca.issue(t, fmt.Sprint("node ", id)))
			return options
		},
	} {
		t.Run(name, func(t *testing.T) {
			members := startMembers(t, 3, optionsOf)
			for i := range 60 {
				members[i%3].propose(t, noise[i:i+100<<10])
			}
			for _, m := range members {
				eventually(t, "all commands at each replica", func() bool { return m.count(t) >= 60 })
				for _, metric := range []string{"sent_frames_total", "received_frames_total"} {
					if m.peer.value(t, metric, "messages") == 0 {
						t.Errorf("node %d: no %s", m.id, metric)
					}
				}
			}

			// The log was compacted: a new replica needs the state, of several chunks.
			fourth := startMember(t, 4, freeAddress(t), optionsOf(4), timeouts{})
			eventually(t, "the replica to be added", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				err := members[0].SyncRequestAddReplica(ctx, group, 4, fourth.address, 0)
				if err == nil {
					return true
				}
				membership, err := members[0].SyncGetShardMembership(ctx, group)
				return err == nil && membership.Nodes[4] != ""
			})
			fourth.start(t, nil, true)
			eventually(t, "the state at the fourth replica", func() bool { return fourth.count(t) == members[0].count(t) })
			if got := fourth.peer.value(t, "received_frames_total", "snapshot"); got < 3 {
				t.Errorf("%v chunks", got)
			}
			fourth.state.mu.Lock()
			defer fourth.state.mu.Unlock()
			members[0].state.mu.Lock()
			defer members[0].state.mu.Unlock()
			for i, command := range members[0].state.commands {
				if !bytes.Equal(command, fourth.state.commands[i]) {
					t.Fatalf("command %d differs", i)
				}
			}
		})
	}
}

// TestPartition: a leader that a fault cuts off is replaced, and comes back.
func TestPartition(t *testing.T) {
	members := startMembers(t, 3, func(uint64) Options { return Options{} })
	members[0].propose(t, []byte("before"))
	var leader *member
	leaderAt := func(m *member) uint64 {
		id, _, known, err := m.GetLeaderID(group)
		if err != nil || !known {
			return 0
		}
		return id
	}
	eventually(t, "a leader", func() bool {
		if id := leaderAt(members[0]); id != 0 {
			leader = members[id-1]
		}
		return leader != nil
	})
	for _, m := range members {
		m.faults.set(func(_ context.Context, target string, _ Traffic) error {
			if m == leader || target == leader.address {
				return ErrDrop
			}
			return nil
		})
	}
	other := members[leader.id%3]
	eventually(t, "another leader", func() bool { id := leaderAt(other); return id != 0 && id != leader.id })
	other.propose(t, []byte("without it"))
	if leader.has("without it") {
		t.Error("the leader was not cut off")
	}
	for _, m := range members {
		m.faults.set(nil)
	}
	eventually(t, "the old leader to catch up", func() bool { return leader.has("without it") })
}
