package shardgroup_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/proto/blockobject"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
	"github.com/skerrydb/skerry/storage/objects"
)

func openBucket(t testing.TB) objects.Bucket {
	t.Helper()
	folder, err := objects.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func letterName(block *metastorev1.BlockMeta) string {
	return blockobject.DeadLetterOf(block.TenantName(), block.GetShard(), block.GetCompactionLevel(), ulid.MustParse(block.GetId())).Name()
}

// leave does what a writer does with what it could not add.
func leave(t testing.TB, bucket objects.Bucket, block *metastorev1.BlockMeta) string {
	t.Helper()
	content, err := block.MarshalVT()
	if err == nil {
		err = bucket.Put(context.Background(), letterName(block), content)
	}
	if err != nil {
		t.Fatal(err)
	}
	return letterName(block)
}

func letters(t testing.TB, bucket objects.Bucket, prefix string) []string {
	t.Helper()
	var names []string
	for e, err := range bucket.List(context.Background(), objects.ListOptions{Prefix: prefix}) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	return names
}

// timesFound counts how often all groups together hold each segment.
func timesFound(t testing.TB, node *shardgroup.Node, m *clusterv1.Map, tenant string) map[string]int {
	t.Helper()
	times := map[string]int{}
	for _, group := range node.Groups() {
		query := &nodev1.QueryRequest{GroupId: group, Tenants: []string{tenant}, Selector: "{}", StartTime: 0, EndTime: blockTime.Add(time.Hour).UnixMilli()}
		for _, keyspace := range []clusterv1.Keyspace{clusterv1.Keyspace_KEYSPACE_STREAM, clusterv1.Keyspace_KEYSPACE_TENANT} {
			for _, r := range m.Ranges(keyspace) {
				if r.GetGroupId() == group {
					query.Ranges = append(query.Ranges, &clusterv1.RangeRef{Keyspace: keyspace, Lo: r.GetLo(), Hi: r.GetHi(), Epoch: r.GetEpoch()})
				}
			}
		}
		if len(query.Ranges) == 0 {
			continue
		}
		answer := retried(t, func() (*nodev1.QueryBlocksResponse, error) { return node.Service().QueryBlocks(t.Context(), query) })
		for _, encoded := range answer.GetBlocks() {
			times[decode(t, encoded.GetBlock()).GetId()]++
		}
	}
	return times
}

// What writers left is found, each exactly once, though leaders move and nodes stop
// while it is recovered.
func TestDeadLettersAreRecovered(t *testing.T) {
	clock := newClock(blockTime.Add(time.Minute))
	c := foundWith(t, 3, 3, 10*time.Millisecond, func(o *shardgroup.Options) { o.Now, o.StreamGroups = clock.now, 2 })
	bucket := openBucket(t)
	recoverOn := func(i int) {
		if err := c.node(i).RecoverDeadLetters(bucket, 20*time.Millisecond); err != nil {
			t.Error(err)
		}
	}
	m := rangeMapSoon(t, c.node(0))
	const count = 300
	var left []*metastorev1.BlockMeta
	for serial := range count {
		block := testBlock(serial, "", uint32(1+serial%8), 0, "anna")
		if serial%10 == 0 { // of tenants, whose group may be another one
			block = testBlock(serial, "anna", uint32(1+serial%8), 1)
		}
		left = append(left, block)
		if serial%4 == 0 { // it was added, but the writer did not hear of it
			retried(t, func() (*nodev1.AddBlockResponse, error) {
				return c.node(0).Service().AddBlock(t.Context(), addRequest(t, m, block))
			})
		}
	}
	bad := leave(t, bucket, &metastorev1.BlockMeta{Id: left[1].GetId(), Shard: 3, Tenant: 99})
	phantom := testBlock(1, "", 3, 0, "anna")
	old := ulid.MustParse(phantom.GetId())
	if err := old.SetTime(ulid.Timestamp(blockTime.Add(-time.Hour))); err != nil {
		t.Fatal(err)
	}
	phantom.Id = old.String()
	leave(t, bucket, phantom)

	for i := range c.nodes {
		recoverOn(i)
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		for _, block := range left {
			leave(t, bucket, block)
		}
	})
	for round := range 3 {
		stopped := round % 3
		c.stop(t, stopped)
		c.start(t, stopped)
		if c.node(stopped) == nil {
			t.FailNow()
		}
		recoverOn(stopped)
	}
	writing.Wait()
	await(t, "the queue to be empty", func() bool { return len(letters(t, bucket, "dlq/")) == 0 })

	wantBlocks(t, c.node(0), m, left)
	times := timesFound(t, c.node(1), m, "anna")
	for _, block := range left {
		if times[block.GetId()] != 1 {
			t.Errorf("%s is found %d times", block.GetId(), times[block.GetId()])
		}
	}
	if times[phantom.GetId()] != 0 {
		t.Error("a block without an object has come back")
	}
	want := []string{"dlq-rejected/" + strings.TrimPrefix(bad, "dlq/"), "dlq-rejected/" + strings.TrimPrefix(letterName(phantom), "dlq/")}
	slices.Sort(want)
	if got := letters(t, bucket, "dlq-rejected/"); !slices.Equal(got, want) {
		t.Errorf("moved aside: %q, want %q", got, want)
	}
}

func TestOperatorsSeeDeadLetters(t *testing.T) {
	node := open(t, t.TempDir())
	s, ctx := node.Service(), t.Context()
	if _, err := s.ListDLQ(ctx, &nodev1.ListDLQRequest{}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("without an object store: %v", err)
	}
	bucket := openBucket(t)
	if err := node.RecoverDeadLetters(bucket, 0); err != nil {
		t.Fatal(err)
	}
	if err := node.RecoverDeadLetters(bucket, 0); err == nil {
		t.Error("a second time was taken")
	}
	if _, err := s.SweepDLQ(ctx, &nodev1.SweepDLQRequest{}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("without recovery: %v", err)
	}
	var keys []string
	for serial := range 3 {
		keys = append(keys, leave(t, bucket, testBlock(serial, "", 1, 0, "anna")))
	}
	aside := "dlq-rejected/" + strings.TrimPrefix(keys[0], "dlq/")
	if err := bucket.Put(ctx, aside, []byte("bad")); err != nil {
		t.Fatal(err)
	}
	got, err := s.GetDLQStatus(ctx, &nodev1.GetDLQStatusRequest{})
	if err != nil || !got.GetRejected() || got.GetInterval() != 0 || got.GetObjects() != bucket.String() {
		t.Errorf("status %v, %v", got, err)
	}
	list, err := s.ListDLQ(ctx, &nodev1.ListDLQRequest{Limit: 2})
	if err != nil || len(list.GetEntries()) != 2 || list.GetNext() != keys[1] || list.GetEntries()[0].GetBytes() == 0 {
		t.Errorf("list %v, %v", list, err)
	}
	list, err = s.ListDLQ(ctx, &nodev1.ListDLQRequest{After: list.GetNext()})
	if err != nil || len(list.GetEntries()) != 1 || list.GetNext() != "" {
		t.Errorf("list %v, %v", list, err)
	}
	shown, err := s.GetDLQEntry(ctx, &nodev1.GetDLQEntryRequest{Key: aside})
	if err != nil || shown.GetFault() == "" || shown.GetObjectBytes() != -1 {
		t.Errorf("entry %v, %v", shown, err)
	}
	for name, call := range map[string]func() error{
		"a strange key":    func() error { _, err := s.GetDLQEntry(ctx, &nodev1.GetDLQEntryRequest{Key: "../x"}); return err },
		"too long a list":  func() error { _, err := s.ListDLQ(ctx, &nodev1.ListDLQRequest{Limit: 1 << 20}); return err },
		"nothing to purge": func() error { _, err := s.PurgeDLQ(ctx, &nodev1.PurgeDLQRequest{}); return err },
		"nothing to retry": func() error { _, err := s.RetryDLQ(ctx, &nodev1.RetryDLQRequest{}); return err },
		"keys and all": func() error {
			_, err := s.PurgeDLQ(ctx, &nodev1.PurgeDLQRequest{All: true, Keys: []string{aside}})
			return err
		},
		"too many keys": func() error {
			_, err := s.PurgeDLQ(ctx, &nodev1.PurgeDLQRequest{Keys: slices.Repeat([]string{aside}, 1001)})
			return err
		},
		"a key of something else": func() error {
			_, err := s.PurgeDLQ(ctx, &nodev1.PurgeDLQRequest{Keys: []string{"segments/1/anonymous/x/block.bin"}})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.GetDLQEntry(ctx, &nodev1.GetDLQEntryRequest{Key: letterName(testBlock(9, "", 1, 0, "anna"))}); status.Code(err) != codes.NotFound {
		t.Errorf("what is not there: %v", err)
	}
	retried, err := s.RetryDLQ(ctx, &nodev1.RetryDLQRequest{All: true})
	if err != nil || retried.GetMoved() != 1 || len(letters(t, bucket, "dlq-rejected/")) != 0 {
		t.Errorf("retry %v, %v", retried, err)
	}
	if err := bucket.Put(ctx, aside, []byte("bad")); err != nil {
		t.Fatal(err)
	}
	purged, err := s.PurgeDLQ(ctx, &nodev1.PurgeDLQRequest{Keys: []string{aside, keys[1]}})
	if err != nil || purged.GetDeleted() != 1 || purged.GetBytes() != 3 || fmt.Sprint(purged.GetFaults()[0].GetKey()) != keys[1] {
		t.Errorf("purge %v, %v", purged, err)
	}
	if got := letters(t, bucket, "dlq/"); !slices.Equal(got, keys) {
		t.Errorf("the queue is %v", got)
	}
}
