package index

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// dictionary holds the strings and the series of an index shard. Both are
// numbered by first use. String 0 is "" and is not stored.
//
// Within one beginning of a shard (Record.Born) a dictionary only grows, so
// any number of states share one: each sees as much of it as its record says
// (see terms). That is why it may be shared by the writer, by readers of older
// states, and by a cache, without ever being stale: a longer one holds the
// shorter one.
type dictionary struct {
	born uint64

	mu      sync.RWMutex
	strings []string
	series  seriesList
	// Made when they pay off; nil before.
	byString map[string]int32
	byTenant map[int32][]int32
	// By encoding; the writer's only.
	bySeries map[string]int32
	// The series of a dataset, by tenant and labels as encoded by the writer, whose
	// it is. Bounded.
	byLabels    map[string][]int32
	labelsBytes int
	bytes       int

	// Where queries begin, as far as it is known: of the same beginning.
	frontier atomic.Pointer[frontier]
}

func newDictionary(born uint64) *dictionary {
	return &dictionary{born: born, strings: []string{""}}
}

var errDictionary = errors.New("index: malformed dictionary")

// extend reads from the shard what the record has and the dictionary has not,
// and returns the number of bytes read.
func (d *dictionary) extend(rows *rowCursor, record Record) (int, error) {
	d.mu.RLock()
	complete := d.covers(record)
	d.mu.RUnlock()
	if complete {
		return 0, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	load := loader{rows: rows}
	err := load.chunks(tagStrings, func() uint32 { return uint32(len(d.strings)) }, record.Strings+1, d.appendStrings)
	if err == nil {
		err = load.chunks(tagSeries, func() uint32 { return uint32(d.series.len()) }, record.Series,
			func(chunk []byte) error { return d.appendSeries(chunk, record.Series) })
	}
	return load.read, err
}

func (d *dictionary) covers(record Record) bool {
	return len(d.strings) > int(record.Strings) && d.series.len() >= int(record.Series)
}

// loader reads the chunks of a dictionary.
type loader struct {
	rows *rowCursor
	// Bytes of the rows read.
	read int
}

// chunks reads the rows of a tag from number count on, until there are want.
func (l *loader) chunks(tag byte, count func() uint32, want uint32, fn func([]byte) error) error {
	for count() < want {
		key := numberedKey(tag, count())
		row := l.rows.get(key)
		if row == nil {
			return fmt.Errorf("%w: rows %q end at number %d, the record says %d", errDictionary, tag, count(), want)
		}
		if err := fn(row); err != nil {
			return err
		}
		l.read += len(key) + len(row)
	}
	if count() > want {
		return fmt.Errorf("%w: rows %q go on to number %d, the record says %d", errDictionary, tag, count(), want)
	}
	return nil
}

// A chunk of strings holds those that one block added: each its length, then
// bytes.
func (d *dictionary) appendStrings(chunk []byte) error {
	// One allocation for all of them.
	r, text, at := reader{rest: chunk}, string(chunk), 0
	var added []string
	for len(r.rest) > 0 && !r.failed {
		size := len(r.bytes())
		at = len(chunk) - len(r.rest)
		if !r.failed {
			added = append(added, text[at-size:at])
		}
	}
	if r.failed || len(added) == 0 {
		return errDictionary
	}
	for _, s := range added {
		d.addString(s)
	}
	return nil
}

// A chunk of series holds those that one block added; see seriesList.decode. The
// record says how many there are in all.
func (d *dictionary) appendSeries(chunk []byte, all uint32) error {
	known := d.series.len()
	if !d.series.decode(chunk, len(d.strings)) {
		return errDictionary
	}
	d.series.expect(int(all))
	for number := known; number < d.series.len(); number++ {
		d.indexAdded(int32(number))
	}
	return nil
}

func (d *dictionary) addString(s string) int32 {
	number := int32(len(d.strings))
	d.strings = append(d.strings, s)
	if d.byString != nil {
		d.byString[s] = number
	}
	d.bytes += len(s) + 80
	return number
}

func (d *dictionary) addSeries(s series) int32 {
	number := int32(d.series.len())
	d.series.add(s)
	d.indexAdded(number)
	return number
}

// indexAdded puts a series into the maps that were made.
func (d *dictionary) indexAdded(number int32) {
	if d.byTenant != nil {
		tenant := d.series.tenant(number)
		d.byTenant[tenant] = append(d.byTenant[tenant], number)
	}
	if d.bySeries != nil {
		d.bySeries[string(appendSeries(nil, d.series.at(number)))] = number
	}
}

func appendSeries(to []byte, s series) []byte {
	to = appendNumber(to, int32(len(s.set)))
	to = appendNumber(to, s.tenant)
	for _, ref := range s.set {
		to = appendNumber(to, ref)
	}
	return to
}

// labelsMax bounds what byLabels holds, in bytes.
const labelsMax = 256 << 10

// remember keeps the series of a dataset's labels.
func (d *dictionary) remember(labels string, numbers []int32) {
	cost := 100 + len(labels) + 4*len(numbers)
	if cost > labelsMax {
		return
	}
	if d.byLabels == nil || d.labelsBytes+cost > labelsMax {
		d.byLabels, d.labelsBytes = map[string][]int32{}, 0
	}
	d.byLabels[labels] = numbers
	d.labelsBytes += cost
}

func (d *dictionary) indexStrings() {
	if d.byString != nil {
		return
	}
	d.byString = make(map[string]int32, len(d.strings))
	for number, s := range d.strings {
		d.byString[s] = int32(number)
	}
}

func (d *dictionary) indexTenants() {
	if d.byTenant != nil {
		return
	}
	d.byTenant = map[int32][]int32{}
	for number := range int32(d.series.len()) {
		tenant := d.series.tenant(number)
		d.byTenant[tenant] = append(d.byTenant[tenant], number)
	}
}

func (d *dictionary) indexSeries() {
	if d.bySeries != nil {
		return
	}
	d.bySeries = make(map[string]int32, d.series.len())
	var encoded []byte
	for number := range int32(d.series.len()) {
		encoded = appendSeries(encoded[:0], d.series.at(number))
		d.bySeries[string(encoded)] = number
	}
}

// cost is about what a dictionary takes in memory for all, and for its writer alone.
func (d *dictionary) cost() (shared, writers int) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	shared = 500 + d.bytes + d.series.bytes() + d.frontier.Load().cost()
	if d.byTenant != nil {
		shared += 8 * d.series.len()
	}
	return shared, 70*len(d.bySeries) + d.labelsBytes
}

// shed gives up what only a writer needs.
func (d *dictionary) shed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bySeries, d.byLabels, d.labelsBytes = nil, nil, 0
}

// terms is as much of a dictionary as one state of the shard knows. It does
// not change while others let the dictionary grow.
type terms struct {
	dictionary *dictionary
	strings    []string
	series     seriesList
}

// terms returns the part that a record describes; the dictionary must cover it.
func (d *dictionary) terms(record Record) terms {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return terms{d, d.strings[:record.Strings+1], d.series.first(record.Series)}
}

const absent = -1

// Lengths from which a map beats walking a list: of strings, and of numbers.
const (
	worthIndexing       = 48
	worthIndexingSeries = 2048
)

// number returns the number of a string, absent if the shard does not know it.
func (t terms) number(s string) int32 {
	if len(t.strings) < worthIndexing {
		return int32(slices.Index(t.strings, s))
	}
	d := t.dictionary
	d.mu.RLock()
	indexed := d.byString != nil
	number, known := d.byString[s]
	d.mu.RUnlock()
	if !indexed {
		d.mu.Lock()
		d.indexStrings()
		number, known = d.byString[s]
		d.mu.Unlock()
	}
	if !known || int(number) >= len(t.strings) {
		return absent
	}
	return number
}

// of calls fn for the series of a tenant.
func (t terms) of(tenant int32, fn func(number int32)) {
	if t.series.len() < worthIndexingSeries {
		begin := uint32(0)
		for number, end := range t.series.ends {
			if t.series.refs[begin] == tenant {
				fn(int32(number))
			}
			begin = end
		}
		return
	}
	d := t.dictionary
	d.mu.RLock()
	indexed := d.byTenant != nil
	numbers := d.byTenant[tenant]
	d.mu.RUnlock()
	if !indexed {
		d.mu.Lock()
		d.indexTenants()
		numbers = d.byTenant[tenant]
		d.mu.Unlock()
	}
	for _, number := range numbers {
		if int(number) >= t.series.len() {
			return
		}
		fn(number)
	}
}
