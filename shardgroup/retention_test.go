package shardgroup_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/planner/retention"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// blocksLeft returns the tenants that still have a block.
func blocksLeft(t *testing.T, node *shardgroup.Node) string {
	t.Helper()
	m := rangeMap(t, node)
	counts, err := sourcesFound(t.Context(), node, m, "anna", "bert", "carl")
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for serial, tenant := range []string{"anna", "bert", "carl"} {
		if counts[string(rune('0'+serial))+"-"+tenant] == 1 {
			left = append(left, tenant)
		}
	}
	return strings.Join(left, " ")
}

// Data goes when its tenant's period is over, as the overrides say now; a file
// that is broken changes nothing.
func TestRetentionFollowsOverrides(t *testing.T) {
	path := filepath.Join(t.TempDir(), "overrides.yaml")
	writeFile(t, path, "overrides:\n  anna: {retention_period: 0}\n  bert: {retention_period: 60d, ingestion_rate_mb: 4}\n")
	node, m, clock := openAt(t, func(o *shardgroup.Options) {
		o.OverridesPath, o.RetentionInterval = path, time.Millisecond
	})
	for serial, tenant := range []string{"anna", "bert", "carl"} {
		add(t, node, m, testBlock(serial, tenant, 1, 3))
	}
	sweeps := func(more float64) {
		t.Helper()
		from := node.Sweeps()
		await(t, "sweeps", func() bool { return node.Sweeps() >= from+more })
	}
	sweeps(2)
	if left := blocksLeft(t, node); left != "anna bert carl" {
		t.Fatalf("left: %s", left)
	}
	clock.advance(32 * 24 * time.Hour) // past the default of 31 d
	sweeps(2)
	if left := blocksLeft(t, node); left != "anna bert" {
		t.Errorf("left: %s", left)
	}
	listed := tombstones(t, node)
	if len(listed) != 1 || listed[0].GetTombstone().GetShard().GetTenant() != "carl" || listed[0].GetTombstone().GetShard().GetTimestamp() != blockTime.UnixNano() {
		t.Errorf("tombstones %v", listed)
	}
	plan := planRetention(t, node, 0)
	if len(plan.GetRemove()) != 0 || len(plan.GetKeep()) != 2 || !strings.Contains(plan.GetKeep()[0].GetReason()+plan.GetKeep()[1].GetReason(), "for ever") {
		t.Errorf("plan %v", plan)
	}
	// Broken: what was read before holds.
	for _, broken := range []string{"overrides: {anna: [", "", "# nothing\n", "overrides: {bert: {retention_period: soon}}\n"} {
		writeFile(t, path, broken)
		node.ReloadOverrides()
		sweeps(2)
		if left := blocksLeft(t, node); left != "anna bert" {
			t.Fatalf("after %q: left: %s", broken, left)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	node.ReloadOverrides()
	sweeps(2)
	if left := blocksLeft(t, node); left != "anna bert" {
		t.Fatalf("left: %s", left)
	}
	// Right again, and shorter.
	writeFile(t, path, "overrides: {anna: {retention_period: 4w}}\n")
	node.ReloadOverrides()
	sweeps(2)
	if left := blocksLeft(t, node); left != "" {
		t.Errorf("left: %s", left)
	}
}

// As long as the file was never right, nobody knows what may go.
func TestNothingExpiresWithoutPeriods(t *testing.T) {
	path := filepath.Join(t.TempDir(), "overrides.yaml")
	node, m, clock := openAt(t, func(o *shardgroup.Options) {
		o.OverridesPath, o.RetentionInterval = path, time.Millisecond
	})
	add(t, node, m, testBlock(0, "anna", 1, 3))
	clock.advance(365 * 24 * time.Hour)
	from := node.FailedSweeps()
	await(t, "sweeps that fail", func() bool { return node.FailedSweeps() > from+1 })
	if left := blocksLeft(t, node); left != "anna" {
		t.Errorf("left: %s", left)
	}
	_, err := node.Service().PlanRetention(t.Context(), &nodev1.PlanRetentionRequest{GroupId: dataGroup})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	writeFile(t, path, "overrides: {}\n")
	node.ReloadOverrides()
	await(t, "the removal", func() bool { return blocksLeft(t, node) == "" })
}

// The budget of a sweep is small here: the next one goes on where it ended.
func TestSweepsGoOn(t *testing.T) {
	unknown := errors.New("ask later")
	known := make(chan struct{})
	node, m, clock := openAt(t, func(o *shardgroup.Options) {
		o.RetentionInterval = time.Millisecond
		o.Retention = retention.Defaults()
		o.Retention.RowsMax = 2
		o.Periods = func() (retention.Periods, error) {
			select {
			case <-known:
				return retention.Periods{Overrides: map[string]time.Duration{"bert": time.Hour}}, nil
			default:
				return retention.Periods{}, unknown
			}
		}
	})
	for shard := range uint32(7) {
		add(t, node, m, testBlock(0, "anna", shard+1, 3))
	}
	add(t, node, m, testBlock(1, "bert", 1, 3))
	clock.advance(100 * 24 * time.Hour)
	close(known)
	await(t, "the removal", func() bool { return !strings.Contains(blocksLeft(t, node), "bert") })
	if plan := planRetention(t, node, 0); len(plan.GetKeep()) != 2 || plan.GetStopped() == "" {
		t.Errorf("plan %v", plan)
	}
}
