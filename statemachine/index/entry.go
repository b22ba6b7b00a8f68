package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// An entry is a block as it is stored: first what tells whether a query needs
// it, readable without decoding the rest, then the block.
//
//	format (1) | min time (8) | max time (8) | ULID (16)
//	length, the distinct series, ascending, as differences
//	tenant | creator | length, other fields of BlockMeta
//	for each dataset its length, then
//	  tenant | name | min and max time, relative to the block's
//	  length, the series of its label sets | other fields of Dataset
//
// Numbers are varints, lengths in bytes, so that what a query does not need is
// stepped over. "Other fields" are protobuf, without what is stored before, and
// with fields that this release does not know.
const (
	entryFormat = 2
	entryFixed  = 1 + boundsSize + 16
)

var (
	errEntry         = errors.New("index: malformed block entry")
	errUnknownSeries = fmt.Errorf("%w: a series outside the dictionary", errEntry)
)

// head is the part of an entry that is read to test it.
type head struct {
	Bounds
	id ulid.ULID
	// Ascending differences; see each.
	series []byte
	body   []byte
}

func readHead(stored []byte) (head, error) {
	if len(stored) < entryFixed || stored[0] != entryFormat {
		return head{}, errEntry
	}
	bounds, err := decodeBounds(stored[1 : 1+boundsSize])
	if err != nil {
		return head{}, err
	}
	h := head{Bounds: bounds, id: ulid.ULID(stored[1+boundsSize : entryFixed])}
	r := reader{rest: stored[entryFixed:]}
	if h.series = r.bytes(); r.failed {
		return head{}, fmt.Errorf("%w %s", errEntry, h.id)
	}
	h.body = r.rest
	return h, nil
}

// list returns the entry's series, ascending.
func (h *head) list() ([]int32, error) {
	numbers := make([]int32, 0, len(h.series)) // a number takes a byte at least
	last, r := uint64(0), reader{rest: h.series}
	for len(r.rest) > 0 {
		last += r.uvarint()
		if r.failed || last > math.MaxInt32 {
			return nil, fmt.Errorf("%w %s: the series", errEntry, h.id)
		}
		numbers = append(numbers, int32(last))
	}
	return numbers, nil
}

// body is the rest of an entry; its datasets are read one by one.
type body struct {
	tenant, creator int32
	other           []byte
	datasets        reader
	// If not nil, next steps over datasets of other tenants.
	only *tenantNumbers
}

// tenantNumbers are the numbers of tenants that a query names, in a shard with so
// many strings.
type tenantNumbers struct {
	numbers []int32
	strings int
}

// numbers returns those that the shard knows.
func (t terms) numbers(tenants []string) *tenantNumbers {
	found := &tenantNumbers{strings: len(t.strings)}
	for _, tenant := range tenants {
		if number := t.number(tenant); number != absent {
			found.numbers = append(found.numbers, number)
		}
	}
	return found
}

func readBody(h head) (body, error) {
	r := reader{rest: h.body}
	b := body{tenant: r.number(), creator: r.number(), other: r.bytes()}
	b.datasets = r
	if r.failed {
		return body{}, fmt.Errorf("%w %s", errEntry, h.id)
	}
	return b, nil
}

// dataset is one of an entry's datasets.
type dataset struct {
	tenant, name int32
	Bounds
	// One for each label set; see sets.
	series []byte
	other  []byte
}

// next reads the next dataset. It returns false after the last one.
func (b *body) next(h head) (dataset, bool, error) {
	for len(b.datasets.rest) > 0 {
		r := reader{rest: b.datasets.bytes()}
		tenant := r.number()
		if b.datasets.failed || b.only != nil && int(tenant) >= b.only.strings {
			return dataset{}, false, fmt.Errorf("%w %s", errEntry, h.id)
		}
		if b.only == nil || slices.Contains(b.only.numbers, tenant) {
			return readDataset(h, tenant, r)
		}
	}
	return dataset{}, false, nil
}

func readDataset(h head, tenant int32, r reader) (dataset, bool, error) {
	d := dataset{tenant: tenant, name: r.number()}
	d.Bounds = Bounds{h.Min + r.varint(), h.Max + r.varint()}
	if d.series = r.bytes(); r.failed {
		return dataset{}, false, fmt.Errorf("%w %s", errEntry, h.id)
	}
	d.other = r.rest
	return d, true, nil
}

// unreadable is a number that no series has, of a damaged entry.
const unreadable = math.MaxInt32

// each calls fn for the series of the dataset's label sets, in their order,
// until it returns false.
func (d *dataset) each(fn func(number int32) bool) {
	for r := (reader{rest: d.series}); len(r.rest) > 0; {
		number := r.number()
		if r.failed {
			number = unreadable
		}
		if !fn(number) {
			return
		}
	}
}

// newEntry encodes a block whose tenant, creator, dataset tenants and names
// were translated into the shard's numbers already, with the series of each
// dataset's label sets. The block is used up.
func newEntry(id ulid.ULID, block *metastorev1.BlockMeta, sets [][]int32) ([]byte, []int32, error) {
	distinct := slices.Concat(sets...)
	slices.Sort(distinct)
	distinct = slices.Compact(distinct)

	datasets := block.Datasets
	bounds := Bounds{block.MinTime, block.MaxTime}
	entry := make([]byte, 0, entryFixed+64+2*len(distinct)+64*len(datasets))
	entry = append(entry, entryFormat)
	entry = bounds.append(entry)
	entry = append(entry, id[:]...)
	var scratch []byte
	previous := int32(0)
	for _, number := range distinct {
		scratch = appendNumber(scratch, number-previous)
		previous = number
	}
	entry = appendBytes(entry, scratch)
	entry = appendNumber(entry, block.Tenant)
	entry = appendNumber(entry, block.CreatedBy)

	block.Id, block.Tenant, block.CreatedBy, block.MinTime, block.MaxTime, block.Datasets, block.StringTable = "", 0, 0, 0, 0, nil, nil
	entry, err := appendMessage(entry, block)
	if err != nil {
		return nil, nil, err
	}
	var numbers []byte
	for i, d := range datasets {
		numbers = numbers[:0]
		for _, number := range sets[i] {
			numbers = appendNumber(numbers, number)
		}
		scratch = appendNumber(scratch[:0], d.Tenant)
		scratch = appendNumber(scratch, d.Name)
		scratch = binary.AppendVarint(scratch, d.MinTime-bounds.Min)
		scratch = binary.AppendVarint(scratch, d.MaxTime-bounds.Max)
		scratch = appendBytes(scratch, numbers)
		d.Tenant, d.Name, d.MinTime, d.MaxTime, d.Labels = 0, 0, 0, 0, nil
		size := d.SizeVT()
		entry = binary.AppendUvarint(entry, uint64(len(scratch)+size))
		entry = append(entry, scratch...)
		entry = slices.Grow(entry, size)
		if _, err := d.MarshalToSizedBufferVT(entry[len(entry) : len(entry)+size]); err != nil {
			return nil, nil, err
		}
		entry = entry[:len(entry)+size]
	}
	return entry, distinct, nil
}

func appendMessage(to []byte, block *metastorev1.BlockMeta) ([]byte, error) {
	size := block.SizeVT()
	to = binary.AppendUvarint(to, uint64(size))
	to = slices.Grow(to, size)
	_, err := block.MarshalToSizedBufferVT(to[len(to) : len(to)+size])
	return to[:len(to)+size], err
}
