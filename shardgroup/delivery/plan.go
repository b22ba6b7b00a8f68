package delivery

import (
	"errors"
	"slices"
	"time"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// planner makes one plan.
type planner struct {
	*Loop
	now    time.Time
	outbox Outbox
	route  Route
	plan   Plan
	rows   int

	open map[rangeKey]*Batch
}

// lack is what a pair was left for.
type lack int

const (
	nothing lack = iota
	// Room in a batch, or for one.
	room
	// Room for another attempt at a group that failed.
	attempt
	lacks
)

// Plan decides on one state of the outboxes: what to send, and what to forget. Pairs
// have their turn in the order in which they began to wait; those that the plan before
// had no room for come first, and those that it looked at last. A batch that is planned
// is on its way.
func (l *Loop) Plan(now time.Time, outbox Outbox, route Route) (Plan, error) {
	p := &planner{Loop: l, now: now, outbox: outbox, route: route, open: map[rangeKey]*Batch{}}
	found, err := p.discover()
	served := false
	if err == nil {
		p.rows = 0
		served, err = p.serve()
	}
	if err != nil {
		for _, batch := range p.plan.Batches {
			l.ended(batch)
		}
		return Plan{}, err
	}
	l.forget()
	p.plan.More, p.plan.Empty = !found || !served, found && len(l.queue) == 0
	l.acking = l.acking || len(p.plan.Acks) > 0
	return p.plan, nil
}

// discover puts pairs into the queue that have transfers which were made since the plan
// before. It reports whether it found all.
func (p *planner) discover() (bool, error) {
	listed := make(map[uint32]bool, len(p.found))
	for s, err := range p.outbox.Streams() {
		if err != nil {
			return false, err
		}
		listed[s.Stream] = true
		at, known := p.found[s.Stream]
		if !known || at.incarnation != s.Incarnation {
			at = found{Position{Stream: s.Stream}, s.Incarnation}
		}
		if s.Waiting && at.Number <= s.Last {
			for next, err := range p.outbox.After(at.Position) {
				if err != nil {
					return false, err
				}
				if p.rows++; p.rows > p.config.ScanRows {
					p.found[s.Stream] = at
					return false, nil
				}
				p.wait(next.pair())
				at.Position = next
			}
		}
		// Behind all that were made so far.
		at.Position = Position{Stream: s.Stream, Number: s.Last + 1}
		p.found[s.Stream] = at
	}
	for stream := range p.found {
		if !listed[stream] {
			delete(p.found, stream) // it may come back
		}
	}
	return true, nil
}

// wait puts a pair into the queue.
func (l *Loop) wait(pair Pair) {
	if c := l.chain(pair); !c.queued {
		c.queued = true
		l.queue = append(l.queue, pair)
	}
}

// serve looks at the pairs in the queue. It reports whether it saw all.
func (p *planner) serve() (bool, error) {
	var left [lacks][]Pair
	var failed error
	seen := 0
	for ; seen < len(p.queue); seen++ {
		if p.rows++; p.rows > p.config.ScanRows && seen > 0 {
			break
		}
		pair := p.queue[seen]
		waits, lacking, err := p.look(pair)
		if err != nil {
			failed = err
			break
		}
		if waits {
			left[lacking] = append(left[lacking], pair)
		} else {
			delete(p.pairs, pair)
		}
	}
	// Groups that work come first: any number of those that failed may wait.
	all := seen == len(p.queue)
	p.queue = slices.Concat(p.queue[seen:], left[room], left[attempt], left[nothing])
	return all, failed
}

// look decides about the transfers of a pair, and reports whether there are any. It
// tells what those that were left lack, if none was sent: a pair that had its turn lets
// others have theirs.
func (p *planner) look(pair Pair) (waiting bool, lacking lack, err error) {
	c := p.chain(pair)
	waits := c.inFlight || p.pausing(&c.trouble)
	if c.accepted == (Mark{}) || p.acking {
		// Nothing to forget; reading what cannot be sent is spared.
		if waits {
			return true, nothing, nil
		}
		if group, ref, known := p.route(pair); known {
			key := rangeKey{group, ref.GetLo()}
			if batch := p.open[key]; batch != nil && (c.alone || batch.full(p.config)) {
				return true, room, nil
			} else if may, lacking := p.roomFor(key); batch == nil && !may {
				return true, lacking, nil
			}
		}
	}
	var batch *Batch
	waiting = c.inFlight
	for row, err := range p.outbox.Chain(pair) {
		if err != nil {
			return true, nothing, err
		}
		waiting = true
		p.rows++
		if p.accepted(c, row) {
			continue
		}
		if waits {
			return true, nothing, nil
		}
		next, lacking, err := p.send(c, row, batch)
		if err != nil || batch != nil && next == nil {
			return true, nothing, err
		}
		if next == nil {
			return true, lacking, nil
		}
		batch = next
	}
	return waiting, nothing, nil
}

// accepted puts a row that was accepted into the acks, and reports whether it was.
func (p *planner) accepted(c *chain, row Row) bool {
	if c.accepted.Incarnation != row.Incarnation || c.accepted.Number < row.Number {
		return false
	}
	acks := p.plan.Acks
	switch last := len(acks) - 1; {
	case p.acking:
	case last >= 0 && acks[last].GetStream() == row.Stream && acks[last].GetTenant() == row.Tenant:
		acks[last].Number = row.Number
	case len(acks) < p.config.Acks:
		p.plan.Acks = append(acks, &raftlogv1.TransferAck{Stream: row.Stream, Tenant: row.Tenant, Incarnation: row.Incarnation, Number: row.Number})
	}
	return true
}

// send puts a row into a batch: the one that the row before it is in, if there is
// one. It returns nil if the row has to wait, and what for unless it is for time.
func (p *planner) send(c *chain, row Row, batch *Batch) (*Batch, lack, error) {
	group, ref, known := p.route(row.pair())
	if !known {
		p.fail(&c.trouble, p.now, ErrUnrouted, p.config.BackoffMin, p.config.BackoffMax)
		p.pausing(&c.trouble)
		return nil, nothing, nil
	}
	key := rangeKey{group, ref.GetLo()}
	if batch == nil {
		batch = p.open[key]
	}
	if batch == nil {
		if may, lacking := p.roomFor(key); !may {
			return nil, lacking, nil
		}
	} else if c.alone || batch.full(p.config) {
		return nil, room, nil
	}
	blocks, err := p.outbox.Load(row)
	switch {
	case errors.Is(err, ErrBroken):
		p.fail(&c.trouble, p.now, err, p.config.PairBackoffMin, p.config.PairBackoffMax)
		p.pausing(&c.trouble)
		return nil, nothing, nil
	case err != nil:
		return nil, nothing, err
	}
	transfer := &raftlogv1.OutgoingTransfer{
		Stream: row.Stream, Incarnation: row.Incarnation, Tenant: row.Tenant,
		Previous: row.GetPrevious(), Number: row.Number, Blocks: blocks, DeletedUntil: row.GetDeletedUntil(),
	}
	size := transfer.SizeVT()
	if batch != nil && batch.Bytes+size > p.config.BatchBytes {
		return nil, room, nil
	}
	if batch == nil {
		batch = &Batch{Group: group, Range: ref, single: c.alone}
		p.start(key, batch)
	}
	batch.Transfers = append(batch.Transfers, transfer)
	batch.MadeAt = append(batch.MadeAt, row.GetMadeAt())
	batch.Bytes += size
	c.inFlight = true
	return batch, nothing, nil
}

// pausing tells whether a failure is too recent.
func (p *planner) pausing(t *trouble) bool {
	if !t.notBefore.After(p.now) {
		return false
	}
	if p.plan.Again.IsZero() || t.notBefore.Before(p.plan.Again) {
		p.plan.Again = t.notBefore
	}
	return true
}

// roomFor tells whether a batch to a range may be sent now, and what it lacks if
// not: nothing but time if its group pauses, or is being tried.
func (p *planner) roomFor(key rangeKey) (bool, lack) {
	full := p.inFlight >= p.config.Concurrency || p.busy[key]
	d := p.groups[key.group]
	switch {
	case d == nil || d.failures == 0:
		return !full, room
	case p.pausing(&d.trouble) || d.inFlight > 0:
		return false, nothing
	default:
		return !full && p.probes < max(1, p.config.Concurrency/2), attempt
	}
}

func (p *planner) start(key rangeKey, batch *Batch) {
	d := p.group(key.group)
	batch.probe = d.failures > 0
	p.open[key], p.busy[key] = batch, true
	d.inFlight++
	p.inFlight++
	if batch.probe {
		p.probes++
	}
	p.plan.Batches = append(p.plan.Batches, batch)
}

// forget drops the memory of groups that nothing is known of.
func (l *Loop) forget() {
	for id, d := range l.groups {
		if d.failures == 0 && d.inFlight == 0 {
			delete(l.groups, id)
		}
	}
}
