package shardgroup_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup"
)

// The middle of a range is in it, of the whole space, too, whose bounds are both 0.
// What the directory refuses is refused to the operator, and no fault of the node.
func TestSplitsInTheMiddle(t *testing.T) {
	f := newCrew(t)
	f.start("a", func(o *shardgroup.Options) { o.Found, o.Groups, o.Join = true, 1, nil })
	split := func(id, at uint64) error {
		_, err := f.operate(&nodev1.OperateRequest{Action: &nodev1.OperateRequest_Split{Split: &nodev1.SplitAction{RangeId: id, At: at}}})
		return err
	}
	var ranges []*clusterv1.Range
	tenants := func() int {
		ranges = nil
		for _, r := range f.state().GetMap().GetRanges() {
			if r.GetKeyspace() == clusterv1.Keyspace_KEYSPACE_TENANT {
				ranges = append(ranges, r)
			}
		}
		return len(ranges)
	}
	await(t, "the state", func() bool { return f.state() != nil })
	if tenants() != 1 || ranges[0].GetLo() != 0 || ranges[0].GetHi() != 0 {
		t.Fatalf("the ranges are %v", ranges)
	}
	if err := split(ranges[0].GetRangeId(), 0); err != nil {
		t.Fatal(err)
	}
	await(t, "two ranges", func() bool { return tenants() == 2 })
	if ranges[1].GetLo() != 1<<63 {
		t.Errorf("the second range begins at %x", ranges[1].GetLo())
	}
	if err := split(ranges[1].GetRangeId(), 0); err != nil {
		t.Fatal(err)
	}
	await(t, "three ranges", func() bool { return tenants() == 3 })
	if ranges[2].GetLo() != 3<<62 {
		t.Errorf("the third range begins at %x", ranges[2].GetLo())
	}
	if err := split(ranges[2].GetRangeId(), 1); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a split outside of the range: %v", err)
	}
}
