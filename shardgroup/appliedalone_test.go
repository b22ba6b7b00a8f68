package shardgroup

import (
	"testing"

	"github.com/lni/dragonboat/v4"
)

// Who may have been removed, or have others beside it, keeps quiet.
func TestOnlyWhoIsAloneByItsLogCampaigns(t *testing.T) {
	for _, s := range []struct {
		what  string
		shard dragonboat.ShardInfo
		want  bool
	}{
		{"alone", dragonboat.ShardInfo{ShardID: 3, Replicas: map[uint64]string{7: "a"}}, true},
		{"nothing applied yet", dragonboat.ShardInfo{ShardID: 3, Pending: true}, false},
		{"another voter", dragonboat.ShardInfo{ShardID: 3, Replicas: map[uint64]string{7: "a", 8: "b"}}, false},
		{"a learner", dragonboat.ShardInfo{ShardID: 3, Replicas: map[uint64]string{8: "b"}}, false},
		{"another group", dragonboat.ShardInfo{ShardID: 4, Replicas: map[uint64]string{7: "a"}}, false},
	} {
		if got := appliedAlone([]dragonboat.ShardInfo{s.shard}, 3, 7); got != s.want {
			t.Errorf("%s: %t", s.what, got)
		}
	}
}
