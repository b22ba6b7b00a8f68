package enginebench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/proto/selector"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

const (
	group = 1
	epoch = 1
	// What a node gives to it by default.
	cacheBytes = 64 << 20
	bytesMax   = 1 << 30
)

// machine is a data group of one replica that owns everything, and a connection to it: it answers
// metastore.v1's calls as a server would, without a wire.
type machine struct {
	engine Engine
	dir    string

	store   *kv.Engine
	machine *statemachine.Machine
	applied uint64
}

var _ grpc.ClientConnInterface = (*machine)(nil)

// open opens what is in a folder.
func open(engine Engine, dir string) (*machine, error) {
	m := &machine{engine: engine, dir: dir}
	var err error
	if m.store, err = engine.open(dir); err != nil {
		return nil, err
	}
	db, err := m.store.DB(group)
	if err != nil {
		return nil, errors.Join(err, m.store.Close())
	}
	m.machine = statemachine.NewData(db, statemachine.NewCache(cacheBytes))
	if m.applied, err = m.machine.Open(nil); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *machine) close() error { return errors.Join(m.machine.Close(), m.store.Close()) }

// begin makes the group the owner of everything.
func (m *machine) begin() error {
	init := &raftlogv1.InitGroup{ClusterId: "bench", GroupId: group, Ranges: []*clusterv1.Range{
		{RangeId: 1, Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, GroupId: group, Epoch: epoch},
		{RangeId: 2, Keyspace: clusterv1.Keyspace_KEYSPACE_STREAM, GroupId: group, Epoch: epoch},
	}}
	payload, err := init.MarshalVT()
	if err != nil {
		return err
	}
	entry, err := encode(&raftlogv1.Command{Kind: raftlogv1.Kind_KIND_INIT_GROUP, RequestId: make([]byte, 16), Payload: payload})
	if err != nil {
		return err
	}
	return m.apply(entry)
}

// add is the command that adds a block.
func add(block *metastorev1.BlockMeta, number uint64) (*raftlogv1.Command, error) {
	payload, err := block.MarshalVT()
	keyspace, point := clusterv1.BlockPoint(block.TenantName(), block.GetShard())
	return &raftlogv1.Command{
		Kind: raftlogv1.Kind_KIND_ADD_BLOCK, RequestId: binary.BigEndian.AppendUint64(make([]byte, 8), number), Payload: payload,
		Range: &clusterv1.RangeRef{Keyspace: keyspace, Lo: point, Hi: point + 1, Epoch: epoch},
	}, err
}

// encode makes an entry of Raft's log.
func encode(commands ...*raftlogv1.Command) ([]byte, error) {
	return (&raftlogv1.Entry{ProposedAt: uint64(time.Now().UnixMilli()), Commands: commands}).MarshalVT()
}

// apply applies an entry. Whatever it does not accept is an error.
func (m *machine) apply(entry []byte) error {
	done, err := m.machine.Update([]sm.Entry{{Index: m.applied + 1, Cmd: entry}})
	if err != nil {
		return err
	}
	m.applied++
	var results raftlogv1.Results
	if err := results.UnmarshalVT(done[0].Result.Data); err != nil {
		return err
	}
	for _, r := range results.GetResults() {
		if r.GetStatus() != raftlogv1.Result_STATUS_OK {
			return fmt.Errorf("an entry was refused: %s: %s", r.GetStatus(), r.GetMessage())
		}
	}
	return nil
}

// Invoke answers a query.
func (m *machine) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	switch request := args.(type) {
	case *metastorev1.QueryMetadataRequest:
		q, err := blockQuery(ctx, request)
		if err != nil {
			return err
		}
		found, err := m.machine.Lookup(statemachine.QueryBlocks(q))
		if err != nil {
			return err
		}
		return decodeBlocks(found.(*nodev1.QueryBlocksResponse), reply.(*metastorev1.QueryMetadataResponse))
	case *metastorev1.QueryMetadataLabelsRequest:
		q, err := blockQuery(ctx, request)
		if err != nil {
			return err
		}
		found, err := m.machine.Lookup(statemachine.QueryLabels(q))
		if err != nil {
			return err
		}
		reply.(*metastorev1.QueryMetadataLabelsResponse).Labels = found.(*nodev1.QueryLabelsResponse).GetLabels()
		return nil
	}
	return status.Errorf(codes.Unimplemented, "%s is not measured in this process", method)
}

// NewStream is not there.
func (m *machine) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "no streams in this process")
}

type query interface {
	GetTenantId() []string
	GetStartTime() int64
	GetEndTime() int64
	GetQuery() string
	GetLabels() []string
}

func blockQuery(ctx context.Context, q query) (statemachine.BlockQuery, error) {
	matchers, err := selector.Parse(q.GetQuery())
	return statemachine.BlockQuery{
		Context: ctx, Tenants: q.GetTenantId(), Start: q.GetStartTime(), End: q.GetEndTime(), Matchers: matchers, Labels: q.GetLabels(), MaxBytes: bytesMax,
		Ranges: []*clusterv1.RangeRef{
			{Keyspace: clusterv1.Keyspace_KEYSPACE_TENANT, Epoch: epoch}, {Keyspace: clusterv1.Keyspace_KEYSPACE_STREAM, Epoch: epoch},
		},
	}, err
}

// decodeBlocks does what a client of the wire would.
func decodeBlocks(found *nodev1.QueryBlocksResponse, reply *metastorev1.QueryMetadataResponse) error {
	for _, encoded := range found.GetBlocks() {
		block := &metastorev1.BlockMeta{}
		if err := block.UnmarshalVT(encoded.GetBlock()); err != nil {
			return err
		}
		reply.Blocks = append(reply.Blocks, block)
	}
	return nil
}
