package index

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/statemachine/recent"
	"github.com/skerrydb/skerry/storage/kv"
)

// openShard is an index shard that a Writer changes.
type openShard struct {
	key        ShardKey
	name       string
	bucket     *kv.Bucket
	record     Record
	dictionary *dictionary
	writing    *writing
	dirty      bool

	// Where the shard and its tenants lie in the timeline: as it was before
	// this transaction. A nil place stands for none.
	place *place
	live  bool
	moved map[string]*place
	order []string

	// See Writer.Hide.
	hidden map[string]uint64
}

// writing is what a shard's writer keeps from one transaction to the next.
type writing struct {
	// As stored.
	record Record
	// Of the blocks that are there, and some that were.
	ids recent.IDs
	// Bounds of the tenants met so far, and those whose rows do not say them yet.
	tenants   map[string]Bounds
	unsettled map[string]struct{}
	// Blocks that are not below a node of the postings yet, by number; nil if
	// they were not read yet.
	tail []child
}

func newWriting() *writing {
	return &writing{tenants: map[string]Bounds{}, unsettled: map[string]struct{}{}}
}

func (w *writing) cost() int {
	cost := 300 + 120*len(w.tenants) + 40*len(w.unsettled) + w.ids.Bytes()
	for _, c := range w.tail {
		cost += 64 + 4*len(c.series)
	}
	return cost
}

func (s *openShard) wrap(err error) error { return wrap(s.key, err) }

// begin makes it a new shard.
func (s *openShard) begin(entry uint64) {
	s.record = Record{Bounds: nothing, Born: entry, Revision: entry}
	s.moved = map[string]*place{}
	s.writing = newWriting()
	s.restart(entry)
	s.dirty = true
}

// restart begins the numbers of strings, series and blocks anew.
func (s *openShard) restart(entry uint64) {
	s.record.Born, s.record.Blocks, s.record.ObjectBytes = entry, 0, 0
	s.record.Strings, s.record.Series, s.record.Next, s.record.Settled = 0, 0, 0, 0
	s.writing.tail = make([]child, 0, fanout)
	s.dictionary = newDictionary(entry)
}

// load gets what is needed to change a stored shard: what its writer left, or
// what can be read.
func (s *openShard) load(cache *GroupCache) error {
	if s.dictionary, s.writing = cache.take(s.name); s.writing != nil {
		s.begun(s.writing.record)
		return nil
	}
	rows := newRowCursor(s.bucket)
	if err := s.loadRecord(rows); err != nil {
		return err
	}
	s.dictionary, s.writing = cache.dictionary(s.name, s.record.Born), newWriting()
	if last, _ := s.bucket.Cursor().Last(); len(last) == 1+len(ulid.ULID{}) && last[0] == tagID {
		s.writing.ids = recent.After(ulid.ULID(last[1:]))
	}
	if _, err := s.dictionary.extend(rows, s.record); err != nil {
		return err
	}
	if len(s.dictionary.strings) != int(s.record.Strings)+1 || s.dictionary.series.len() != int(s.record.Series) {
		return fmt.Errorf("%w: %d strings and %d series, the record says %d and %d", errDictionary,
			len(s.dictionary.strings)-1, s.dictionary.series.len(), s.record.Strings, s.record.Series)
	}
	return s.loadUnsettled()
}

func (s *openShard) loadRecord(rows *rowCursor) error {
	record, err := DecodeRecord(rows.get([]byte{tagRecord}))
	if err != nil {
		return err
	}
	s.begun(record)
	return nil
}

// begun notes what a stored shard is like before the transaction.
func (s *openShard) begun(record Record) {
	s.record, s.live = record, record.Blocks > 0
	at := placeOf(record.Bounds, s.live)
	s.place, s.moved = &at, map[string]*place{}
}

// has tells whether a block is there.
func (s *openShard) has(id ulid.ULID) bool {
	return !s.writing.ids.Absent(id) && s.bucket.Get(idKey(id)) != nil
}

func (s *openShard) add(id ulid.ULID, block *metastorev1.BlockMeta, entry uint64) error {
	bounds, objectBytes := Bounds{block.GetMinTime(), block.GetMaxTime()}, block.GetSize()
	tenants, anyHidden := s.boundsIn(block, id.Time())
	if err := s.loadTail(); err != nil {
		return err
	}
	sets, err := s.translate(block)
	if err != nil {
		return err
	}
	stored, distinct, err := newEntry(id, block, sets)
	if err != nil {
		return err
	}
	number := s.record.Next
	if err := s.bucket.Put(numberedKey(tagBlock, number), stored); err != nil {
		return err
	}
	if err := s.bucket.Put(idKey(id), binary.BigEndian.AppendUint32(nil, number)); err != nil {
		return err
	}
	s.writing.ids.Add(id)
	if err := s.post(number, child{bounds, distinct}); err != nil {
		return err
	}
	for _, t := range tenants {
		if err := s.widen(t.tenant, t.Bounds); err != nil {
			return err
		}
	}
	s.record.widen(bounds)
	s.record.Next++
	s.record.Blocks++
	s.record.ObjectBytes += objectBytes
	s.record.Revision = entry
	s.dirty = true
	switch {
	case !s.key.segments():
		s.record.Settled = s.record.Next
	case anyHidden || s.record.Next%fanout == 0: // the entry does not tell, or postings are written, too
		return s.settle()
	}
	return nil
}

// translate numbers a block's strings and label sets in the shard's dictionary,
// rewrites tenant, creator and dataset names by these numbers, and returns the
// series of each dataset's label sets. New strings and series are stored.
// Strings are interned in the fixed order of exported tables: block tenant,
// creator, then for each dataset tenant, name and labels.
func (s *openShard) translate(block *metastorev1.BlockMeta) ([][]int32, error) {
	d := s.dictionary
	d.mu.Lock()
	defer d.mu.Unlock()
	// The cache may have shed what was there when the shard was opened.
	d.indexStrings()
	d.indexSeries()
	firstString, firstSeries := len(d.strings), d.series.len()
	i := interner{d: d, block: block, known: make([]int32, len(block.StringTable))}
	block.Tenant, block.CreatedBy = i.ref(block.Tenant), i.ref(block.CreatedBy)
	sets := make([][]int32, len(block.Datasets))
	for n, dataset := range block.Datasets {
		dataset.Tenant, dataset.Name = i.ref(dataset.Tenant), i.ref(dataset.Name)
		sets[n] = i.sets(dataset)
	}
	if added := d.strings[firstString:]; len(added) > 0 {
		var chunk []byte
		for _, text := range added {
			chunk = appendBytes(chunk, []byte(text))
		}
		if err := s.bucket.Put(numberedKey(tagStrings, uint32(firstString)), chunk); err != nil {
			return nil, err
		}
	}
	if d.series.len() > firstSeries {
		var chunk []byte
		for number := firstSeries; number < d.series.len(); number++ {
			chunk = appendSeries(chunk, d.series.at(int32(number)))
		}
		if err := s.bucket.Put(numberedKey(tagSeries, uint32(firstSeries)), chunk); err != nil {
			return nil, err
		}
	}
	s.record.Strings, s.record.Series = uint32(len(d.strings)-1), uint32(d.series.len())
	return sets, nil
}

// interner translates one block's references.
type interner struct {
	d     *dictionary
	block *metastorev1.BlockMeta
	// By the block's own number; 0 if not translated yet (and for "").
	known   []int32
	encoded []byte
	labels  []int32
}

func (i *interner) ref(own int32) int32 {
	if own == 0 {
		return 0
	}
	if i.known[own] == 0 {
		text := i.block.StringTable[own]
		number, known := i.d.byString[text]
		if !known {
			number = i.d.addString(text)
		}
		i.known[own] = number
	}
	return i.known[own]
}

// sets returns the series of a dataset's label sets. Datasets come with the same
// ones again and again, so those of all sets together are known, too.
func (i *interner) sets(dataset *metastorev1.Dataset) []int32 {
	i.labels = i.labels[:0]
	i.encoded = appendNumber(i.encoded[:0], dataset.Tenant)
	sets := labelSets(dataset.Labels)
	for set, ok := sets.next(); ok; set, ok = sets.next() {
		i.labels = append(i.labels, int32(len(set)))
		i.encoded = appendNumber(i.encoded, int32(len(set)))
		for _, own := range set {
			ref := i.ref(own)
			i.labels = append(i.labels, ref)
			i.encoded = appendNumber(i.encoded, ref)
		}
	}
	if numbers, known := i.d.byLabels[string(i.encoded)]; known {
		return numbers
	}
	whole := string(i.encoded)
	var numbers []int32
	for rest := i.labels; len(rest) > 0; rest = rest[1+rest[0]:] {
		one := series{dataset.Tenant, rest[1 : 1+rest[0]]}
		i.encoded = appendSeries(i.encoded[:0], one)
		number, known := i.d.bySeries[string(i.encoded)]
		if !known {
			one.set = slices.Clone(one.set)
			number = i.d.addSeries(one)
		}
		numbers = append(numbers, number)
	}
	i.d.remember(whole, numbers)
	return numbers
}

// remove deletes a block whose id row was read, and returns the bytes of its
// object.
func (s *openShard) remove(id ulid.ULID, idRow []byte, entry uint64) (uint64, error) {
	if len(idRow) != 4 {
		return 0, fmt.Errorf("%w %s: the number", errEntry, id)
	}
	number := binary.BigEndian.Uint32(idRow)
	if number >= s.record.Settled {
		if err := s.settle(); err != nil {
			return 0, err
		}
	}
	stored := s.bucket.Get(numberedKey(tagBlock, number))
	if stored == nil {
		return 0, fmt.Errorf("%w %s: no block has its number", errEntry, id)
	}
	h, err := readHead(stored)
	if err != nil {
		return 0, err
	}
	b, err := readBody(h)
	if err != nil {
		return 0, err
	}
	var other metastorev1.BlockMeta
	if err := other.UnmarshalVT(b.other); err != nil {
		return 0, fmt.Errorf("%w %s: %w", errEntry, id, err)
	}
	if err := s.loadTail(); err != nil {
		return 0, err
	}
	if first := s.record.Next - uint32(len(s.writing.tail)); number >= first {
		s.writing.tail[number-first] = child{}
	}
	if err := s.bucket.Delete(numberedKey(tagBlock, number)); err != nil {
		return 0, err
	}
	if err := s.bucket.Delete(idKey(id)); err != nil {
		return 0, err
	}
	s.record.Blocks--
	s.record.ObjectBytes -= other.GetSize()
	s.record.Revision = entry
	s.dirty = true
	return other.GetSize(), s.tidy(entry)
}
