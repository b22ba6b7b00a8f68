package clustertest

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/proto/blockobject"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

var (
	deadLetters = flag.Int("letters", 400, "segments of TestDeadLetters that the metastore does not take")
	letterKills = flag.Int("letters.kills", 4, "nodes that are killed while they are recovered")
)

const (
	letterShards  = 16
	letterTenants = 4
	letterPage    = 500
)

// letter is the n-th segment; it is of this moment.
func letter(n int, now time.Time) *metastorev1.BlockMeta {
	ms := now.UnixMilli() + int64(n%1000)
	var id ulid.ULID
	hash := sha256.Sum256([]byte(strconv.Itoa(n)))
	copy(id[6:], hash[:])
	if err := id.SetTime(uint64(ms)); err != nil {
		panic(err) // after the year 10889
	}
	return &metastorev1.BlockMeta{
		FormatVersion: 1, Id: id.String(), Shard: uint32(1 + n%letterShards), MinTime: ms, MaxTime: ms, Size: 100, CreatedBy: 1,
		StringTable: []string{"", "writer", fmt.Sprintf("tenant-%d", n%letterTenants), "service_name", "shop"},
		Datasets:    []*metastorev1.Dataset{{Tenant: 2, Name: 4, MinTime: ms, MaxTime: ms, Size: 10, Labels: []int32{1, 3, 4}}},
	}
}

// fallBack does what a segment-writer does with what the metastore did not take;
// without a sync, since a hundred thousand of them must not take an hour.
func fallBack(t *testing.T, dir string, block *metastorev1.BlockMeta) {
	t.Helper()
	id := ulid.MustParse(block.GetId())
	name := filepath.Join(dir, filepath.FromSlash(blockobject.DeadLetterOf("", block.GetShard(), 0, id).Name()))
	content, err := block.MarshalVT()
	must(t, err, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name+".new", content, 0o644), os.Rename(name+".new", name))
}

// lettersLeft counts the files below a folder.
func lettersLeft(dir string) int {
	left := 0
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error { // what goes meanwhile does not count
		if err == nil && !entry.IsDir() {
			left++
		}
		return nil
	})
	return left
}

// The metastore is away, and writers leave what they have in the object store.
// Nodes recover it though they are killed on the way: each segment is found, once.
func TestDeadLetters(t *testing.T) {
	dir := t.TempDir()
	c := startCluster(t, ClusterOptions{Groups: 4, Args: []string{
		"-storage.filesystem.dir", dir, "-metastore.index.dlq-recovery-check-interval", "1s",
	}})
	client := newPyroscope(t, c, c.Nodes[0].Public(), c.Nodes[1].Public(), c.Nodes[2].Public())
	now := time.Now()
	// Some were added, but their writers believe that they were not.
	for n := 0; n < *deadLetters; n += max(1, *deadLetters/50) {
		must(t, client.add(t.Context(), letter(n, now)))
	}
	for _, node := range c.Nodes {
		must(t, node.Process.Kill())
	}
	impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	if err := client.add(impatient, letter(0, now)); err == nil {
		t.Fatal("a segment was taken by nobody")
	}
	cancel()
	for n := range *deadLetters {
		fallBack(t, dir, letter(n, now))
	}
	begun := time.Now()
	for _, node := range c.Nodes {
		must(t, node.Start())
	}
	queue := filepath.Join(dir, "dlq")
	kills, left := 0, *deadLetters
	for deadline := time.Now().Add(time.Minute + time.Duration(*deadLetters)*2*time.Millisecond); left > 0; left = lettersLeft(queue) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d are left", left, *deadLetters)
		}
		// At times when a part of them is recovered.
		if part := *deadLetters * (*letterKills - kills) / (*letterKills + 1); kills < *letterKills && left <= part {
			node := c.Nodes[rand.IntN(len(c.Nodes))]
			if leader := leads(t, c, 2); kills%2 == 0 && leader != nil {
				node = leader
			}
			must(t, node.Process.Kill(), node.Start())
			kills++
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Logf("%d dead letters recovered in %v, with %d nodes killed meanwhile", *deadLetters, time.Since(begun).Round(time.Millisecond), kills)
	if kept := lettersLeft(filepath.Join(dir, "dlq-rejected")); kept > 0 {
		t.Errorf("%d were moved aside", kept)
	}
	wantLettersOnce(t, client, now)
	wantFewLists(t, c)
	wantNoCrashes(t, c)
}

// wantLettersOnce asks for each segment by its id, and in queries.
func wantLettersOnce(t *testing.T, client *pyroscope, now time.Time) {
	t.Helper()
	byShard := map[uint32][]string{}
	for n := range *deadLetters {
		block := letter(n, now)
		byShard[block.GetShard()] = append(byShard[block.GetShard()], block.GetId())
	}
	for shard, ids := range byShard {
		for ; len(ids) > 0; ids = ids[min(letterPage, len(ids)):] {
			asked := ids[:min(letterPage, len(ids))]
			blocks, err := client.get(t.Context(), "", shard, asked)
			must(t, err)
			if len(blocks) != len(asked) {
				t.Errorf("shard %d: %d of %d are there", shard, len(blocks), len(asked))
			}
		}
	}
	times := map[string]int{}
	for tenant := range letterTenants {
		must(t, client.call(t.Context(), queryPatience, func(ctx context.Context, conn *grpc.ClientConn) error {
			answer, err := metastorev1.NewMetadataQueryServiceClient(conn).QueryMetadata(ctx, &metastorev1.QueryMetadataRequest{
				TenantId: []string{fmt.Sprintf("tenant-%d", tenant)}, StartTime: now.Add(-time.Minute).UnixMilli(), EndTime: now.Add(time.Minute).UnixMilli(), Query: "{}",
			})
			if err == nil {
				for _, block := range answer.GetBlocks() {
					times[block.GetId()]++
				}
			}
			return err
		}))
	}
	wrong := 0
	for n := range *deadLetters {
		if id := letter(n, now).GetId(); times[id] != 1 {
			if wrong++; wrong < 10 {
				t.Errorf("%s is found %d times", id, times[id])
			}
		}
	}
	if len(times) != *deadLetters {
		t.Errorf("%d found, want %d", len(times), *deadLetters)
	}
}

// wantFewLists looks what an empty queue costs: of a folder, whose directories stay,
// a list of each shard, and of those that the node looks after.
func wantFewLists(t *testing.T, c *Cluster) {
	t.Helper()
	lists := func() (total float64) {
		for _, node := range c.Nodes {
			total += metricOf(t, node, "skerry_dlq_list_calls_total")
		}
		return total
	}
	round := float64(len(c.Nodes)*(1+letterShards) + letterShards)
	before, begun := lists(), time.Now()
	for lists() < before+2*round {
		if time.Since(begun) > time.Minute {
			t.Fatal("nobody looks for dead letters any more")
		}
		time.Sleep(20 * time.Millisecond)
	}
	cost := lists() - before
	// One more round may fall into the time, and one may be under way.
	if most := round * (time.Since(begun).Seconds() + 2); cost > most {
		t.Errorf("%v lists in %v, at most %v expected", cost, time.Since(begun), most)
	}
	t.Logf("%.1f lists in a second by %d nodes, with an interval of 1s and %d shards", cost/time.Since(begun).Seconds(), len(c.Nodes), letterShards)
}

// metricOf is a metric without labels of a node.
func metricOf(t *testing.T, n *Node, name string) float64 {
	t.Helper()
	response, err := http.Get(strings.TrimSuffix(n.Process.ReadyURL, "/readyz") + "/metrics")
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			number, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			must(t, err)
			return number
		}
	}
	t.Fatalf("%s has no metric %s", n.Name, name)
	return 0
}
