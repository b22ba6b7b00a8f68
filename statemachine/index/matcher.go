package index

import (
	"encoding/binary"

	"github.com/prometheus/prometheus/model/labels"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/proto/selector"
)

// shardMatcher is a query compiled against one shard's string table: names are
// numbers, and each value is matched once.
type shardMatcher struct {
	strings   *stringTable
	tenants   map[int32]bool
	matchers  []compiledMatcher
	kept      []int32 // numbers of the names to keep; absent names are -1
	projected map[string]bool
}

type compiledMatcher struct {
	matcher *labels.Matcher
	name    int32 // -1 if the shard does not know the name
	values  map[int32]bool
}

const absent = -1

// newShardMatcher reports false if nothing in the shard can match.
func newShardMatcher(table *stringTable, tenants map[string]struct{}, q Query) (*shardMatcher, bool) {
	m := &shardMatcher{strings: table, tenants: map[int32]bool{}, projected: map[string]bool{}}
	for tenant := range tenants {
		if id := m.number(tenant); id != absent {
			m.tenants[id] = true
		}
	}
	if len(m.tenants) == 0 {
		return nil, false
	}
	for _, matcher := range q.Matchers {
		compiled := compiledMatcher{matcher, m.number(matcher.Name), map[int32]bool{}}
		if compiled.name == absent {
			if selector.NeedsPresence(matcher) {
				return nil, false
			}
			continue // the label is absent from every set: != and !~ pass
		}
		m.matchers = append(m.matchers, compiled)
	}
	for _, name := range q.Labels {
		m.kept = append(m.kept, m.number(name))
	}
	return m, true
}

func (m *shardMatcher) number(s string) int32 {
	if id, ok := m.strings.ids[s]; ok {
		return id
	}
	return absent
}

// selects tells whether a dataset's tenant and time pass, and one of its label
// sets satisfies all matchers.
func (m *shardMatcher) selects(dataset *metastorev1.Dataset, time Bounds) bool {
	if !m.tenants[dataset.GetTenant()] {
		return false
	}
	if !(Bounds{dataset.GetMinTime(), dataset.GetMaxTime()}).overlaps(time) {
		return false
	}
	sets := labelSets(dataset.GetLabels())
	for set, ok := sets.next(); ok; set, ok = sets.next() {
		if m.matches(set) {
			return true
		}
	}
	return false
}

func (m *shardMatcher) matches(set []int32) bool {
	for i := range m.matchers {
		c := &m.matchers[i]
		value, present := valueOf(set, c.name)
		if !present {
			if selector.NeedsPresence(c.matcher) {
				return false
			}
			continue
		}
		if !c.matchesValue(value, m.strings) {
			return false
		}
	}
	return true
}

func (c *compiledMatcher) matchesValue(value int32, table *stringTable) bool {
	matched, known := c.values[value]
	if !known {
		matched = c.matcher.Matches(table.list[value])
		c.values[value] = matched
	}
	return matched
}

// keptLabels returns, for each matching set, the pairs whose names are kept, in
// the order of the kept names. Without names to keep nothing is returned; with
// names, a set may come out empty. It reports false, and stops, once there are
// more numbers than the limit.
func (m *shardMatcher) keptLabels(flat []int32, limit uint64) ([]int32, bool) {
	if len(m.kept) == 0 {
		return nil, true
	}
	var out []int32
	sets := labelSets(flat)
	for set, ok := sets.next(); ok; set, ok = sets.next() {
		if !m.matches(set) {
			continue
		}
		count := len(out)
		out = append(out, 0)
		for _, name := range m.kept {
			if value, present := valueOf(set, name); present {
				out = append(out, name, value)
				out[count]++
			}
		}
		if uint64(len(out)) > limit {
			return nil, false
		}
	}
	return out, true
}

// projection returns the values of the kept names in a set, 0 ("") where a
// label is absent, and a key that is equal for equal values.
func (m *shardMatcher) projection(set []int32) (string, []int32) {
	values := make([]int32, len(m.kept))
	key := make([]byte, 0, 4*len(m.kept))
	for i, name := range m.kept {
		if value, present := valueOf(set, name); present {
			values[i] = value
		}
		key = binary.BigEndian.AppendUint32(key, uint32(values[i]))
	}
	return string(key), values
}
