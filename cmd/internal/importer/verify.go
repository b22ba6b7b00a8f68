package importer

import (
	"context"
	"fmt"
	"sync"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/pyroscopedb"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// readConcurrency is how many lists are read at a time: the cluster waits for the
// network and not for a disk.
const readConcurrency = 16

// tally compares a place, or all.
type tally struct {
	blocks, missing, different uint64
	source, cluster            uint64 // sums of checksums
}

func (t *tally) add(other tally) {
	t.blocks += other.blocks
	t.missing += other.missing
	t.different += other.different
	t.source += other.source
	t.cluster += other.cluster
}

// comparison is all places that differ, by place, and the sum of all.
type comparison struct {
	total  tally
	places uint64
	differ map[pyroscopedb.Place]*tally
	order  []pyroscopedb.Place
	more   uint64 // that differ and are not listed
}

// compare reads each block of the source from the cluster.
func (i *Import) compare(ctx context.Context, name string) (*comparison, error) {
	progress, mu := i.step(name, i.report.Source.Blocks), sync.Mutex{}
	c := &comparison{differ: map[pyroscopedb.Place]*tally{}}
	err := i.each(ctx, readConcurrency, func(ctx context.Context, b *batch) error {
		for _, l := range b.lists {
			t, err := i.compareList(ctx, l)
			if err != nil {
				return err
			}
			progress.add(len(l.ids))
			mu.Lock()
			c.take(l.place, t)
			mu.Unlock()
		}
		return nil
	})
	c.places = i.report.Source.Shards - i.report.Source.EmptyShards
	progress.end()
	return c, err
}

func (c *comparison) take(place pyroscopedb.Place, t tally) {
	c.total.add(t)
	if known := c.differ[place]; known != nil {
		known.add(t)
		return
	}
	if t.missing+t.different == 0 {
		return
	}
	if len(c.order) == listedMax {
		c.more++
		return
	}
	c.differ[place] = &t
	c.order = append(c.order, place)
}

func (i *Import) compareList(ctx context.Context, l *list) (tally, error) {
	t := tally{blocks: uint64(len(l.ids))}
	held, err := i.get(ctx, l)
	if err != nil {
		return t, err
	}
	for n, block := range held {
		t.source += l.sums[n]
		if block == nil {
			t.missing++
			continue
		}
		encoded, err := block.MarshalVT()
		if err != nil {
			return t, fmt.Errorf("encode block %s: %w", block.GetId(), err)
		}
		sum := xxhash.Sum64(encoded)
		t.cluster += sum
		if sum != l.sums[n] {
			t.different++
		}
	}
	return t, nil
}

// checkBefore tells whether the cluster has some of the source's blocks already, and
// refuses one that has others: those may be what became of the source's since another
// import, and to add the old ones again would double their data.
func (i *Import) checkBefore(ctx context.Context) (bool, error) {
	held, err := i.blocksHeld(ctx)
	if err != nil || held == 0 {
		return false, err
	}
	c, err := i.compare(ctx, "check")
	if err != nil {
		return false, err
	}
	present := c.total.blocks - c.total.missing
	if held > present && !i.options.Merge {
		return false, fmt.Errorf("%w: %d of its %d; if they came from this source, and were compacted since, import into an empty cluster; if others added them, use -merge",
			ErrOthers, held-present, held)
	}
	return present > 0, nil
}

// verify compares, and fails if the cluster does not hold what the source has.
func (i *Import) verify(ctx context.Context) error {
	c, err := i.compare(ctx, "verify")
	if err != nil {
		return err
	}
	held, err := i.blocksHeld(ctx)
	if err != nil {
		return err
	}
	report := &VerifyReport{
		Blocks: c.total.blocks, Equal: c.total.blocks - c.total.missing - c.total.different, Missing: c.total.missing, Different: c.total.different,
		SourceSum: sumText(c.total.source), ClusterSum: sumText(c.total.cluster), Places: c.places, PlacesDiffer: uint64(len(c.order)) + c.more,
	}
	if present := c.total.blocks - c.total.missing; held > present {
		report.Others = held - present
	}
	for _, place := range c.order {
		t := c.differ[place]
		report.Differences = append(report.Differences, PlaceReport{
			Place: place.String(), Blocks: t.blocks, Missing: t.missing, Different: t.different,
			SourceSum: sumText(t.source), ClusterSum: sumText(t.cluster),
		})
	}
	i.report.Verified = report
	switch {
	case report.Missing+report.Different > i.report.Blocks.Refused:
		return fmt.Errorf("%w: of %d blocks %d are missing and %d differ", ErrDifferent, report.Blocks, report.Missing, report.Different)
	case report.Others > 0 && !i.options.Merge:
		return fmt.Errorf("%w: %d; somebody writes to it: if that is meant, use -merge", ErrOthers, report.Others)
	}
	return nil
}

func sumText(sum uint64) string { return fmt.Sprintf("%016x", sum) }

// blocksHeld counts the blocks of all groups, each by the replica that is farthest.
func (i *Import) blocksHeld(ctx context.Context) (total uint64, err error) {
	count := func(ctx context.Context, request *adminv1.StatusRequest, options ...grpc.CallOption) (*adminv1.StatusResponse, error) {
		answer, err := i.cluster.Admin.Status(ctx, request, options...)
		if err == nil {
			total, err = blocksOf(answer)
		}
		return answer, err
	}
	if _, err := call(ctx, i, count, &adminv1.StatusRequest{}); err != nil {
		return 0, fmt.Errorf("count the cluster's blocks: %w", err)
	}
	return total, nil
}

// blocksOf fails if no replica of a group answers, which may pass.
func blocksOf(answer *adminv1.StatusResponse) (total uint64, err error) {
	farthest := map[uint64]*nodev1.GroupReplica{}
	for _, node := range answer.GetNodes() {
		for _, replica := range node.GetReplicas() {
			if best := farthest[replica.GetGroupId()]; replica.GetError() == "" && (best == nil || best.GetAppliedIndex() < replica.GetAppliedIndex()) {
				farthest[replica.GetGroupId()] = replica
			}
		}
	}
	for _, group := range answer.GetMap().GetGroups() {
		id := group.GetGroupId()
		if id == clusterv1.DirectoryGroup {
			continue
		}
		if farthest[id] == nil {
			return 0, status.Errorf(codes.Unavailable, "no replica of group %d answers", id)
		}
		total += farthest[id].GetBlocks()
	}
	return total, nil
}
