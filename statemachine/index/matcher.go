package index

import (
	"github.com/prometheus/prometheus/model/labels"

	"github.com/skerrydb/skerry/proto/selector"
)

// compiledMatcher is a matcher for one shard: its name is a number, and each
// value is matched once.
type compiledMatcher struct {
	matcher       *labels.Matcher
	needsPresence bool
	name          int32
	// For = and !=: the value's number, absent if the shard does not know it.
	value int32
	// For =~ and !~: what is known about values.
	values map[int32]bool
}

// compile translates the matchers for a shard. It reports false if no label set
// of the shard can satisfy them.
func compile(t terms, matchers []*labels.Matcher) ([]compiledMatcher, bool) {
	compiled := make([]compiledMatcher, 0, len(matchers))
	for _, matcher := range matchers {
		c := compiledMatcher{matcher: matcher, needsPresence: selector.NeedsPresence(matcher), name: t.number(matcher.Name)}
		if c.name == absent {
			if c.needsPresence {
				return nil, false
			}
			continue // the label is absent from every set: != and !~ pass
		}
		switch matcher.Type {
		case labels.MatchEqual, labels.MatchNotEqual:
			if c.value = t.number(matcher.Value); c.value == absent && c.needsPresence {
				return nil, false
			}
		default:
			c.values = map[int32]bool{}
		}
		compiled = append(compiled, c)
	}
	return compiled, true
}

// satisfies tells whether a label set passes all matchers.
func satisfies(t terms, set []int32, matchers []compiledMatcher) bool {
	for i := range matchers {
		m := &matchers[i]
		value, present := valueOf(set, m.name)
		if !present {
			if m.needsPresence {
				return false
			}
			continue
		}
		if !m.matches(t, value) {
			return false
		}
	}
	return true
}

func (m *compiledMatcher) matches(t terms, value int32) bool {
	switch m.matcher.Type {
	case labels.MatchEqual:
		return value == m.value
	case labels.MatchNotEqual:
		return value != m.value
	}
	matched, known := m.values[value]
	if !known {
		matched = m.matcher.Matches(t.strings[value])
		m.values[value] = matched
	}
	return matched
}

// selectSeries returns the series of the tenants that satisfy the matchers, nil
// if there are none.
func selectSeries(t terms, tenants []string, matchers []*labels.Matcher) *seriesSet {
	compiled, possible := compile(t, matchers)
	if !possible {
		return nil
	}
	selected := newSeriesSet(t.series.len())
	for _, tenant := range tenants {
		number := t.number(tenant)
		if number == absent {
			continue
		}
		t.of(number, func(number int32) {
			if satisfies(t, t.series.set(number), compiled) {
				selected.add(number)
			}
		})
	}
	if selected.count == 0 {
		return nil
	}
	return selected
}
