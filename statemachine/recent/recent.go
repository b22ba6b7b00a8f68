// Package recent remembers by key what was used lately, and forgets the rest: so what
// a table's writer has read need not be read again by the next one.
package recent

// Map remembers some values. Nothing is forgotten but by Age. It is not safe for
// concurrent use.
type Map[K comparable, V any] struct {
	limit      int
	young, old map[K]*V
}

// New returns a map which Age holds to two times the limit.
func New[K comparable, V any](limit int) *Map[K, V] {
	return &Map[K, V]{limit: limit, young: map[K]*V{}}
}

// Get returns the value of a key, nil if none is remembered.
func (m *Map[K, V]) Get(key K) *V {
	if value := m.young[key]; value != nil {
		return value
	}
	value := m.old[key]
	if value != nil {
		delete(m.old, key)
		m.young[key] = value
	}
	return value
}

// Put remembers a value, which is not nil.
func (m *Map[K, V]) Put(key K, value *V) {
	delete(m.old, key)
	m.young[key] = value
}

// Age forgets, if there is much, what was not used since the last time that there was.
func (m *Map[K, V]) Age() {
	if len(m.young) > m.limit {
		m.old, m.young = m.young, map[K]*V{}
	}
}
