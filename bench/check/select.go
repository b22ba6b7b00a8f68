package check

import (
	"maps"
	"slices"
	"strings"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

// Matcher demands that a label is present and has a value.
type Matcher struct{ Name, Value string }

// Query is what the metastore is asked: for blocks, or for sets of labels.
type Query struct {
	Tenants []string
	// Unix milliseconds, inclusive.
	From, To int64
	Matchers []Matcher
	// Names of labels that are kept.
	Labels []string
}

// Selector is the query in Prometheus' words.
func (q *Query) Selector() string {
	var parts []string
	for _, m := range q.Matchers {
		parts = append(parts, m.Name+`="`+m.Value+`"`)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// Select returns what an answer has of a block, or nil: the datasets of the
// tenants that overlap the time and have a set of labels with all that is demanded,
// and of these sets the labels that are kept. It shares the block's string table.
func (q *Query) Select(b *metastorev1.BlockMeta) *metastorev1.BlockMeta {
	if b.GetMinTime() > q.To || b.GetMaxTime() < q.From {
		return nil
	}
	var kept []*metastorev1.Dataset
	for _, d := range b.GetDatasets() {
		if !q.asksFor(b, d) {
			continue
		}
		matched := false
		var labels []int32
		for rest := d.GetLabels(); len(rest) > 0; {
			refs := setRefs(rest)
			rest = rest[1+len(refs):]
			if q.matches(b, refs) {
				matched = true
				labels = q.project(b, labels, refs)
			}
		}
		if matched {
			kept = append(kept, &metastorev1.Dataset{
				Tenant: d.GetTenant(), Name: d.GetName(), MinTime: d.GetMinTime(), MaxTime: d.GetMaxTime(),
				TableOfContents: d.GetTableOfContents(), Size: d.GetSize(), Labels: labels, Format: d.GetFormat(),
			})
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return &metastorev1.BlockMeta{
		FormatVersion: b.GetFormatVersion(), Id: b.GetId(), Tenant: b.GetTenant(), Shard: b.GetShard(), CompactionLevel: b.GetCompactionLevel(),
		MinTime: b.GetMinTime(), MaxTime: b.GetMaxTime(), CreatedBy: b.GetCreatedBy(), Size: b.GetSize(),
		Datasets: kept, StringTable: b.GetStringTable(), MetadataOffset: b.GetMetadataOffset(),
	}
}

func (q *Query) asksFor(b *metastorev1.BlockMeta, d *metastorev1.Dataset) bool {
	return d.GetMinTime() <= q.To && d.GetMaxTime() >= q.From && slices.Contains(q.Tenants, b.StringAt(d.GetTenant()))
}

func (q *Query) matches(b *metastorev1.BlockMeta, refs []int32) bool {
	for _, m := range q.Matchers {
		if value, present := lookup(b, refs, m.Name); !present || value != m.Value {
			return false
		}
	}
	return true
}

// project adds a set with those labels that are kept, in the order asked for.
func (q *Query) project(b *metastorev1.BlockMeta, labels, refs []int32) []int32 {
	if len(q.Labels) == 0 {
		return labels
	}
	at := len(labels)
	labels = append(labels, 0)
	for _, name := range q.Labels {
		for i := 0; i+1 < len(refs); i += 2 {
			if b.StringAt(refs[i]) == name {
				labels = append(labels, refs[i], refs[i+1])
				labels[at]++
				break
			}
		}
	}
	return labels
}

func lookup(b *metastorev1.BlockMeta, refs []int32, name string) (value string, present bool) {
	for i := 0; i+1 < len(refs); i += 2 {
		if b.StringAt(refs[i]) == name {
			return b.StringAt(refs[i+1]), true
		}
	}
	return "", false
}

// LabelSets collects distinct answers to a query for labels.
type LabelSets struct {
	query Query
	known map[string]*typesv1.Labels
}

// NewLabelSets begins without any.
func NewLabelSets(q Query) *LabelSets {
	return &LabelSets{query: q, known: map[string]*typesv1.Labels{}}
}

// Add puts in what a block has. Labels that a set lacks have empty values.
func (s *LabelSets) Add(b *metastorev1.BlockMeta) {
	for _, d := range b.GetDatasets() {
		if !s.query.asksFor(b, d) {
			continue
		}
		for rest := d.GetLabels(); len(rest) > 0; {
			refs := setRefs(rest)
			rest = rest[1+len(refs):]
			if s.query.matches(b, refs) {
				s.put(b, refs)
			}
		}
	}
}

func (s *LabelSets) put(b *metastorev1.BlockMeta, refs []int32) {
	var key strings.Builder
	for _, name := range s.query.Labels {
		value, _ := lookup(b, refs, name)
		key.WriteString(value)
		key.WriteByte(0)
	}
	if s.known[key.String()] != nil {
		return
	}
	set := &typesv1.Labels{}
	for _, name := range s.query.Labels {
		value, _ := lookup(b, refs, name)
		set.Labels = append(set.Labels, &typesv1.LabelPair{Name: name, Value: value})
	}
	s.known[key.String()] = set
}

// All is the right answer, in no order.
func (s *LabelSets) All() []*typesv1.Labels { return slices.Collect(maps.Values(s.known)) }

// Digest is that of the right answer.
func (s *LabelSets) Digest() Digest { return NewHasher().LabelSets(s.All()) }
