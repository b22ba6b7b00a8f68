package pyroscopedb

import (
	"errors"
	"fmt"
	"time"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

var errRow = errors.New("damaged row")

// resolver gives the blocks of a shard string tables of their own, in the order in
// which Pyroscope's producers fill them: tenant, creator, then for each dataset
// tenant, name and labels. It is for one goroutine.
type resolver struct {
	table *stringTable
	// By number in the shard's table: the first number of the same string. A table
	// that is whole has no string twice.
	first []int32
	// By such a number: number in the block's table, 0 if not used yet.
	own  []int32
	used []int32
}

func newResolver(table *stringTable) *resolver {
	r := &resolver{table: table, first: make([]int32, len(table.all)), own: make([]int32, len(table.all))}
	numbers := make(map[string]int32, len(table.all))
	for i, s := range table.all {
		number, known := numbers[s]
		if !known {
			number = int32(i)
			numbers[s] = number
		}
		r.first[i] = number
	}
	return r
}

// block decodes a row of a shard and checks that it belongs there.
func (r *resolver) block(key, value []byte, place Place) (*metastorev1.BlockMeta, error) {
	id, err := metastorev1.ParseID(string(key))
	if err != nil {
		return nil, fmt.Errorf("%w: its key: %w", errRow, err)
	}
	block := &metastorev1.BlockMeta{}
	if err := block.UnmarshalVT(value); err != nil {
		return nil, fmt.Errorf("%w: not a block's metadata: %w", errRow, err)
	}
	if block.GetId() != string(key) {
		return nil, fmt.Errorf("%w: it holds block %.64q", errRow, block.GetId())
	}
	if block.GetShard() != place.Shard {
		return nil, fmt.Errorf("%w: the block says that it is of shard %d", errRow, block.GetShard())
	}
	if at := time.UnixMilli(int64(id.Time())); at.Before(place.Start) || !at.Before(place.Start.Add(place.Duration)) {
		return nil, fmt.Errorf("%w: the block was made at %s, which is not in the partition", errRow, at.UTC().Format(time.RFC3339))
	}
	// Tables with fewer than two entries are stored as they came.
	strings := r
	if own := block.GetStringTable(); len(own) > 1 {
		strings = newResolver(&stringTable{all: own})
	}
	if err := strings.resolve(block); err != nil {
		return nil, err
	}
	if err := metastorev1.ValidateBlock(block); err != nil {
		return nil, fmt.Errorf("%w: %w", errRow, err)
	}
	if err := metastorev1.CheckLimits(block); err != nil {
		return nil, fmt.Errorf("%w: %w", errRow, err)
	}
	if tenant := block.TenantName(); tenant != place.Directory && (tenant != "" || place.Directory != anonymous) {
		return nil, fmt.Errorf("%w: the block says that it is of tenant %.64q", errRow, tenant)
	}
	return block, nil
}

// resolve replaces references into the shard's table.
func (r *resolver) resolve(block *metastorev1.BlockMeta) error {
	if err := metastorev1.CheckRefs(block, len(r.table.all)); err != nil {
		if r.table.fault != nil {
			err = fmt.Errorf("%w (%w)", err, r.table.fault)
		}
		return fmt.Errorf("%w: %w", errRow, err)
	}
	block.Tenant, block.CreatedBy = r.ref(block.GetTenant()), r.ref(block.GetCreatedBy())
	for _, dataset := range block.GetDatasets() {
		dataset.Tenant, dataset.Name = r.ref(dataset.GetTenant()), r.ref(dataset.GetName())
		for at := 0; at < len(dataset.Labels); {
			refs := int(2 * dataset.Labels[at]) // checked above
			for i := at + 1; i <= at+refs; i++ {
				dataset.Labels[i] = r.ref(dataset.Labels[i])
			}
			at += 1 + refs
		}
	}
	block.StringTable = make([]string, 1, 1+len(r.used))
	for _, shared := range r.used {
		block.StringTable = append(block.StringTable, r.table.all[shared])
		r.own[shared] = 0
	}
	r.used = r.used[:0]
	return nil
}

func (r *resolver) ref(shared int32) int32 {
	if shared = r.first[shared]; shared == 0 {
		return 0
	}
	if r.own[shared] == 0 {
		r.used = append(r.used, shared)
		r.own[shared] = int32(len(r.used))
	}
	return r.own[shared]
}
