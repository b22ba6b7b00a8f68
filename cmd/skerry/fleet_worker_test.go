package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

const (
	// Files that a fleet shares: the server's address, and a line for each job that
	// a worker was given.
	fleetAddress = "address"
	fleetGrants  = "grants"

	fleetThreads  = 3
	fleetInterval = 40 * time.Millisecond
)

// fleetWorker is a compaction worker without objects: it does what Pyroscope's
// does with the answers of polls, and merges only metadata.
type fleetWorker struct {
	dir  string
	jobs map[string]*fleetJob
	// The connection to the server that the address names.
	address string
	conn    *grpc.ClientConn
}

type fleetJob struct {
	job    *metastorev1.CompactionJob
	token  uint64
	rounds int // until it is done
	result *metastorev1.CompactedBlocks
}

// fleetWorkerMain is the worker's process. It ends only by a signal.
func fleetWorkerMain() {
	w := &fleetWorker{dir: os.Args[1], jobs: map[string]*fleetJob{}}
	for range time.Tick(fleetInterval) {
		if err := w.turn(); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
		}
	}
}

// turn works a little on each job and polls. After an error everything stays as it
// was and is reported again.
func (w *fleetWorker) turn() error {
	if err := w.connect(); err != nil {
		return err
	}
	for _, job := range w.jobs {
		if job.rounds--; job.rounds <= 0 && job.result == nil {
			if err := w.compact(job); err != nil {
				return err
			}
		}
	}
	request := &metastorev1.PollCompactionJobsRequest{JobCapacity: fleetThreads}
	for name, job := range w.jobs {
		update := &metastorev1.CompactionJobStatusUpdate{Name: name, Token: job.token, Status: metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS}
		if job.result != nil {
			update.Status, update.CompactedBlocks = metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS, job.result
		} else {
			request.JobCapacity--
		}
		request.StatusUpdates = append(request.StatusUpdates, update)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	answer, err := metastorev1.NewCompactionServiceClient(w.conn).PollCompactionJobs(ctx, request)
	if err != nil {
		return err
	}
	return w.take(request, answer)
}

// take forgets what was reported as done and what is not assigned any more.
func (w *fleetWorker) take(request *metastorev1.PollCompactionJobsRequest, answer *metastorev1.PollCompactionJobsResponse) error {
	tokens := map[string]uint64{}
	for _, assignment := range answer.GetAssignments() {
		tokens[assignment.GetName()] = assignment.GetToken()
	}
	for _, update := range request.GetStatusUpdates() {
		token, assigned := tokens[update.GetName()]
		if update.GetStatus() == metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS || !assigned {
			delete(w.jobs, update.GetName())
			continue
		}
		w.jobs[update.GetName()].token = token
	}
	var grants strings.Builder
	for _, job := range answer.GetCompactionJobs() {
		token, assigned := tokens[job.GetName()]
		if !assigned {
			continue
		}
		fmt.Fprintf(&grants, "%s %d\n", job.GetName(), token)
		w.jobs[job.GetName()] = &fleetJob{job: job, token: token, rounds: rand.IntN(4)}
	}
	if grants.Len() == 0 {
		return nil
	}
	file, err := os.OpenFile(filepath.Join(w.dir, fleetGrants), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(grants.String())
	return err
}

func (w *fleetWorker) connect() error {
	address, err := os.ReadFile(filepath.Join(w.dir, fleetAddress))
	if err != nil || string(address) == w.address {
		return err
	}
	if w.conn != nil {
		w.conn.Close()
	}
	w.conn, err = grpc.NewClient(string(address), grpc.WithTransportCredentials(insecure.NewCredentials()))
	w.address = string(address)
	return err
}

// compact asks for the sources and merges them. None found is a success without
// sources.
func (w *fleetWorker) compact(job *fleetJob) error {
	sources := &metastorev1.BlockList{Tenant: job.job.GetTenant(), Shard: job.job.GetShard(), Blocks: job.job.GetSourceBlocks()}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	found, err := metastorev1.NewIndexServiceClient(w.conn).GetBlockMetadata(ctx, &metastorev1.GetBlockMetadataRequest{Blocks: sources})
	if err != nil {
		return err
	}
	job.result = &metastorev1.CompactedBlocks{SourceBlocks: &metastorev1.BlockList{}}
	if len(found.GetBlocks()) == 0 {
		return nil
	}
	list := &metastorev1.BlockList{Tenant: sources.Tenant, Shard: sources.Shard}
	for _, block := range found.GetBlocks() {
		list.Blocks = append(list.Blocks, block.GetId())
	}
	job.result.SourceBlocks, job.result.NewBlocks = list, fleetMerge(job.job, found.GetBlocks())
	return nil
}

// fleetMerge makes one block of each tenant. Ids derive from the sources: whoever
// repeats a job makes the same blocks.
func fleetMerge(job *metastorev1.CompactionJob, sources []*metastorev1.BlockMeta) []*metastorev1.BlockMeta {
	byTenant := map[string]*metastorev1.BlockMeta{}
	digest := sha256.New()
	for _, source := range sources {
		fmt.Fprintf(digest, "%s/%d,", source.GetId(), source.GetCompactionLevel())
	}
	for _, source := range sources {
		for _, dataset := range source.GetDatasets() {
			tenant := source.GetStringTable()[dataset.GetTenant()]
			block := byTenant[tenant]
			if block == nil {
				block = &metastorev1.BlockMeta{
					FormatVersion: 1, Id: fleetID(sources[0].GetId(), string(digest.Sum(nil))+tenant), StringTable: []string{"", tenant, "fleet"},
					Tenant: 1, CreatedBy: 2, Shard: job.GetShard(), CompactionLevel: job.GetCompactionLevel() + 1,
					MinTime: source.GetMinTime(), MaxTime: source.GetMaxTime(),
				}
				byTenant[tenant] = block
			}
			block.MinTime, block.MaxTime = min(block.MinTime, source.GetMinTime()), max(block.MaxTime, source.GetMaxTime())
			block.Size += dataset.GetSize()
			block.Datasets = append(block.Datasets, moved(dataset, source, block))
		}
	}
	return slices.SortedFunc(maps.Values(byTenant), func(a, b *metastorev1.BlockMeta) int { return cmp.Compare(a.GetId(), b.GetId()) })
}

// moved copies a dataset with its strings into another block.
func moved(dataset *metastorev1.Dataset, from, to *metastorev1.BlockMeta) *metastorev1.Dataset {
	ref := func(old int32) int32 {
		text := from.GetStringTable()[old]
		if at := slices.Index(to.StringTable, text); at >= 0 {
			return int32(at)
		}
		to.StringTable = append(to.StringTable, text)
		return int32(len(to.StringTable) - 1)
	}
	result := &metastorev1.Dataset{
		Format: dataset.GetFormat(), Tenant: ref(dataset.GetTenant()), Name: ref(dataset.GetName()),
		MinTime: dataset.GetMinTime(), MaxTime: dataset.GetMaxTime(), TableOfContents: dataset.GetTableOfContents(), Size: dataset.GetSize(),
	}
	for labels := dataset.GetLabels(); len(labels) > 0; {
		n := 2 * labels[0]
		result.Labels = append(result.Labels, labels[0])
		for _, old := range labels[1 : 1+n] {
			result.Labels = append(result.Labels, ref(old))
		}
		labels = labels[1+n:]
	}
	return result
}

// fleetID has the time of the first source.
func fleetID(source, seed string) string {
	id := ulid.MustParse(source)
	sum := sha256.Sum256([]byte(seed))
	copy(id[6:], sum[:])
	return id.String()
}
