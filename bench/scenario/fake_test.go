package scenario_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/skerrydb/skerry/bench/check"
	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/scenario"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// bug is what a fake gets wrong.
type bug string

const (
	none      bug = ""
	lose      bug = "lose"       // acknowledges, forgets now and then
	twice     bug = "twice"      // answers with a block twice
	stray     bug = "stray"      // answers with a block that nobody asked for
	other     bug = "other"      // answers with another size
	lastTwice bug = "last twice" // the youngest
	lastOther bug = "last other"
	noLabels  bug = "labels"   // forgets a set of labels
	flaky     bug = "flaky"    // refuses now and then; no bug
	forget    bug = "forget"   // compaction loses a result
	keep      bug = "keep"     // compaction keeps the sources, too
	restless  bug = "restless" // answers as before the last 20 adds
	cleanup   bug = "cleanup"  // has jobs without blocks for ever; no bug
)

// fake is a metastore in memory that selects as package check does.
type fake struct {
	metastorev1.UnimplementedMetadataQueryServiceServer

	bug    bug
	mu     sync.Mutex
	calls  int
	blocks []*metastorev1.BlockMeta
	known  map[string]bool
	jobs   []*metastorev1.CompactionJob
	token  uint64
}

func (f *fake) AddBlock(_ context.Context, request *metastorev1.AddBlockRequest) (*metastorev1.AddBlockResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.bug == flaky && f.calls%29 == 0 {
		return nil, status.Error(codes.Unavailable, "later")
	}
	block := request.GetBlock()
	if !f.known[block.GetId()] && !(f.bug == lose && f.calls%97 == 0) {
		f.known[block.GetId()] = true
		f.blocks = append(f.blocks, block)
	}
	return &metastorev1.AddBlockResponse{}, nil
}

func (f *fake) GetBlockMetadata(_ context.Context, request *metastorev1.GetBlockMetadataRequest) (*metastorev1.GetBlockMetadataResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := &metastorev1.GetBlockMetadataResponse{}
	for _, block := range f.blocks {
		if slices.Contains(request.GetBlocks().GetBlocks(), block.GetId()) {
			answer.Blocks = append(answer.Blocks, block)
		}
	}
	return answer, nil
}

// asked is the query of a selector with one matcher at most.
func asked(tenants []string, from, to int64, selector string, labels []string) check.Query {
	q := check.Query{Tenants: tenants, From: from, To: to, Labels: labels}
	for _, name := range []string{generate.LabelService, generate.LabelUnsymbolized} {
		var value string
		if n, _ := fmt.Sscanf(selector, "{"+name+"=%q}", &value); n == 1 {
			q.Matchers = append(q.Matchers, check.Matcher{Name: name, Value: value})
		}
	}
	return q
}

func (f *fake) QueryMetadata(_ context.Context, r *metastorev1.QueryMetadataRequest) (*metastorev1.QueryMetadataResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := asked(r.GetTenantId(), r.GetStartTime(), r.GetEndTime(), r.GetQuery(), r.GetLabels())
	blocks := f.blocks
	if f.bug == restless {
		blocks = blocks[:max(0, len(blocks)-20)]
	}
	answer := &metastorev1.QueryMetadataResponse{}
	for _, block := range blocks {
		if found := q.Select(block); found != nil {
			answer.Blocks = append(answer.Blocks, found)
		}
	}
	if len(answer.Blocks) == 0 {
		return answer, nil
	}
	switch first := answer.Blocks[0]; f.bug {
	case twice:
		answer.Blocks = append(answer.Blocks, first)
	case stray:
		changed := proto.CloneOf(first)
		changed.Id = "01M80E7JAR10CSPS1GYJMT6K45"
		answer.Blocks = append(answer.Blocks, changed)
	case lastTwice:
		answer.Blocks = append(answer.Blocks, answer.Blocks[len(answer.Blocks)-1])
	case lastOther:
		answer.Blocks[len(answer.Blocks)-1].Size++
	case other:
		first.Size++
	}
	return answer, nil
}

func (f *fake) QueryMetadataLabels(_ context.Context, r *metastorev1.QueryMetadataLabelsRequest) (*metastorev1.QueryMetadataLabelsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	sets := check.NewLabelSets(asked(r.GetTenantId(), r.GetStartTime(), r.GetEndTime(), r.GetQuery(), r.GetLabels()))
	for _, block := range f.blocks {
		sets.Add(block)
	}
	answer := &metastorev1.QueryMetadataLabelsResponse{Labels: sets.All()}
	if f.bug == noLabels && len(answer.Labels) > 0 {
		answer.Labels = answer.Labels[1:]
	}
	return answer, nil
}

const fakeJobBlocks = 10

// PollCompactionJobs makes jobs of segments of a shard, once.
func (f *fake) PollCompactionJobs(_ context.Context, r *metastorev1.PollCompactionJobsRequest) (*metastorev1.PollCompactionJobsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := &metastorev1.PollCompactionJobsResponse{}
	for _, update := range r.GetStatusUpdates() {
		f.complete(update.GetCompactedBlocks())
	}
	if f.token == 0 {
		byShard := map[uint32][]string{}
		for _, block := range f.blocks {
			ids := append(byShard[block.GetShard()], block.GetId())
			if byShard[block.GetShard()] = ids; len(ids) == fakeJobBlocks {
				f.jobs = append(f.jobs, &metastorev1.CompactionJob{Name: fmt.Sprintf("job %d", len(f.jobs)), Shard: block.GetShard(), SourceBlocks: ids})
				byShard[block.GetShard()] = nil
			}
		}
	}
	if f.bug == cleanup && len(f.jobs) == 0 {
		f.jobs = append(f.jobs, &metastorev1.CompactionJob{Name: fmt.Sprintf("cleanup %d", f.token), Shard: 1})
	}
	for range min(len(f.jobs), int(r.GetJobCapacity())) {
		f.token++
		answer.CompactionJobs = append(answer.CompactionJobs, f.jobs[0])
		answer.Assignments = append(answer.Assignments, &metastorev1.CompactionJobAssignment{Name: f.jobs[0].Name, Token: f.token})
		f.jobs = f.jobs[1:]
	}
	return answer, nil
}

func (f *fake) complete(result *metastorev1.CompactedBlocks) {
	if f.bug != keep {
		f.blocks = slices.DeleteFunc(f.blocks, func(b *metastorev1.BlockMeta) bool {
			return slices.Contains(result.GetSourceBlocks().GetBlocks(), b.GetId())
		})
	}
	made := result.GetNewBlocks()
	if f.bug == forget && len(made) > 0 {
		made = made[1:]
	}
	f.blocks = append(f.blocks, made...)
}

func newSession(t *testing.T, b bug, s generate.Settings) (*scenario.Session, *generate.Generator) {
	t.Helper()
	g, err := generate.New(s.WithDefaults(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	listener, server := bufconn.Listen(1<<20), grpc.NewServer()
	f := &fake{bug: b, known: map[string]bool{}}
	metastorev1.RegisterIndexServiceServer(server, f)
	metastorev1.RegisterMetadataQueryServiceServer(server, f)
	metastorev1.RegisterCompactionServiceServer(server, f)
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) }) //nolint:errcheck // stopped
	t.Cleanup(serving.Wait)
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(100<<20)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	session, err := scenario.New(g, []grpc.ClientConnInterface{conn}, 10*time.Second, 0)
	if err != nil {
		t.Fatal(err)
	}
	return session, g
}
