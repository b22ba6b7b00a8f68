package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/skerrydb/skerry/planner/compaction"
	"github.com/skerrydb/skerry/planner/schedule"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// poll decides and prints; apply applies. A report is
//
//	job running|done|other token [new=name@tenant,…] [without=source,…] [level=] [shard=] [missing=source,…]
func (s *script) poll(a arguments, updates [][]string) error {
	request := schedule.Request{Capacity: uint32(a.number("0", 0))}
	for _, words := range updates {
		request.Updates = append(request.Updates, s.update(words))
	}
	d, err := schedule.Poll(s.tables, s.config, s.tables.Now, request)
	if err != nil {
		return err
	}
	s.last = d
	for _, report := range d.Reports {
		s.printf("report %s: %v", s.job(report.Name), report.Reason)
	}
	for _, grant := range d.Renew {
		s.printf("renew %s: token %d", s.job(grant.Was.Name), grant.Token)
	}
	for _, c := range d.Complete {
		s.printf("complete %s: replaces [%s]%s", s.job(c.Was.Name), s.list(c.Sources), s.left(c.Return, c.Missing, c.Tombstones, "deleted"))
	}
	for _, failure := range d.Fail {
		s.printf("take back %s: %d failures", s.job(failure.Was.Name), failure.Failures)
	}
	for _, up := range d.GiveUp {
		s.printf("give up %s: %v%s", s.job(up.Was.Name), up.Reason, s.left(up.Return, nil, up.Tombstones, "free"))
	}
	for _, grant := range d.Assign {
		s.printf("assign %s: token %d until %v: %v", s.job(grant.Was.Name), grant.Token, grant.ExpiresAt, grant.Reason)
	}
	for _, job := range d.Create {
		s.created(job)
	}
	if d.Empty() {
		s.printf("nothing to propose")
	}
	if d.Slots > 0 {
		s.printf("slots: %d, stopped: %v", d.Slots, d.Stopped)
	}
	return nil
}

func (s *script) left(batches []compaction.Batch, missing, tombstones []string, what string) string {
	var text string
	for _, batch := range batches {
		text += fmt.Sprintf(", back [%s]", s.list(batch.Blocks))
	}
	if len(missing) > 0 {
		text += fmt.Sprintf(", missing [%s]", s.list(missing))
	}
	if len(tombstones) > 0 {
		text += fmt.Sprintf(", %s: %s", what, s.tombstones(tombstones))
	}
	return text
}

func (s *script) update(words []string) schedule.Update {
	a := newArguments(words)
	name := a.plain[0]
	if full, found := s.jobs[name]; found {
		name = full
	}
	update := schedule.Update{Name: name}
	fmt.Sscan(a.plain[2], &update.Token)
	for _, source := range strings.FieldsFunc(a.text("missing", ""), comma) {
		update.Missing = append(update.Missing, s.blocks[source])
	}
	switch a.plain[1] {
	case "running":
		update.Status = metastorev1.CompactionJobStatus_COMPACTION_STATUS_IN_PROGRESS
		return update
	case "done":
		update.Status = metastorev1.CompactionJobStatus_COMPACTION_STATUS_SUCCESS
	default:
		update.Status = 7
		return update
	}
	row, found := s.tables.jobs[name]
	if !found || a.text("new", "") == "" {
		return update
	}
	plan := row.plan
	sources := slices.DeleteFunc(slices.Clone(plan.Sources), func(id string) bool {
		return slices.Contains(strings.FieldsFunc(a.text("without", ""), comma), s.blocks[id])
	})
	for _, extra := range strings.FieldsFunc(a.text("with", ""), comma) {
		sources = append(sources, s.blocks[extra])
	}
	update.Result = &metastorev1.CompactedBlocks{SourceBlocks: &metastorev1.BlockList{
		Tenant: a.text("tenant", plan.Tenant), Shard: uint32(a.number("listed", int(plan.Shard))), Blocks: sources,
	}}
	for _, word := range strings.FieldsFunc(a.text("new", ""), comma) {
		block, tenant, _ := strings.Cut(word, "@")
		id, known := s.blocks[block]
		if !known {
			s.number++
			id = plan.Sources[0][:10] + BlockID(0, s.number)[10:]
			s.blocks[block], s.blocks[id] = id, block
		}
		update.Result.NewBlocks = append(update.Result.NewBlocks, &metastorev1.BlockMeta{
			Id: id, Tenant: int32(a.number("ref", 1)), StringTable: []string{"", tenant},
			Shard:           uint32(a.number("shard", int(plan.Shard))),
			CompactionLevel: uint32(a.number("level", int(plan.Level)+1)),
		})
	}
	return update
}

func comma(r rune) bool { return r == ',' }
