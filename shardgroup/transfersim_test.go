package shardgroup_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/schedule"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/shardgroup"
	"github.com/skerrydb/skerry/shardgroup/delivery"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

// transferSim is a cluster in one goroutine: real state machines, the real planner
// and delivery loops; logs, network, clocks and workers are made up. A seed decides
// all that happens.
type transferSim struct {
	ctx    context.Context
	random *rand.Rand
	store  *simStore
	now    time.Time
	groups map[uint64]*simGroup
	ids    []uint64 // of the groups, sorted
	// What the directory has published, each version; couriers may be late.
	maps    []*clusterv1.Map
	rangeID uint64
	config  schedule.Config
	// Breaks one rule on purpose, empty for none.
	ablation string

	shards  []uint32
	tenants []string
	// Sources by tenant whose add was acknowledged.
	added  map[string]map[string]bool
	serial int

	couriers []*simCourier
	jobs     []simJob
	readers  []*simReader
	// Maps that are changed in a group and not yet published.
	unpublished []func(*clusterv1.RangeMap)
	stats       simStats
	steps       []string // of what happened, for failures
}

type simStats struct {
	jobs, batches, lost, late, acks, routes, splits, reads, rereads, giveUps, leaders, crashes int
}

// simStore hands out namespaces of one engine.
type simStore struct {
	engine *kv.Engine
	cache  *statemachine.Cache
	last   uint64
}

func (s *simStore) machine() (*statemachine.Machine, error) {
	s.last++
	db, err := s.engine.DB(s.last)
	if err != nil {
		return nil, err
	}
	return statemachine.NewData(db, s.cache), nil
}

// simGroup is a log and the replicas that apply it.
type simGroup struct {
	id       uint64
	log      [][]byte
	replicas []*simReplica
	leader   int
	term     uint64
}

type simReplica struct {
	machine *statemachine.Machine
	applied int
}

// apply brings a replica up to a length of the log, and returns the last result.
func (g *simGroup) apply(r *simReplica, upTo int) (*raftlogv1.Result, error) {
	if r.applied >= upTo {
		return nil, nil
	}
	var entries []sm.Entry
	for i := r.applied; i < upTo; i++ {
		entries = append(entries, sm.Entry{Index: uint64(i + 1), Cmd: g.log[i]})
	}
	entries, err := r.machine.Update(entries)
	if err != nil {
		return nil, err
	}
	r.applied = upTo
	results := &raftlogv1.Results{}
	if err := results.UnmarshalVT(entries[len(entries)-1].Result.Data); err != nil {
		return nil, err
	}
	return results.GetResults()[0], nil
}

// must ends the simulation of a seed: something is wrong with it, or with the code.
func must(err error) {
	if err != nil {
		panic(simFailure{err})
	}
}

type simFailure struct{ error }

func (s *transferSim) failf(format string, args ...any) { must(fmt.Errorf(format, args...)) }

func (s *transferSim) note(format string, args ...any) {
	s.steps = append(s.steps, fmt.Sprintf(format, args...))
}

// chance is true once in n times.
func (s *transferSim) chance(n int) bool { return s.random.IntN(n) == 0 }

func pick[T any](s *transferSim, from []T) T { return from[s.random.IntN(len(from))] }

func newTransferSim(ctx context.Context, store *simStore, seed uint64, ablation string) *transferSim {
	s := &transferSim{
		ctx: ctx, random: rand.New(rand.NewPCG(seed, 0)), store: store, now: blockTime.Add(time.Minute),
		groups: map[uint64]*simGroup{}, config: quick(), ablation: ablation,
		shards: []uint32{1, 2}, tenants: []string{"anna", "bert", "carl"}, added: map[string]map[string]bool{},
	}
	groups := 1 + s.random.IntN(3)
	// Streams and tenants share groups, or do not.
	streams := 1 + s.random.IntN(groups)
	source, err := clusterv1.NewRangeMap(clusterv1.InitialLayout{
		ClusterID: "sim", Node: &clusterv1.Node{NodeId: "n"}, Groups: groups, StreamGroups: streams,
	})
	must(err)
	m, err := clusterv1.NewMap(source)
	must(err)
	s.maps = []*clusterv1.Map{m}
	for _, r := range source.GetRanges() {
		s.rangeID = max(s.rangeID, r.GetRangeId())
	}
	for _, record := range source.GetGroups() {
		if id := record.GetGroupId(); id != clusterv1.DirectoryGroup {
			s.found(id, source)
		}
	}
	return s
}

func (s *transferSim) found(id uint64, source *clusterv1.RangeMap) {
	g := &simGroup{id: id}
	for range 2 {
		machine, err := s.store.machine()
		must(err)
		g.replicas = append(g.replicas, &simReplica{machine: machine})
	}
	s.groups[id], s.ids = g, append(s.ids, id)
	init := &raftlogv1.InitGroup{ClusterId: "sim", GroupId: id}
	for _, r := range source.GetRanges() {
		if r.GetGroupId() == id {
			init.Ranges = append(init.Ranges, r)
		}
	}
	payload, err := init.MarshalVT()
	must(err)
	s.expect(s.propose(g, &raftlogv1.Command{Kind: raftlogv1.Kind_KIND_INIT_GROUP, Payload: payload}))
	s.lead(g, 0)
}

// propose appends a command, which the leader applies at once.
func (s *transferSim) propose(g *simGroup, command *raftlogv1.Command) *raftlogv1.Result {
	s.now = s.now.Add(time.Millisecond)
	command.RequestId = make([]byte, 16)
	for i := range command.RequestId {
		command.RequestId[i] = byte(s.random.Uint32())
	}
	encoded, err := (&raftlogv1.Entry{ProposedAt: uint64(s.now.UnixNano()), Commands: []*raftlogv1.Command{command}}).MarshalVT()
	must(err)
	leader := g.replicas[g.leader]
	_, err = g.apply(leader, len(g.log))
	must(err)
	g.log = append(g.log, encoded)
	result, err := g.apply(leader, len(g.log))
	must(err)
	return result
}

func (s *transferSim) expect(result *raftlogv1.Result) {
	if status := result.GetStatus(); status != raftlogv1.Result_STATUS_OK && status != raftlogv1.Result_STATUS_ALREADY {
		s.failf("%s: %s", status, result.GetMessage())
	}
}

// lead makes a replica the leader; the couriers of the one before go on for a while.
func (s *transferSim) lead(g *simGroup, replica int) {
	g.leader = replica
	g.term++
	payload, err := (&raftlogv1.ClaimLeadership{NodeId: fmt.Sprint(replica), Term: g.term}).MarshalVT()
	must(err)
	s.expect(s.propose(g, &raftlogv1.Command{Kind: raftlogv1.Kind_KIND_CLAIM_LEADERSHIP, Payload: payload}))
	config := delivery.Defaults()
	config.Random = s.random.Float64
	config.BatchTransfers, config.Concurrency = 1+s.random.IntN(4), 1+s.random.IntN(4)
	s.couriers = append(s.couriers, &simCourier{group: g, replica: g.replicas[replica], loop: delivery.New(config), version: s.random.IntN(len(s.maps))})
}

// crash loses what a replica had in memory, and on its disk what was not synced.
func (s *transferSim) crash(g *simGroup, replica int) {
	s.stats.crashes++
	lost := g.replicas[replica]
	s.couriers = slices.DeleteFunc(s.couriers, func(c *simCourier) bool { return c.replica == lost })
	machine, err := s.store.machine()
	must(err)
	g.replicas[replica] = &simReplica{machine: machine}
	if replica == g.leader {
		_, err = g.apply(g.replicas[1-replica], len(g.log))
		must(err)
		s.lead(g, 1-replica)
	}
	if len(g.log) > 0 {
		_, err = g.apply(g.replicas[replica], s.random.IntN(len(g.log)))
		must(err)
	}
}

// read answers a query from any replica, as of now.
func (s *transferSim) read(g *simGroup, query statemachine.Query) (any, error) {
	replica := pick(s, g.replicas)
	_, err := g.apply(replica, len(g.log))
	must(err)
	return replica.machine.Lookup(query)
}

func (s *transferSim) inspect(r *simReplica, fn func(statemachine.View)) {
	_, err := r.machine.Lookup(statemachine.Inspect{Fn: func(v statemachine.View) error {
		fn(v)
		return nil
	}})
	must(err)
}

// current is the map as the groups know it: published, or about to be.
func (s *transferSim) current() *clusterv1.Map { return s.maps[len(s.maps)-1] }

func (s *transferSim) publish() {
	if len(s.unpublished) == 0 {
		return
	}
	source := &clusterv1.RangeMap{}
	encoded, err := s.current().Proto().MarshalVT()
	must(err)
	must(source.UnmarshalVT(encoded))
	s.unpublished[0](source)
	s.unpublished = s.unpublished[1:]
	source.Cluster.MapVersion++
	clusterv1.SortRanges(source.Ranges)
	m, err := clusterv1.NewMap(source)
	must(err)
	s.maps = append(s.maps, m)
}

// resize splits a range, or merges two.
func (s *transferSim) resize() {
	if len(s.unpublished) > 0 {
		return
	}
	ranges := s.current().Proto().GetRanges()
	r := pick(s, ranges)
	before, after := []*clusterv1.Range{r}, []*clusterv1.Range(nil)
	at := s.border(r)
	next := slices.IndexFunc(ranges, func(o *clusterv1.Range) bool {
		return o.GetKeyspace() == r.GetKeyspace() && r.GetHi() != 0 && o.GetLo() == r.GetHi() && o.GetGroupId() == r.GetGroupId()
	})
	made := func(lo, hi, epoch uint64) *clusterv1.Range {
		s.rangeID++
		return &clusterv1.Range{RangeId: s.rangeID, Keyspace: r.GetKeyspace(), Lo: lo, Hi: hi, GroupId: r.GetGroupId(), Epoch: epoch}
	}
	switch {
	case next >= 0 && s.chance(2):
		before = append(before, ranges[next])
		after = []*clusterv1.Range{made(r.GetLo(), ranges[next].GetHi(), max(r.GetEpoch(), ranges[next].GetEpoch())+1)}
	case at > r.GetLo() && (at < r.GetHi() || r.GetHi() == 0):
		after = []*clusterv1.Range{made(r.GetLo(), at, r.GetEpoch()+1), made(at, r.GetHi(), r.GetEpoch()+1)}
	default:
		return
	}
	s.stats.splits++
	s.note("ranges %v become %v", before, after)
	payload, err := (&raftlogv1.ReplaceRanges{OperationId: uint64(s.stats.splits), Before: before, After: after}).MarshalVT()
	must(err)
	s.expect(s.propose(s.groups[r.GetGroupId()], &raftlogv1.Command{Kind: raftlogv1.Kind_KIND_REPLACE_RANGES, Payload: payload}))
	s.unpublished = append(s.unpublished, func(m *clusterv1.RangeMap) {
		m.Ranges = append(slices.DeleteFunc(m.Ranges, func(o *clusterv1.Range) bool {
			return slices.ContainsFunc(before, func(b *clusterv1.Range) bool { return b.GetRangeId() == o.GetRangeId() })
		}), after...)
	})
}

// border is a place in a range, close to what it holds.
func (s *transferSim) border(r *clusterv1.Range) uint64 {
	if r.GetKeyspace() == clusterv1.Keyspace_KEYSPACE_STREAM {
		return clusterv1.StreamPoint(pick(s, s.shards)) + uint64(s.random.IntN(2))
	}
	return clusterv1.TenantPoint(pick(s, s.tenants), pick(s, s.shards)) + uint64(s.random.IntN(2))
}

// add adds a segment to its stream.
func (s *transferSim) add() {
	s.serial++
	tenants := slices.Clone(s.tenants)
	s.random.Shuffle(len(tenants), func(i, k int) { tenants[i], tenants[k] = tenants[k], tenants[i] })
	block := testBlock(s.serial, "", pick(s, s.shards), 0, tenants[:1+s.random.IntN(len(tenants))]...)
	encoded, err := block.MarshalVT()
	must(err)
	for range 10 {
		piece := s.piece("", block.GetShard())
		result := s.propose(s.groups[piece.GroupID], &raftlogv1.Command{Kind: raftlogv1.Kind_KIND_ADD_BLOCK, Range: piece.Ref, Payload: encoded})
		if result.GetStatus() == raftlogv1.Result_STATUS_ROUTE {
			s.publish()
			continue
		}
		s.expect(result)
		break
	}
	for _, dataset := range block.GetDatasets() {
		tenant := block.StringAt(dataset.GetTenant())
		if s.added[tenant] == nil {
			s.added[tenant] = map[string]bool{}
		}
		s.added[tenant][block.StringAt(dataset.GetLabels()[4])] = true
	}
	s.note("segment %d of stream %d for %v", s.serial, block.GetShard(), s.added)
}

func (s *transferSim) piece(tenant string, shard uint32) clusterv1.Piece {
	r := s.current().Lookup(clusterv1.BlockPoint(tenant, shard))
	return clusterv1.Piece{GroupID: r.GetGroupId(), Ref: &clusterv1.RangeRef{Keyspace: r.GetKeyspace(), Lo: r.GetLo(), Hi: r.GetHi(), Epoch: r.GetEpoch()}}
}

// simJob is a job that a worker has.
type simJob struct {
	group      uint64
	job        *metastorev1.CompactionJob
	assignment *metastorev1.CompactionJobAssignment
}

// work polls a group, with the results of what a worker has of it.
func (s *transferSim) work() {
	g := s.groups[pick(s, s.ids)]
	poll := &metastorev1.PollCompactionJobsRequest{JobCapacity: 2}
	s.jobs = slices.DeleteFunc(s.jobs, func(j simJob) bool {
		if j.group != g.id || s.chance(3) {
			return false
		}
		if s.chance(10) { // the worker crashed
			return true
		}
		result, ok := s.compact(j)
		if ok {
			poll.StatusUpdates = append(poll.StatusUpdates, success(j.assignment, result))
		}
		return ok
	})
	leader := g.replicas[g.leader]
	_, err := g.apply(leader, len(g.log))
	must(err)
	var decision *raftlogv1.CompactionDecision
	var answer *metastorev1.PollCompactionJobsResponse
	s.inspect(leader, func(v statemachine.View) {
		decision, answer, err = shardgroup.Decide(v, s.config, planner.Time(s.now.UnixNano()), poll)
	})
	must(err)
	payload, err := decision.MarshalVT()
	must(err)
	s.expect(s.propose(g, &raftlogv1.Command{Kind: raftlogv1.Kind_KIND_DECIDE_COMPACTION, Payload: payload}))
	s.stats.jobs += len(decision.GetComplete())
	if len(decision.GetComplete()) > 0 {
		s.note("group %d completes %v", g.id, decision.GetComplete())
	}
	for _, job := range answer.GetCompactionJobs() {
		for _, assignment := range answer.GetAssignments() {
			if assignment.GetName() == job.GetName() {
				s.jobs = append(s.jobs, simJob{g.id, job, assignment})
			}
		}
	}
}

// compact does a worker's work; false if the sources cannot be read now.
func (s *transferSim) compact(j simJob) (*metastorev1.CompactedBlocks, bool) {
	piece := s.piece(j.job.GetTenant(), j.job.GetShard())
	query := statemachine.GetBlocks{Context: s.ctx, Range: piece.Ref, Tenant: j.job.GetTenant(), Shard: j.job.GetShard()}
	for _, text := range j.job.GetSourceBlocks() {
		id, err := metastorev1.ParseID(text)
		must(err)
		query.IDs = append(query.IDs, id)
	}
	answer, err := s.read(s.groups[piece.GroupID], query)
	var refusal *statemachine.RouteRefusal
	if errors.As(err, &refusal) {
		s.publish()
		return nil, false
	}
	must(err)
	var sources []*metastorev1.BlockMeta
	for _, encoded := range answer.([][]byte) {
		block := &metastorev1.BlockMeta{}
		must(block.UnmarshalVT(encoded))
		sources = append(sources, block)
	}
	return merge(j.job, sources), len(sources) == len(query.IDs)
}

// simCourier delivers what one replica of a group shows.
type simCourier struct {
	group   *simGroup
	replica *simReplica
	loop    *delivery.Loop
	hints   delivery.Hints
	version int // of the map that it knows
	batches []*delivery.Batch
	// Sent, and thought lost; they may arrive yet.
	late []*delivery.Batch
	acks []*raftlogv1.TransferAck
	// Of acks, each for one range.
	commands []*raftlogv1.Command
}

func (s *transferSim) plan(c *simCourier) {
	var plan delivery.Plan
	var err error
	s.inspect(c.replica, func(v statemachine.View) {
		plan, err = c.loop.Plan(s.now, shardgroup.Outboxes(s.ctx, v), c.hints.Route(s.maps[c.version]))
		if err == nil && len(plan.Acks) > 0 {
			c.acks = plan.Acks
			c.commands, err = shardgroup.AckCommands(s.ctx, v, plan.Acks)
		}
		if s.ablation == "ack what was sent" {
			s.ackEarly(v, plan.Batches)
		}
	})
	must(err)
	c.batches = append(c.batches, plan.Batches...)
}

// ackEarly acknowledges what has not been accepted yet.
func (s *transferSim) ackEarly(v statemachine.View, batches []*delivery.Batch) {
	var acks []*raftlogv1.TransferAck
	for _, batch := range batches {
		for _, t := range batch.Transfers {
			acks = append(acks, &raftlogv1.TransferAck{Stream: t.GetStream(), Tenant: t.GetTenant(), Incarnation: t.GetIncarnation(), Number: t.GetNumber()})
		}
	}
	commands, err := shardgroup.AckCommands(s.ctx, v, acks)
	must(err)
	for _, command := range commands {
		s.propose(s.owner(command), command)
	}
}

// owner is the group that a command about streams goes to.
func (s *transferSim) owner(command *raftlogv1.Command) *simGroup {
	return s.groups[s.current().Lookup(command.GetRange().GetKeyspace(), command.GetRange().GetLo()).GetGroupId()]
}

// hand hands a batch over, and has the answer judged as a node does.
func (s *transferSim) hand(batch *delivery.Batch) ([]*raftlogv1.AcceptOutcome, error) {
	payload, err := (&raftlogv1.AcceptTransfers{Transfers: batch.Transfers}).MarshalVT()
	must(err)
	result := s.propose(s.groups[batch.Group], &raftlogv1.Command{Kind: raftlogv1.Kind_KIND_ACCEPT_TRANSFERS, Range: batch.Range, Payload: payload})
	if result.GetStatus() == raftlogv1.Result_STATUS_ROUTE {
		refusal := &statemachine.RouteRefusal{Detail: result.GetRoute()}
		return nil, shardgroup.ToStatus(refusal, batch.Group)
	}
	s.expect(result)
	outcomes := &raftlogv1.AcceptOutcomes{}
	must(outcomes.UnmarshalVT(result.GetPayload()))
	return outcomes.GetOutcomes(), nil
}

var errLost = errors.New("no answer")

// deliver has something become of a batch.
func (s *transferSim) deliver(c *simCourier) {
	if len(c.late) > 0 && s.chance(4) {
		i := s.random.IntN(len(c.late))
		_, _ = s.hand(c.late[i]) // nobody waits for the answer
		c.late = slices.Delete(c.late, i, i+1)
		s.stats.late++
	}
	if len(c.batches) == 0 {
		return
	}
	i := s.random.IntN(len(c.batches))
	batch := c.batches[i]
	c.batches = slices.Delete(c.batches, i, i+1)
	if s.chance(5) {
		s.stats.lost++
		c.late = append(c.late, batch)
		if s.chance(2) {
			_, _ = s.hand(batch) // the answer is lost
		}
		c.loop.Failed(s.now, batch, errLost)
		return
	}
	outcomes, err := s.hand(batch)
	if err != nil {
		err = shardgroup.JudgeHandover(err)
		if !errors.Is(err, delivery.ErrRoute) {
			must(err)
		}
		s.stats.routes++
		c.hints.Learn(shardgroup.Hint(err))
		c.loop.Failed(s.now, batch, err)
		return
	}
	s.stats.batches++
	s.note("group %d delivers %v: %v", c.group.id, batch.Transfers, outcomes)
	_, err = c.loop.Delivered(s.now, batch, outcomes)
	must(err)
	if s.chance(5) {
		c.late = append(c.late, batch) // a duplicate
	}
}

// ack has something become of the acks.
func (s *transferSim) ack(c *simCourier) {
	if len(c.acks) == 0 {
		return
	}
	var lost error
	for _, command := range c.commands {
		if s.chance(5) {
			lost = errLost
			continue
		}
		result := s.propose(c.group, command)
		if result.GetStatus() == raftlogv1.Result_STATUS_ROUTE {
			lost = errLost
			continue
		}
		s.expect(result)
		s.stats.acks++
		if s.chance(5) {
			lost = errLost // the answer is
		}
	}
	s.note("group %d acks %v: %v", c.group.id, c.acks, lost)
	c.loop.AckEnded(c.acks, lost)
	c.acks, c.commands = nil, nil
}

// simReader is a query under way: each part is read at a moment of its own.
type simReader struct {
	tenant string
	must   map[string]bool
	parts  []clusterv1.Piece
	got    []*nodev1.QueryBlocksResponse
	rounds int
}

func (s *transferSim) begin() *simReader {
	r := &simReader{tenant: pick(s, s.tenants), must: map[string]bool{}}
	for source := range s.added[r.tenant] {
		r.must[source] = true
	}
	r.split(s.current())
	return r
}

// split divides the query anew.
func (r *simReader) split(m *clusterv1.Map) {
	lo, hi := clusterv1.TenantSpan(r.tenant)
	r.parts = append(m.Cover(clusterv1.Keyspace_KEYSPACE_STREAM, 0, 0), m.Cover(clusterv1.Keyspace_KEYSPACE_TENANT, lo, hi)...)
	r.got = make([]*nodev1.QueryBlocksResponse, len(r.parts))
}

// go on reads one part, and judges when all are there. It reports the end.
func (s *transferSim) goOn(r *simReader) bool {
	var missing []int
	for i, got := range r.got {
		if got == nil {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 {
		return s.judge(r)
	}
	i := pick(s, missing)
	answer, err := s.read(s.groups[r.parts[i].GroupID], statemachine.QueryBlocks{
		Context: s.ctx, Ranges: []*clusterv1.RangeRef{r.parts[i].Ref}, Tenants: []string{r.tenant}, End: 1 << 62, Labels: []string{sourceLabel},
	})
	var refusal *statemachine.RouteRefusal
	if errors.As(err, &refusal) {
		s.publish()
		r.split(s.current())
		return false
	}
	must(err)
	r.got[i] = answer.(*nodev1.QueryBlocksResponse)
	return false
}

type simMarks struct{ issued, finished, accepted delivery.Mark }

func (r *simReader) marks() map[uint32]*simMarks {
	marks := map[uint32]*simMarks{}
	of := func(stream uint32) *simMarks {
		if marks[stream] == nil {
			marks[stream] = &simMarks{}
		}
		return marks[stream]
	}
	for _, got := range r.got {
		for _, w := range got.GetWatermarks().GetIssued() {
			of(w.GetStream()).issued = delivery.Mark{Incarnation: w.GetIncarnation(), Number: w.GetIssued()}
			of(w.GetStream()).finished = delivery.Mark{Incarnation: w.GetIncarnation(), Number: w.GetFinished()}
		}
		for _, w := range got.GetWatermarks().GetAccepted() {
			of(w.GetStream()).accepted = delivery.Mark{Incarnation: w.GetIncarnation(), Number: w.GetAccepted()}
		}
	}
	return marks
}

// judge takes the answer if both sides fit; otherwise what is stale is read again.
func (s *transferSim) judge(r *simReader) bool {
	marks := r.marks()
	fits := true
	for stream, m := range marks {
		if m.finished.Number > 0 && m.finished.Compare(m.accepted) > 0 && s.ablation != "no lower bound" {
			fits = false
			r.again(clusterv1.Keyspace_KEYSPACE_TENANT, clusterv1.TenantPoint(r.tenant, stream))
		}
		if m.accepted.Compare(m.issued) > 0 && s.ablation != "no upper bound" {
			fits = false
			r.again(clusterv1.Keyspace_KEYSPACE_STREAM, clusterv1.StreamPoint(stream))
		}
	}
	if !fits {
		s.stats.rereads++
		if r.rounds++; r.rounds > 5 {
			s.stats.giveUps++
			return true
		}
		return false
	}
	counts := map[string]int{}
	for _, got := range r.got {
		for _, encoded := range got.GetBlocks() {
			m := marks[encoded.GetShard()]
			if encoded.GetTransfer() > 0 && m != nil && encoded.GetTransfer() <= m.accepted.Number && s.ablation != "hide nothing" {
				continue
			}
			block := &metastorev1.BlockMeta{}
			must(block.UnmarshalVT(encoded.GetBlock()))
			for _, dataset := range block.GetDatasets() {
				for labels := dataset.GetLabels(); len(labels) > 0; labels = labels[1+2*labels[0]:] {
					counts[block.StringAt(labels[2])]++
				}
			}
		}
	}
	for source := range r.must {
		if counts[source] != 1 {
			s.failf("%s was found %d times; marks %v", source, counts[source], marks)
		}
	}
	for source, n := range counts {
		if n > 1 || !s.added[r.tenant][source] {
			s.failf("%s was found %d times", source, n)
		}
	}
	s.stats.reads++
	return true
}

func (r *simReader) again(keyspace clusterv1.Keyspace, point uint64) {
	for i, part := range r.parts {
		if part.Ref.GetKeyspace() == keyspace && part.Ref.Contains(point) {
			r.got[i] = nil
		}
	}
}

// step has one thing happen.
func (s *transferSim) step() {
	s.now = s.now.Add(time.Duration(s.random.IntN(30)) * time.Millisecond)
	switch action := s.random.IntN(100); {
	case action < 10:
		s.add()
	case action < 30:
		s.work()
	case action < 40:
		s.plan(pick(s, s.couriers))
	case action < 52:
		s.deliver(pick(s, s.couriers))
	case action < 60:
		s.ack(pick(s, s.couriers))
	case action < 64:
		g := s.groups[pick(s, s.ids)]
		_, err := g.apply(pick(s, g.replicas), len(g.log))
		must(err)
	case action < 66:
		s.resize()
	case action < 69:
		s.publish()
	case action < 71:
		c := pick(s, s.couriers)
		c.version = min(c.version+1, len(s.maps)-1)
	case action < 72:
		g := s.groups[pick(s, s.ids)]
		s.stats.leaders++
		s.lead(g, 1-g.leader)
	case action < 73 && s.chance(2):
		s.crash(s.groups[pick(s, s.ids)], s.random.IntN(2))
	case len(s.readers) < 3 && s.chance(3):
		s.readers = append(s.readers, s.begin())
	case len(s.readers) > 0:
		i := s.random.IntN(len(s.readers))
		if s.goOn(s.readers[i]) {
			s.readers = slices.Delete(s.readers, i, i+1)
		}
		if s.chance(2) { // much happens between two parts of a query
			for range 2 {
				s.deliverNow(pick(s, s.couriers))
			}
		}
	}
}

// deliverNow has a courier do all it can at once.
func (s *transferSim) deliverNow(c *simCourier) {
	s.plan(c)
	s.deliver(c)
	s.plan(c)
	s.ack(c)
}

// settle ends all troubles and lets everything come to rest.
func (s *transferSim) settle() {
	for len(s.unpublished) > 0 {
		s.publish()
	}
	// The leaders of now are enough.
	s.couriers = slices.DeleteFunc(s.couriers, func(c *simCourier) bool { return c.replica != c.group.replicas[c.group.leader] })
	for range 400 {
		s.now = s.now.Add(500 * time.Millisecond)
		s.work()
		for _, c := range s.couriers {
			c.version = len(s.maps) - 1
			_, err := c.group.apply(c.replica, len(c.group.log))
			must(err)
			s.plan(c)
			s.deliver(c)
			s.ack(c)
		}
		if s.rests() {
			return
		}
	}
	s.failf("transfers still wait, or segments are not compacted")
}

// rests tells whether nothing waits in a stream.
func (s *transferSim) rests() bool {
	for _, g := range s.groups {
		rests := true
		s.inspect(g.replicas[g.leader], func(v statemachine.View) {
			total, err := v.Queue.Totals(0)
			must(err)
			rests = total.Blocks+total.Returned == 0
			for at, err := range v.Outbox.Streams() {
				must(err)
				rests = rests && at.Transfers == 0
			}
			for _, err := range v.Jobs.List(0, true, 0) {
				must(err)
				rests = false
			}
			for _, err := range v.Jobs.List(0, false, 0) {
				must(err)
				rests = false
			}
		})
		if !rests {
			return false
		}
	}
	return true
}

// finish demands that nothing is lost, twice, or under way.
func (s *transferSim) finish() {
	for _, tenant := range s.tenants {
		r := s.begin()
		for r.tenant != tenant {
			r = s.begin()
		}
		for !s.goOn(r) {
		}
		for stream, m := range r.marks() {
			if m.issued != m.finished || m.issued != m.accepted {
				s.failf("stream %d, tenant %s: issued %v, finished %v, accepted %v", stream, tenant, m.issued, m.finished, m.accepted)
			}
		}
	}
}
