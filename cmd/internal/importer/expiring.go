package importer

import (
	"context"
	"fmt"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
)

// expiringMax bounds what is asked of each group.
const expiringMax = 10_000

// expiring tells what retention is about to remove of what was just imported: the old
// metastore may have kept it, and the next sweep may be minutes away. It is advice, so
// a failure is told and is none.
func (i *Import) expiring(ctx context.Context) {
	answer, err := call(ctx, i, i.cluster.Admin.PlanRetention, &adminv1.PlanRetentionRequest{Limit: expiringMax})
	if err != nil {
		i.options.Note(fmt.Sprintf("what retention is about to remove is not known: %v; see: skerry retention plan", err))
		return
	}
	report := &i.report.Expiring
	for _, group := range answer.GetGroups() {
		for _, verdict := range group.GetPlan().GetRemove() {
			report.Shards++
			report.Blocks += verdict.GetBlocks()
		}
	}
	if report.Blocks > 0 {
		i.options.Note(fmt.Sprintf("retention is about to remove %d blocks: if the old metastore keeps them longer, stop the nodes now and give them its -retention-period and -runtime-config.file; see: skerry retention plan", report.Blocks))
	}
}
