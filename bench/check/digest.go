// Package check tells whether answers of a metastore are right: what it returned
// must be, block for block and byte for byte, what the asker knows.
//
// It shares no code with what answers: selecting datasets and labels is written
// again here, for the few kinds of selectors that are asked.
package check

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

// Digest stands for a set of items, in any order. An item that is there twice
// counts twice.
type Digest struct {
	Count uint64 `json:"count"`
	// The sum of the items' hashes.
	Sum uint64 `json:"sum"`
}

// String is the same for equal digests only.
func (d Digest) String() string { return fmt.Sprintf("%d/%016x", d.Count, d.Sum) }

// Add puts an item's hash in.
func (d *Digest) Add(hash uint64) {
	d.Count++
	d.Sum += hash
}

// Hasher hashes blocks and label sets; it is not safe for concurrent use.
type Hasher struct {
	hash    xxhash.Digest
	scratch [binary.MaxVarintLen64]byte
}

// NewHasher makes one.
func NewHasher() *Hasher {
	h := &Hasher{}
	h.hash.Reset()
	return h
}

// Block hashes all that a block says, with references resolved: blocks with other
// string tables that mean the same have the same hash.
func (h *Hasher) Block(b *metastorev1.BlockMeta) uint64 {
	h.hash.Reset()
	h.text(b.GetId())
	h.text(b.StringAt(b.GetTenant()))
	h.text(b.StringAt(b.GetCreatedBy()))
	h.numbers(uint64(b.GetFormatVersion()), uint64(b.GetShard()), uint64(b.GetCompactionLevel()),
		uint64(b.GetMinTime()), uint64(b.GetMaxTime()), b.GetSize(), b.GetMetadataOffset(), uint64(len(b.GetDatasets())))
	for _, d := range b.GetDatasets() {
		h.dataset(b, d)
	}
	return h.hash.Sum64()
}

func (h *Hasher) dataset(b *metastorev1.BlockMeta, d *metastorev1.Dataset) {
	h.text(b.StringAt(d.GetTenant()))
	h.text(b.StringAt(d.GetName()))
	h.numbers(uint64(d.GetFormat()), uint64(d.GetMinTime()), uint64(d.GetMaxTime()), d.GetSize(), uint64(len(d.GetTableOfContents())))
	h.numbers(d.GetTableOfContents()...)
	h.numbers(uint64(len(d.GetLabels())))
	for rest := d.GetLabels(); len(rest) > 0; {
		refs := setRefs(rest)
		h.numbers(uint64(len(refs)))
		for _, ref := range refs {
			h.text(b.StringAt(ref))
		}
		rest = rest[1+len(refs):]
	}
}

// Labels hashes one set of labels, as QueryMetadataLabels returns it.
func (h *Hasher) Labels(set *typesv1.Labels) uint64 {
	h.hash.Reset()
	for _, pair := range set.GetLabels() {
		h.text(pair.GetName())
		h.text(pair.GetValue())
	}
	return h.hash.Sum64()
}

// Blocks is the digest of an answer.
func (h *Hasher) Blocks(blocks []*metastorev1.BlockMeta) Digest {
	var d Digest
	for _, b := range blocks {
		d.Add(h.Block(b))
	}
	return d
}

// LabelSets is the digest of an answer.
func (h *Hasher) LabelSets(sets []*typesv1.Labels) Digest {
	var d Digest
	for _, set := range sets {
		d.Add(h.Labels(set))
	}
	return d
}

func (h *Hasher) text(s string) {
	h.numbers(uint64(len(s)))
	_, _ = h.hash.WriteString(s) // never fails
}

func (h *Hasher) numbers(all ...uint64) {
	for _, n := range all {
		_, _ = h.hash.Write(h.scratch[:binary.PutUvarint(h.scratch[:], n)])
	}
}

// setRefs returns the references of the first set of a list; a list that ends too
// early, as only a wrong answer has it, is one set with all that is left.
func setRefs(list []int32) []int32 {
	pairs := int64(list[0])
	if pairs < 0 || 2*pairs > int64(len(list)-1) {
		return list[1:]
	}
	return list[1 : 1+2*pairs]
}
