package history

import (
	"math"
	"slices"
)

// Datum names what is added. Serials of a lane should be dense: memory is
// proportional to the highest one.
type Datum struct {
	// What queries ask for, such as a tenant.
	Lane uint32
	// The number in the lane.
	Serial uint32
}

// Add is an attempt to add a datum. Attempts may be repeated.
type Add struct {
	Datum
	// Data of one lane and point are promised to be read from one consistent state:
	// an answer that has one has all that were acknowledged before that one was
	// first tried. 0 for no such promise.
	Point        uint32
	Call, Return int64
}

// Query is an answered query for one lane.
type Query struct {
	Lane         uint32
	Call, Return int64
	// It asked for the serials from First to Last, and may have been answered with
	// others.
	First, Last uint32
	// Serials, with repetitions.
	Found []uint32
}

// Data is a history of data. Methods may be called concurrently; Check judges
// what was recorded before.
type Data struct {
	adds    log[Add]
	queries log[Query]
}

// Add records an attempt.
func (d *Data) Add(a Add) { d.adds.record(a) }

// Query records an answer.
func (d *Data) Query(q Query) { d.queries.record(q) }

// Report is a verdict, and how much it stands on.
type Report struct {
	Violations
	// Data tried, and those acknowledged.
	Data, Acknowledged int
	Queries            int
	// Pairs of a query and a datum it asked for, found and not.
	Found, Absent int
}

// state is what the history says about a datum.
type state struct {
	called int64 // first attempt; math.MaxInt64 if there was none
	acked  int64 // first acknowledgement; math.MaxInt64 if there was none
	// When the first query ended that found it; math.MaxInt64 if none did.
	seen  int64
	point uint32
	found int32 // in the query that is looked at
}

// visible is when the datum was there for sure, for all who began later.
func (s *state) visible() int64 { return min(s.acked, s.seen) }

type judge struct {
	lanes  map[uint32][]state
	report Report
	// For the query that is looked at: the latest first attempt of what was found,
	// by point.
	latest map[uint32]int64
}

// Rules that Check looks for.
const (
	RuleLost      = "acknowledged, not found"
	RuleEarly     = "found before it was added"
	RuleVanished  = "found, then not found"
	RuleTwice     = "found twice in one answer"
	RuleTorn      = "answer is no consistent state"
	RuleBackwards = "recorded wrongly"
)

// Check judges the history. A register that only ever goes from absent to
// present is linearizable exactly if it is so for each datum alone: there is a
// moment after its first attempt, not after its acknowledgement, that no query
// contradicts.
func (d *Data) Check() Report {
	j := &judge{lanes: map[uint32][]state{}, latest: map[uint32]int64{}}
	queries := d.queries.list()
	for _, a := range d.adds.list() {
		j.add(a)
	}
	for i := range queries {
		j.see(&queries[i])
	}
	for i := range queries {
		j.judge(&queries[i])
	}
	j.report.Queries = len(queries)
	for _, lane := range j.lanes {
		for i := range lane {
			if lane[i].called != math.MaxInt64 {
				j.report.Data++
			}
			if lane[i].acked != math.MaxInt64 {
				j.report.Acknowledged++
			}
		}
	}
	return j.report
}

// states returns those of a lane, with room for some serials.
func (j *judge) states(lane uint32, serials ...uint32) []state {
	states := j.lanes[lane]
	if len(serials) == 0 {
		return states
	}
	for last := slices.Max(serials); uint64(len(states)) <= uint64(last); {
		states = append(states, state{called: math.MaxInt64, acked: math.MaxInt64, seen: math.MaxInt64})
	}
	j.lanes[lane] = states
	return states
}

func (j *judge) add(a Add) {
	if a.Return != Unknown && a.Return < a.Call {
		j.report.add(RuleBackwards, "add of %v ended at %s, before it began at %s", a.Datum, at(a.Return), at(a.Call))
	}
	s := &j.states(a.Lane, a.Serial)[a.Serial]
	s.called, s.point = min(s.called, a.Call), a.Point
	if a.Return != Unknown {
		s.acked = min(s.acked, a.Return)
	}
}

// see notes what was found, and what could not have been.
func (j *judge) see(q *Query) {
	if q.Return < q.Call {
		j.report.add(RuleBackwards, "query ended at %s, before it began at %s", at(q.Return), at(q.Call))
	}
	states := j.states(q.Lane, q.Found...)
	for _, serial := range q.Found {
		s := &states[serial]
		s.seen = min(s.seen, q.Return)
		if q.Return < s.called {
			j.report.add(RuleEarly, "%v by the query [%s, %s], first tried: %s",
				Datum{q.Lane, serial}, at(q.Call), at(q.Return), at(s.called))
		}
	}
}

func (j *judge) judge(q *Query) {
	clear(j.latest)
	states := j.lanes[q.Lane]
	for _, serial := range q.Found {
		s := &states[serial]
		s.found++
		if s.found == 2 {
			j.report.add(RuleTwice, "%v by the query [%s, %s]", Datum{q.Lane, serial}, at(q.Call), at(q.Return))
		}
		if s.point != 0 && s.called != math.MaxInt64 && s.called > j.latest[s.point] {
			j.latest[s.point] = s.called
		}
	}
	for serial := uint64(q.First); serial <= uint64(q.Last) && serial < uint64(len(states)); serial++ {
		s := &states[serial]
		switch {
		case s.found > 0:
			j.report.Found++
		case s.called != math.MaxInt64:
			j.report.Absent++
			j.absent(q, Datum{q.Lane, uint32(serial)}, s)
		}
	}
	for _, serial := range q.Found {
		states[serial].found = 0
	}
}

// absent judges that a query did not find what it asked for.
func (j *judge) absent(q *Query, datum Datum, s *state) {
	switch {
	case q.Call > s.acked:
		j.report.add(RuleLost, "%v was acknowledged at %s, the query [%s, %s] does not find it", datum, at(s.acked), at(q.Call), at(q.Return))
	case q.Call > s.seen:
		j.report.add(RuleVanished, "%v was found by a query that ended at %s, the query [%s, %s] does not find it", datum, at(s.seen), at(q.Call), at(q.Return))
	case s.point != 0 && s.visible() < j.latest[s.point]:
		j.report.add(RuleTorn, "%v was there at %s, the query [%s, %s] does not find it, but one of the same point that was first tried at %s",
			datum, at(s.visible()), at(q.Call), at(q.Return), at(j.latest[s.point]))
	}
}
