package schedule

import (
	"errors"
	"fmt"
	"slices"

	"github.com/skerrydb/skerry/planner"
	"github.com/skerrydb/skerry/planner/compaction"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// success decides about a success of the job's owner.
func (p *poll) success(job Job, update Update) (planner.Reason, error) {
	plan, err := p.view.JobPlan(job.Name)
	if err != nil {
		return planner.Reason{}, err
	}
	if err := checkResult(plan, update.Result); err != nil {
		return p.badResult(job, err)
	}
	c := Completion{
		Was: job.ref(), Token: job.Token, Tenant: plan.Tenant, Shard: plan.Shard,
		Sources:    update.Result.GetSourceBlocks().GetBlocks(),
		NewBlocks:  update.Result.GetNewBlocks(),
		Tombstones: plan.Tombstones,
	}
	c.Reason = planner.Reason{Code: planner.Completed, Have: int64(len(c.Sources)), Want: int64(len(c.NewBlocks))}
	if len(c.NewBlocks) == 0 {
		// Without results nothing was replaced, whatever the list says.
		c.Sources = nil
		c.Reason = planner.Reason{Code: planner.CompletedEmpty}
	}
	left := without(plan.Sources, c.Sources)
	for _, id := range left {
		if slices.Contains(update.Missing, id) {
			c.Missing = append(c.Missing, id)
		}
	}
	plan.Sources = without(left, c.Missing)
	c.Return = p.halves(plan)
	p.Complete = append(p.Complete, c)
	return c.Reason, nil
}

// badResult takes the job from a worker whose result is refused: the next one may
// do better, and if not, other blocks shall not suffer.
func (p *poll) badResult(job Job, fault error) (planner.Reason, error) {
	failures := failed(job)
	reason := planner.Reason{Code: planner.BadResult, Have: int64(failures), Name: fault.Error()}
	if !p.config.exhausted(failures) {
		p.Fail = append(p.Fail, Failure{job.ref(), failures, reason})
		return reason, nil
	}
	err := p.takeApart(job, planner.BadResult)
	p.GiveUp[len(p.GiveUp)-1].Reason = reason
	return reason, err
}

// failed is a job's failures after one more.
func failed(job Job) uint32 { return min(job.Failures+1, FailuresCap) }

// checkResult demands that a result is what the job asked for. A result without
// new blocks is always taken: the worker found nothing to do.
func checkResult(plan compaction.Job, result *metastorev1.CompactedBlocks) error {
	if len(result.GetNewBlocks()) == 0 {
		return nil
	}
	sources := result.GetSourceBlocks()
	if len(sources.GetBlocks()) == 0 {
		return errors.New("new blocks without sources")
	}
	if sources.GetTenant() != plan.Tenant || sources.GetShard() != plan.Shard {
		return fmt.Errorf("sources of tenant %.64q, shard %d", sources.GetTenant(), sources.GetShard())
	}
	if foreign := without(sources.GetBlocks(), plan.Sources); len(foreign) > 0 {
		return fmt.Errorf("source %.64q is not one of the job's", foreign[0])
	}
	if repeated := repeats(sources.GetBlocks()); repeated != "" {
		return fmt.Errorf("source %s is listed twice", repeated)
	}
	var ids []string
	for _, block := range result.GetNewBlocks() {
		if err := checkBlock(plan, block); err != nil {
			return err
		}
		// Objects lie under their tenants: only there an id must be of one block.
		ids = append(ids, block.TenantName()+"/"+block.GetId())
	}
	if repeated := repeats(ids); repeated != "" {
		return fmt.Errorf("new block %s is listed twice", repeated)
	}
	return nil
}

func checkBlock(plan compaction.Job, block *metastorev1.BlockMeta) error {
	if err := metastorev1.ValidateBlock(block); err != nil {
		return err
	}
	if err := metastorev1.CheckLimits(block); err != nil {
		return err
	}
	switch {
	case block.GetShard() != plan.Shard:
		return fmt.Errorf("new block %s has shard %d", block.GetId(), block.GetShard())
	case block.GetCompactionLevel() != plan.Level+1:
		return fmt.Errorf("new block %s has level %d", block.GetId(), block.GetCompactionLevel())
	case plan.Tenant != "" && block.TenantName() != plan.Tenant:
		return fmt.Errorf("new block %s has tenant %.64q", block.GetId(), block.TenantName())
	case block.TenantName() == plan.Tenant && slices.Contains(plan.Sources, block.GetId()):
		return fmt.Errorf("new block %s has the id of a source", block.GetId())
	}
	return nil
}

func repeats(ids []string) string {
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			return id
		}
		seen[id] = true
	}
	return ""
}

func without(ids, others []string) []string {
	var left []string
	for _, id := range ids {
		if !slices.Contains(others, id) {
			left = append(left, id)
		}
	}
	return left
}
