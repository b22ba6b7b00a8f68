// Package blockview turns block metadata into what people and scripts read: all
// string references resolved, times as text, label sets as maps.
//
// It takes metadata as a server sent it and trusts none of it: references
// outside the string table and label lists that do not add up are shown as
// such, never followed.
package blockview

import (
	"fmt"
	"time"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Block is a block in the order of fields that JSON output promises.
type Block struct {
	ID        string    `json:"id"`
	Tenant    string    `json:"tenant"`
	Shard     uint32    `json:"shard"`
	Level     uint32    `json:"level"`
	CreatedBy string    `json:"created_by"`
	MinTime   string    `json:"min_time"`
	MinTimeMS int64     `json:"min_time_ms"`
	MaxTime   string    `json:"max_time"`
	MaxTimeMS int64     `json:"max_time_ms"`
	Size      uint64    `json:"size"`
	Datasets  []Dataset `json:"datasets"`
}

// Dataset is a part of a block.
type Dataset struct {
	Tenant    string   `json:"tenant"`
	Name      string   `json:"name"`
	Format    uint32   `json:"format"`
	MinTime   string   `json:"min_time"`
	MinTimeMS int64    `json:"min_time_ms"`
	MaxTime   string   `json:"max_time"`
	MaxTimeMS int64    `json:"max_time_ms"`
	Size      uint64   `json:"size"`
	Labels    []Labels `json:"labels"`
	// What is wrong with the labels; those before the fault are kept.
	Fault string `json:"fault,omitempty"`
}

// Labels is one label set.
type Labels map[string]string

// New resolves a block.
func New(block *metastorev1.BlockMeta) Block {
	table := stringTable(block.GetStringTable())
	view := Block{
		ID:        block.GetId(),
		Tenant:    table.at(block.GetTenant()),
		Shard:     block.GetShard(),
		Level:     block.GetCompactionLevel(),
		CreatedBy: table.at(block.GetCreatedBy()),
		MinTime:   Time(block.GetMinTime()),
		MinTimeMS: block.GetMinTime(),
		MaxTime:   Time(block.GetMaxTime()),
		MaxTimeMS: block.GetMaxTime(),
		Size:      block.GetSize(),
		Datasets:  make([]Dataset, 0, len(block.GetDatasets())),
	}
	for _, dataset := range block.GetDatasets() {
		view.Datasets = append(view.Datasets, newDataset(dataset, table))
	}
	return view
}

// NewList resolves blocks; the result is never nil.
func NewList(blocks []*metastorev1.BlockMeta) []Block {
	views := make([]Block, 0, len(blocks))
	for _, block := range blocks {
		views = append(views, New(block))
	}
	return views
}

func newDataset(dataset *metastorev1.Dataset, table stringTable) Dataset {
	labels, fault := table.labelSets(dataset.GetLabels())
	return Dataset{
		Tenant:    table.at(dataset.GetTenant()),
		Name:      table.at(dataset.GetName()),
		Format:    dataset.GetFormat(),
		MinTime:   Time(dataset.GetMinTime()),
		MinTimeMS: dataset.GetMinTime(),
		MaxTime:   Time(dataset.GetMaxTime()),
		MaxTimeMS: dataset.GetMaxTime(),
		Size:      dataset.GetSize(),
		Labels:    labels,
		Fault:     fault,
	}
}

// Time writes Unix milliseconds as RFC 3339 in UTC, with milliseconds.
func Time(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

type stringTable []string

// at resolves a reference; 0 is the empty string also if there is no table.
func (t stringTable) at(ref int32) string {
	if ref >= 0 && int(ref) < len(t) {
		return t[ref]
	}
	if ref == 0 {
		return ""
	}
	return fmt.Sprintf("<string %d of %d>", ref, len(t))
}

// All sets without labels are this one: a list of nothing but zeroes is short.
var noLabels = Labels{}

// labelSets reads a flattened list: for each set a count of pairs, then the
// pairs. A set that announces more than follows ends the walk.
func (t stringTable) labelSets(refs []int32) (sets []Labels, fault string) {
	sets = []Labels{}
	for len(refs) > 0 {
		pairs, rest := refs[0], refs[1:]
		// Compared in 64 bits: a count near 2^31 must not wrap.
		if pairs < 0 || 2*int64(pairs) > int64(len(rest)) {
			return sets, fmt.Sprintf("label set %d announces %d pairs, %d references follow", len(sets), pairs, len(rest))
		}
		if pairs == 0 {
			sets = append(sets, noLabels)
			refs = rest
			continue
		}
		set := Labels{} // not sized by what was announced: all names may be one
		for i := int32(0); i < 2*pairs; i += 2 {
			set[t.at(rest[i])] = t.at(rest[i+1])
		}
		sets = append(sets, set)
		refs = rest[2*pairs:]
	}
	return sets, ""
}
