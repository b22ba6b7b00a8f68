package index

import (
	"fmt"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of metastore.v1.BlockMeta and Dataset.
const (
	blockID, blockTenant, blockMinTime, blockMaxTime = 2, 3, 6, 7
	blockCreatedBy, blockDatasets, blockStringTable  = 8, 10, 11
	datasetTenant, datasetName                       = 1, 2
	datasetMinTime, datasetMaxTime, datasetLabels    = 3, 4, 8
)

// keptDataset is a dataset of an answer with the label sets to return, as
// counts and references into the shard's table.
type keptDataset struct {
	dataset
	labels []int32
}

// exporter writes entries as encoded metastore.v1.BlockMeta, each with a string
// table of its own that holds just what it refers to, in order of first use:
// tenant, creator, then for each dataset tenant, name and labels. It is for
// one shard and one goroutine.
type exporter struct {
	terms terms
	// By number in the shard's table: number in the block's, 0 if not used yet
	// (and for "", which is 0 in both).
	own  []int32
	used []int32
	// Dataset and labels under way.
	scratch, packed []byte
	err             error
}

func newExporter(t terms) *exporter { return &exporter{terms: t, own: make([]int32, len(t.strings))} }

// ref translates a reference. References in stored blocks were checked when
// they were written; one outside the table means a damaged store.
func (x *exporter) ref(shared int32) uint64 {
	if int(shared) >= len(x.own) || shared < 0 {
		x.err = fmt.Errorf("%w: string %d of %d", errEntry, shared, len(x.own))
		return 0
	}
	if shared == 0 {
		return 0
	}
	if x.own[shared] == 0 {
		x.used = append(x.used, shared)
		x.own[shared] = int32(len(x.used))
	}
	return uint64(x.own[shared])
}

// block appends an encoded entry with the given datasets.
func (x *exporter) block(out []byte, h head, b body, kept []keptDataset) ([]byte, error) {
	defer x.reset()
	out = append(out, b.other...)
	out = protowire.AppendTag(out, blockID, protowire.BytesType)
	out = appendID(protowire.AppendVarint(out, ulid.EncodedSize), h.id)
	out = appendField(out, blockTenant, x.ref(b.tenant))
	out = appendField(out, blockMinTime, uint64(h.Min))
	out = appendField(out, blockMaxTime, uint64(h.Max))
	out = appendField(out, blockCreatedBy, x.ref(b.creator))
	for i := range kept {
		x.scratch = x.appendDataset(x.scratch[:0], &kept[i])
		out = protowire.AppendTag(out, blockDatasets, protowire.BytesType)
		out = protowire.AppendBytes(out, x.scratch)
	}
	out = protowire.AppendTag(out, blockStringTable, protowire.BytesType)
	out = protowire.AppendString(out, "")
	for _, shared := range x.used {
		out = protowire.AppendTag(out, blockStringTable, protowire.BytesType)
		out = protowire.AppendString(out, x.terms.strings[shared])
	}
	return out, x.err
}

func (x *exporter) appendDataset(out []byte, d *keptDataset) []byte {
	out = appendField(out, datasetTenant, x.ref(d.tenant))
	out = appendField(out, datasetName, x.ref(d.name))
	out = appendField(out, datasetMinTime, uint64(d.Min))
	out = appendField(out, datasetMaxTime, uint64(d.Max))
	x.packed = x.packed[:0]
	sets := labelSets(d.labels)
	for set, ok := sets.next(); ok; set, ok = sets.next() {
		x.packed = protowire.AppendVarint(x.packed, uint64(len(set)/2))
		for _, ref := range set {
			x.packed = protowire.AppendVarint(x.packed, x.ref(ref))
		}
	}
	if len(x.packed) > 0 {
		out = protowire.AppendTag(out, datasetLabels, protowire.BytesType)
		out = protowire.AppendBytes(out, x.packed)
	}
	return append(out, d.other...)
}

func (x *exporter) reset() {
	for _, shared := range x.used {
		x.own[shared] = 0
	}
	x.used, x.err = x.used[:0], nil
}

func appendID(out []byte, id ulid.ULID) []byte {
	var room [ulid.EncodedSize]byte
	out = append(out, room[:]...)
	_ = id.MarshalTextTo(out[len(out)-ulid.EncodedSize:]) // fails only without room
	return out
}

// appendField appends a number unless it is 0, as proto3 does.
func appendField(out []byte, field protowire.Number, value uint64) []byte {
	if value == 0 {
		return out
	}
	return protowire.AppendVarint(protowire.AppendTag(out, field, protowire.VarintType), value)
}

// whole encodes an entry with all its datasets, but for those that are hidden,
// and all their labels.
func (x *exporter) whole(h head, hidden hidden) ([]byte, error) {
	b, err := readBody(h)
	if err != nil {
		return nil, err
	}
	var kept []keptDataset
	for {
		d, more, err := b.next(h)
		if err != nil {
			return nil, err
		}
		if !more {
			return x.block(make([]byte, 0, 128+len(b.other)+128*len(kept)), h, b, kept)
		}
		if hidden.hides(h, d) {
			continue
		}
		k := keptDataset{dataset: d}
		if !x.terms.flatten(&k) {
			return nil, fmt.Errorf("%s: %w", h.id, errUnknownSeries)
		}
		kept = append(kept, k)
	}
}

// flatten gives a dataset all its label sets. It reports false if it refers to
// a series that the shard does not know.
func (t terms) flatten(k *keptDataset) bool {
	complete := true
	k.each(func(number int32) bool {
		if int(number) >= t.series.len() {
			complete = false
			return false
		}
		set := t.series.set(number)
		k.labels = append(k.labels, int32(len(set)/2))
		k.labels = append(k.labels, set...)
		return true
	})
	return complete
}
