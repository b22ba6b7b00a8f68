package metastorev1

// DecodeBlock is UnmarshalVT into a new block with a tenth of its allocations: datasets,
// lists and strings lie in one piece of memory each. Who keeps one string keeps all of
// the block, and should clone it.
func DecodeBlock(data []byte) (*BlockMeta, error) {
	d := &blockMemory{}
	return d.decode(data)
}

// BlockDecoder decodes blocks that are needed one after the other into the same memory:
// a block is valid until the next one is decoded. Strings may be kept. It takes some
// MiB at most between calls, and is not safe for concurrent use.
type BlockDecoder struct {
	memory blockMemory
	known  knownStrings
}

// Decode is UnmarshalVT.
func (d *BlockDecoder) Decode(data []byte) (*BlockMeta, error) {
	d.memory.known = &d.known
	if len(data) > reusedBytes {
		once := blockMemory{known: &d.known}
		return once.decode(data)
	}
	return d.memory.decode(data)
}

// reusedBytes bounds the blocks for which memory is kept.
const reusedBytes = 64 << 10

// Bounds of knownStrings: longer strings, and more bytes, with what a map takes for each.
const (
	knownStringBytes  = 256
	knownStringsBytes = 256 << 10
	knownStringCost   = 64
)

// knownStrings remembers strings that come again and again, so that they need not be
// made anew. It takes about 1 MiB at most.
type knownStrings struct {
	known map[string]string
	bytes int
}

func (s *knownStrings) of(b []byte) string {
	if known, ok := s.known[string(b)]; ok {
		return known
	}
	made := string(b)
	if len(b) > knownStringBytes {
		return made
	}
	if s.known == nil || s.bytes > knownStringsBytes {
		s.known, s.bytes = map[string]string{}, 0
	}
	s.known[made] = made
	s.bytes += len(b) + knownStringCost
	return made
}

// blockMemory is what a block is decoded into. It goes over the data twice: to count,
// and to fill what is there, or made.
type blockMemory struct {
	// Where strings come from; if that is nil they are parts of whole, all of the data.
	known *knownStrings
	whole string

	block    BlockMeta
	datasets []Dataset
	pointers []*Dataset
	table    []string
	labels   []int32
	contents []uint64
}

func (d *blockMemory) decode(data []byte) (*BlockMeta, error) {
	if d.fill(data) {
		return &d.block, nil
	}
	// What no encoder writes, and faults: rare.
	block := &BlockMeta{}
	return block, block.UnmarshalVT(data)
}

// room returns an empty list with room for so many.
func room[T any](list []T, n int) []T {
	if n > cap(list) {
		return make([]T, 0, n)
	}
	return list[:0]
}

// Field numbers and wire types of the messages, as their tags.
const (
	wireVarint = 0
	wireBytes  = 2

	blockID       = 2<<3 | wireBytes
	blockDatasets = 10<<3 | wireBytes
	blockStrings  = 11<<3 | wireBytes

	datasetContents = 5<<3 | wireBytes
	datasetLabels   = 8<<3 | wireBytes
)

// counts is how much a block holds.
type counts struct{ datasets, strings, labels, contents int }

// fill reports false for what it leaves to UnmarshalVT.
func (d *blockMemory) fill(data []byte) bool {
	c, ok := countBlock(data)
	if !ok {
		return false
	}
	d.block = BlockMeta{}
	b := &d.block
	d.datasets = room(d.datasets, c.datasets)[:c.datasets]
	if d.pointers = room(d.pointers, c.datasets); c.datasets > 0 {
		b.Datasets = d.pointers
	}
	if d.table = room(d.table, c.strings); c.strings > 0 {
		b.StringTable = d.table
	}
	d.labels, d.contents = room(d.labels, c.labels), room(d.contents, c.contents)
	if d.known == nil {
		d.whole = string(data)
	}
	r := fieldReader{data: data}
	for r.next() {
		switch r.tag {
		case 1<<3 | wireVarint:
			b.FormatVersion = uint32(r.number)
		case blockID:
			b.Id = d.string(&r, false)
		case 3<<3 | wireVarint:
			b.Tenant = int32(r.number)
		case 4<<3 | wireVarint:
			b.Shard = uint32(r.number)
		case 5<<3 | wireVarint:
			b.CompactionLevel = uint32(r.number)
		case 6<<3 | wireVarint:
			b.MinTime = int64(r.number)
		case 7<<3 | wireVarint:
			b.MaxTime = int64(r.number)
		case 8<<3 | wireVarint:
			b.CreatedBy = int32(r.number)
		case 9<<3 | wireVarint:
			b.Size = r.number
		case blockDatasets:
			dataset := &d.datasets[len(b.Datasets)]
			*dataset = Dataset{}
			d.dataset(dataset, r.bytes())
			b.Datasets = append(b.Datasets, dataset)
		case blockStrings:
			b.StringTable = append(b.StringTable, d.string(&r, true))
		case 12<<3 | wireVarint:
			b.MetadataOffset = r.number
		}
	}
	return true
}

func (d *blockMemory) dataset(to *Dataset, data []byte) {
	r := fieldReader{data: data}
	for r.next() {
		switch r.tag {
		case 1<<3 | wireVarint:
			to.Tenant = int32(r.number)
		case 2<<3 | wireVarint:
			to.Name = int32(r.number)
		case 3<<3 | wireVarint:
			to.MinTime = int64(r.number)
		case 4<<3 | wireVarint:
			to.MaxTime = int64(r.number)
		case datasetContents:
			first := len(d.contents)
			if d.contents = appendNumbers(d.contents, r.bytes()); len(d.contents) > first {
				to.TableOfContents = d.contents[first:len(d.contents):len(d.contents)]
			}
		case 6<<3 | wireVarint:
			to.Size = r.number
		case datasetLabels:
			first := len(d.labels)
			if d.labels = appendNumbers(d.labels, r.bytes()); len(d.labels) > first {
				to.Labels = d.labels[first:len(d.labels):len(d.labels)]
			}
		case 9<<3 | wireVarint:
			to.Format = uint32(r.number)
		}
	}
}

// string returns a field's text; recurs tells of what comes in other blocks, too.
func (d *blockMemory) string(r *fieldReader, recurs bool) string {
	switch {
	case d.known == nil:
		return d.whole[r.from:r.at]
	case recurs:
		return d.known.of(r.bytes())
	default:
		return string(r.bytes())
	}
}

// countBlock reports false for data that is not just what an encoder writes.
func countBlock(data []byte) (c counts, ok bool) {
	r := fieldReader{data: data}
	for r.next() {
		switch number := r.tag >> 3; {
		case r.tag == blockDatasets:
			c.datasets++
			if !c.dataset(r.bytes()) {
				return c, false
			}
		case r.tag == blockStrings:
			c.strings++
		case r.tag == blockID:
		case r.tag&7 == wireVarint && number >= 1 && number <= 12 && number != 2 && number != 10 && number != 11:
		default:
			return c, false
		}
	}
	return c, !r.failed
}

func (c *counts) dataset(data []byte) bool {
	r := fieldReader{data: data}
	labels, contents := false, false
	for r.next() {
		switch number := r.tag >> 3; {
		case r.tag == datasetLabels && !labels:
			n, whole := countNumbers(r.bytes())
			if !whole {
				return false
			}
			labels, c.labels = true, c.labels+n
		case r.tag == datasetContents && !contents:
			n, whole := countNumbers(r.bytes())
			if !whole {
				return false
			}
			contents, c.contents = true, c.contents+n
		case r.tag&7 == wireVarint && number >= 1 && number <= 9 && number != 5 && number != 7 && number != 8:
		default:
			return false
		}
	}
	return !r.failed
}

// countNumbers counts varints. It reports false if the last one does not end, or one
// is too long.
func countNumbers(packed []byte) (n int, whole bool) {
	long := 0
	for _, b := range packed {
		if b < 0x80 {
			n, long = n+1, 0
		} else if long++; long == varintMax {
			return n, false
		}
	}
	return n, long == 0
}

// appendNumbers decodes varints that were counted.
func appendNumbers[T int32 | uint64](to []T, packed []byte) []T {
	for i := 0; i < len(packed); i++ {
		b := packed[i]
		if b < 0x80 {
			to = append(to, T(b))
			continue
		}
		number := uint64(b & 0x7f)
		for shift := 7; b >= 0x80; shift += 7 {
			i++
			b = packed[i]
			number |= uint64(b&0x7f) << shift
		}
		to = append(to, T(number))
	}
	return to
}

// varintMax is the bytes of the longest number.
const varintMax = 10

// fieldReader goes over an encoded message whose tags have one byte.
type fieldReader struct {
	data   []byte
	at     int
	failed bool

	// The field it has come by: a number, or the data from from to at.
	tag    byte
	number uint64
	from   int
}

func (r *fieldReader) bytes() []byte { return r.data[r.from:r.at] }

// next reports false at the end, and at what it does not understand.
func (r *fieldReader) next() bool {
	data, at := r.data, r.at
	if at+1 >= len(data) {
		r.failed = at < len(data)
		return false
	}
	r.tag = data[at]
	number := uint64(data[at+1])
	at += 2
	if number >= 0x80 {
		number &= 0x7f
		for shift := 7; ; shift += 7 {
			if at == len(data) || shift >= 64 {
				r.failed = true
				return false
			}
			b := data[at]
			at++
			number |= uint64(b&0x7f) << shift
			if b < 0x80 {
				break
			}
		}
	}
	switch {
	case r.tag >= 0x80:
	case r.tag&7 == wireVarint:
		r.number, r.at = number, at
		return true
	case r.tag&7 == wireBytes && number <= uint64(len(data)-at):
		r.from, r.at = at, at+int(number)
		return true
	}
	r.failed = true
	return false
}
