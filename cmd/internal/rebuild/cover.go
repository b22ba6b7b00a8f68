package rebuild

import (
	"sort"
	"time"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// cover knows the datasets of a shard's blocks, and tells which blocks were
// compacted into others.
//
// A job of compaction takes blocks of one level and shard that follow each other
// in time. What it makes has the ID time of the oldest of them, the next level,
// and for each dataset the times from the first to the last of it. So a block is
// covered if for each of its datasets there is a block of a higher level
// that is not younger, is at most coverMargin older, and holds times of the
// same dataset before and after. A block that compaction left out, between others that
// it took, looks the same: that is the price, and why what is covered is not
// brought back, but told.
type cover struct {
	spans map[datasetKey][]span
}

type datasetKey struct{ tenant, name string }

type span struct {
	made     uint64 // the ID's milliseconds
	level    uint32
	from, to int64
	of       *object
}

// newCover takes objects with metadata, the oldest first.
func newCover(all []*object) cover {
	c := cover{map[datasetKey][]span{}}
	for _, o := range all {
		for _, dataset := range o.block.Datasets {
			key := datasetOf(o.block, dataset)
			c.spans[key] = append(c.spans[key], span{o.location.ID.Time(), o.block.CompactionLevel, dataset.MinTime, dataset.MaxTime, o})
		}
	}
	return c
}

// covers tells whether a block seems to have been compacted. One without
// datasets has nothing to tell it from.
func (c cover) covers(o *object) bool {
	for _, dataset := range o.block.Datasets {
		if !c.coversDataset(o, dataset) {
			return false
		}
	}
	return len(o.block.Datasets) > 0
}

func (c cover) coversDataset(o *object, dataset *metastorev1.Dataset) bool {
	made := o.location.ID.Time()
	spans := c.spans[datasetOf(o.block, dataset)]
	// From the youngest that is not younger, back.
	for i := sort.Search(len(spans), func(i int) bool { return spans[i].made > made }) - 1; i >= 0; i-- {
		s := spans[i]
		if made-s.made > uint64(coverMargin/time.Millisecond) {
			return false
		}
		if s.level > o.block.CompactionLevel && s.from <= dataset.MinTime && s.to >= dataset.MaxTime {
			return true
		}
	}
	return false
}

// sourceOf returns the block that a block was made of, if it is among these: the
// oldest of its sources has its time, and none of the data is anywhere else.
func (c cover) sourceOf(o *object) *object {
	if o.block.CompactionLevel == 0 {
		return nil
	}
	made := o.location.ID.Time()
	for _, dataset := range o.block.Datasets {
		spans := c.spans[datasetOf(o.block, dataset)]
		first := sort.Search(len(spans), func(i int) bool { return spans[i].made >= made })
		for _, s := range spans[first:] {
			if s.made != made {
				break
			}
			if s.level+1 == o.block.CompactionLevel && s.from >= dataset.MinTime && s.to <= dataset.MaxTime {
				return s.of
			}
		}
	}
	return nil
}

func datasetOf(block *metastorev1.BlockMeta, dataset *metastorev1.Dataset) datasetKey {
	return datasetKey{text(block, dataset.Tenant), text(block, dataset.Name)}
}

// text resolves a reference; bad ones are nobody's.
func text(block *metastorev1.BlockMeta, reference int32) string {
	if reference < 0 || int(reference) >= len(block.StringTable) {
		return ""
	}
	return block.StringTable[reference]
}
