package shardgroup_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/router"
	"github.com/skerrydb/skerry/shardgroup"
)

// site is a cluster whose groups of streams and tenants are apart, with workers and
// queries through a router.
type site struct {
	testing.TB
	c       *cluster
	router  *router.Router
	queries metastorev1.MetadataQueryServiceClient
	index   metastorev1.IndexServiceClient
	work    metastorev1.CompactionServiceClient

	mu    sync.Mutex
	added map[string]map[string]bool // by tenant
	reads int
	// Told of each step of a transfer; nil for nobody.
	watch atomic.Pointer[func(step string)]
}

var siteTenants = []string{"anna", "bert", "carl", "dora"}

// NodeClient implements router.Nodes over the nodes that run.
func (s *site) NodeClient(record *clusterv1.Node) (nodev1.NodeServiceClient, error) {
	for i := range s.c.options {
		node := s.c.node(i)
		if node != nil && node.ID() == record.GetNodeId() {
			return router.Direct(node.Service()), nil
		}
	}
	return nil, status.Error(codes.Unavailable, "connection refused")
}

func (s *site) seeds() []nodev1.NodeServiceClient {
	var all []nodev1.NodeServiceClient
	for i := range s.c.options {
		if node := s.c.node(i); node != nil {
			all = append(all, router.Direct(node.Service()))
		}
	}
	return all
}

func newSite(t testing.TB, nodes, groups int) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("clusters that compact and deliver take their time")
	}
	s := &site{TB: t, added: map[string]map[string]bool{}}
	var cluster atomic.Pointer[cluster]
	peer := func(address string) (nodev1.NodeServiceClient, error) {
		if c := cluster.Load(); c != nil {
			for i := range c.options {
				if node := c.node(i); node != nil && c.options[i].APIAddress == address {
					return router.Direct(node.Service()), nil
				}
			}
		}
		return nil, status.Errorf(codes.Unavailable, "%s: connection refused", address)
	}
	serial := 0
	s.c = foundWith(t, nodes, groups, 10*time.Millisecond, func(o *shardgroup.Options) {
		o.Compaction = quick()
		o.APIAddress, o.Peers = fmt.Sprint("node-", serial), peer
		o.OnTransfer(s.passed)
		serial++
	})
	cluster.Store(s.c)
	options := router.Options{QueryBudget: 10 * time.Second, GetBlocksBudget: 5 * time.Second}
	var err error
	if s.router, err = router.New(options, s, s.seeds, nil, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.router.Close)
	serverOptions, err := router.ServerOptions(options, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(serverOptions...)
	s.router.RegisterPublic(server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s.queries, s.index = metastorev1.NewMetadataQueryServiceClient(conn), metastorev1.NewIndexServiceClient(conn)
	s.work = metastorev1.NewCompactionServiceClient(conn)
	return s
}

// add adds a segment of all tenants, and insists.
func (s *site) add(serial int) {
	block := testBlock(serial, "", uint32(1+serial%3), 0, siteTenants...)
	// A query that sees data from before now judges it by its creation time.
	await(s, "an add", func() bool {
		ctx, cancel := context.WithTimeout(s.Context(), 2*time.Second)
		defer cancel()
		_, err := s.index.AddBlock(ctx, &metastorev1.AddBlockRequest{Block: block})
		return err == nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, tenant := range siteTenants {
		if s.added[tenant] == nil {
			s.added[tenant] = map[string]bool{}
		}
		s.added[tenant][fmt.Sprintf("%d-%s", serial, tenant)] = true
	}
}

// check demands that a query finds each datum of a tenant once. It reports false if
// the query was not answered.
func (s *site) check(ctx context.Context, tenant string) bool {
	s.mu.Lock()
	expected := make([]string, 0, len(s.added[tenant]))
	for source := range s.added[tenant] {
		expected = append(expected, source)
	}
	s.mu.Unlock()
	answer, err := s.queries.QueryMetadata(ctx, &metastorev1.QueryMetadataRequest{
		TenantId: []string{tenant}, EndTime: 1 << 62, Query: "{}", Labels: []string{sourceLabel},
	})
	if err != nil {
		return false
	}
	counts := map[string]int{}
	for _, block := range answer.GetBlocks() {
		for _, dataset := range block.GetDatasets() {
			for labels := dataset.GetLabels(); len(labels) > 0; labels = labels[1+2*labels[0]:] {
				counts[block.StringAt(labels[2])]++
			}
		}
	}
	for _, source := range expected {
		if counts[source] != 1 {
			s.Errorf("%s was found %d times", source, counts[source])
		}
	}
	for source, n := range counts {
		if n > 1 {
			s.Errorf("%s was found %d times", source, n)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return true
}

// worker compacts until the context ends; its sources come from the router.
func (s *site) worker(ctx context.Context) {
	var updates []*metastorev1.CompactionJobStatusUpdate
	for ctx.Err() == nil {
		call, cancel := context.WithTimeout(ctx, 2*time.Second)
		answer, err := s.work.PollCompactionJobs(call, &metastorev1.PollCompactionJobsRequest{JobCapacity: 4, StatusUpdates: updates})
		cancel()
		if err != nil {
			pace(ctx, 20*time.Millisecond)
			continue
		}
		updates = nil
		for _, job := range answer.GetCompactionJobs() {
			call, cancel := context.WithTimeout(ctx, 2*time.Second)
			got, err := s.index.GetBlockMetadata(call, &metastorev1.GetBlockMetadataRequest{
				Blocks: &metastorev1.BlockList{Tenant: job.GetTenant(), Shard: job.GetShard(), Blocks: job.GetSourceBlocks()},
			})
			cancel()
			if err != nil || len(got.GetBlocks()) != len(job.GetSourceBlocks()) {
				continue // the lease ends
			}
			for _, assignment := range answer.GetAssignments() {
				if assignment.GetName() == job.GetName() {
					updates = append(updates, success(assignment, merge(job, got.GetBlocks())))
				}
			}
		}
		pace(ctx, 5*time.Millisecond)
	}
}

// settled waits until nothing waits for compaction or in an outbox, and demands that
// all that was issued is finished and accepted.
func (s *site) settled(m *clusterv1.Map) {
	s.Helper()
	await(s, "the end of compaction and of deliveries", func() bool {
		for _, group := range m.Proto().GetGroups() {
			if group.GetGroupId() == clusterv1.DirectoryGroup {
				continue
			}
			got := retried(s, func() (*nodev1.CompactionStatusResponse, error) {
				return s.c.node(0).Service().CompactionStatus(s.Context(), &nodev1.CompactionStatusRequest{GroupId: group.GetGroupId()})
			})
			for _, level := range got.GetLevels() {
				if level.GetLevel() == 0 {
					return false
				}
			}
			if waitingTransfers(s, s.c.node(0), group.GetGroupId()) > 0 {
				return false
			}
		}
		return true
	})
	type mark struct{ issued, finished, accepted uint64 }
	marks := map[string]*mark{}
	of := func(stream uint32, tenant string) *mark {
		key := fmt.Sprint(stream, " ", tenant)
		if marks[key] == nil {
			marks[key] = &mark{}
		}
		return marks[key]
	}
	for _, keyspace := range []clusterv1.Keyspace{clusterv1.Keyspace_KEYSPACE_STREAM, clusterv1.Keyspace_KEYSPACE_TENANT} {
		for _, piece := range m.Cover(keyspace, 0, 0) {
			answer := retried(s, func() (*nodev1.QueryBlocksResponse, error) {
				return s.c.node(0).Service().QueryBlocks(s.Context(), &nodev1.QueryRequest{
					GroupId: piece.GroupID, Ranges: []*clusterv1.RangeRef{piece.Ref}, Tenants: siteTenants, EndTime: 1 << 62, Selector: "{}",
				})
			})
			for _, w := range answer.GetWatermarks().GetIssued() {
				m := of(w.GetStream(), w.GetTenant())
				m.issued, m.finished = w.GetIssued(), w.GetFinished()
			}
			for _, w := range answer.GetWatermarks().GetAccepted() {
				of(w.GetStream(), w.GetTenant()).accepted = w.GetAccepted()
			}
			for _, block := range answer.GetBlocks() {
				if block.GetTransfer() > 0 || keyspace == clusterv1.Keyspace_KEYSPACE_STREAM {
					s.Errorf("block %s of tenant %s is left in group %d", block.GetId(), block.GetTenant(), piece.GroupID)
				}
			}
		}
	}
	for key, m := range marks {
		if m.issued == 0 || m.issued != m.finished || m.issued != m.accepted {
			s.Errorf("%s: issued %d, finished %d, accepted %d", key, m.issued, m.finished, m.accepted)
		}
	}
	if len(marks) == 0 {
		s.Error("nothing was transferred")
	}
}

// Segments come in, are compacted, and their tenants' blocks arrive at the groups
// of the tenants, where they are compacted further, while leaders change and a
// node restarts; each query finds each datum once.
func TestTransfersBetweenGroups(t *testing.T) {
	for name, groups := range map[string]int{"one group for all": 1, "groups apart": 4} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 3, groups)
			m := rangeMapSoon(t, s.c.node(0))
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var others sync.WaitGroup
			for range 2 {
				others.Go(func() { s.worker(ctx) })
			}
			for _, tenant := range siteTenants[:2] {
				others.Go(func() {
					for ctx.Err() == nil {
						s.check(ctx, tenant)
						pace(ctx, 5*time.Millisecond)
					}
				})
			}
			for serial := range 60 {
				s.add(serial)
				switch serial {
				case 20, 35:
					for group := range groups {
						s.moveLeader(uint64(dataGroup + group))
					}
				case 45:
					victim, _ := s.c.leader(t, dataGroup)
					s.c.stop(t, victim)
					s.c.start(t, victim)
				}
			}
			s.settled(m)
			stop()
			others.Wait()
			for _, tenant := range siteTenants {
				await(t, "a query", func() bool { return s.check(t.Context(), tenant) })
			}
			if s.reads < 10 {
				t.Errorf("%d queries were answered", s.reads)
			}
		})
	}
}

func (s *site) moveLeader(group uint64) {
	leader, follower := s.c.leader(s, group)
	node, m := s.c.node(leader), s.router.Maps().Map()
	if node == nil || m == nil {
		return
	}
	for _, replica := range m.Group(group).GetReplicas() {
		if to := s.c.node(follower); to != nil && replica.GetNodeId() == to.ID() {
			_ = node.TransferLeadership(group, replica.GetReplicaId())
		}
	}
}

// At each step of a transfer its leader, or the one of the other side, is killed and
// started again: in the end nothing is lost, twice or under way.
func TestTransfersSurviveCrashes(t *testing.T) {
	if testing.Short() {
		t.Skip("restarts a node twelve times")
	}
	s := newSite(t, 3, 2)
	m := rangeMapSoon(t, s.c.node(0))
	source := m.Lookup(clusterv1.Keyspace_KEYSPACE_STREAM, clusterv1.StreamPoint(1)).GetGroupId()
	victims := []uint64{source}
	for _, r := range m.Ranges(clusterv1.Keyspace_KEYSPACE_TENANT) {
		if r.GetGroupId() != source {
			victims = append(victims, r.GetGroupId())
			break
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var others sync.WaitGroup
	others.Go(func() { s.worker(ctx) })
	others.Go(func() {
		for ctx.Err() == nil {
			s.check(ctx, siteTenants[0])
			pace(ctx, 5*time.Millisecond)
		}
	})
	serial := 0
	for _, step := range []string{"completed", "before send", "accepted", "answered", "before ack", "acked"} {
		for _, victim := range victims {
			s.crashAt(step, victim, func() {
				s.add(serial)
				serial++
			})
		}
	}
	s.settled(m)
	stop()
	others.Wait()
	for _, tenant := range siteTenants {
		await(t, "a query", func() bool { return s.check(t.Context(), tenant) })
	}
}

// passed is told of each step of a transfer, at any node.
func (s *site) passed(step string) {
	if watch := s.watch.Load(); watch != nil {
		(*watch)(step)
	}
}

// crashAt kills the leader of a group when a transfer comes to a step, and starts it
// again.
func (s *site) crashAt(step string, victim uint64, more func()) {
	s.Helper()
	reached, gone := make(chan struct{}), make(chan struct{})
	var once sync.Once
	watch := func(at string) {
		if at == step {
			once.Do(func() { close(reached) })
			<-gone
		}
	}
	s.watch.Store(&watch)
	defer s.watch.Store(nil)
	more()
	deadline := time.After(time.Minute)
	for waiting := true; waiting; {
		select {
		case <-reached:
			waiting = false
		case <-deadline:
			s.Fatalf("no transfer came to the step %q", step)
		case <-time.After(200 * time.Millisecond):
			more()
		}
	}
	i, _ := s.c.leader(s, victim)
	// The process is as good as dead from here on: what it still does, others see.
	var closing sync.WaitGroup
	closing.Go(func() { s.c.stop(s, i) })
	close(gone)
	closing.Wait()
	s.c.start(s, i)
	if s.c.node(i) == nil {
		s.FailNow()
	}
}
