package delivery

import (
	"errors"
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
	// Pairs that were looked at.
	done map[Pair]bool
	// Behind it the first pair was left for lack of room.
	left *Position
}

// Plan decides on one state of the outboxes: what to send, and what to forget.
// The oldest transfers of a stream come first; it begins where the plan before had
// no room any more, so that no stream starves. A batch that is planned is on its
// way.
func (l *Loop) Plan(now time.Time, outbox Outbox, route Route) (Plan, error) {
	p := &planner{Loop: l, now: now, outbox: outbox, route: route, open: map[rangeKey]*Batch{}, done: map[Pair]bool{}}
	for _, c := range l.pairs {
		c.seen = false
	}
	from := l.cursor
	complete, err := p.scan(from, Position{})
	if complete && from != (Position{}) {
		complete, err = p.scan(Position{}, from)
	}
	if err != nil {
		for _, batch := range p.plan.Batches {
			l.ended(batch)
		}
		return Plan{}, err
	}
	if complete {
		l.cursor = Position{}
		l.forget()
	}
	if p.left != nil {
		l.cursor = *p.left
	}
	p.plan.More, p.plan.Empty = !complete, complete && p.rows == 0
	l.acking = l.acking || len(p.plan.Acks) > 0
	return p.plan, nil
}

// scan looks at the pairs that have transfers behind one position and not behind
// another, and reports whether it saw all.
func (p *planner) scan(after, until Position) (bool, error) {
	before := after
	for at, err := range p.outbox.After(after) {
		if err != nil {
			return false, err
		}
		if until != (Position{}) && at.compare(until) > 0 {
			return true, nil
		}
		if p.rows++; p.rows > p.config.ScanRows {
			p.cursor = before
			return false, nil
		}
		if pair := at.pair(); !p.done[pair] {
			p.done[pair] = true
			room, err := p.look(pair)
			if err != nil {
				return false, err
			}
			if !room && p.left == nil {
				p.left = &before
			}
		}
		before = at
	}
	return true, nil
}

// look decides about the transfers of a pair. It reports false if some were left
// for lack of room.
func (p *planner) look(pair Pair) (bool, error) {
	c := p.chain(pair)
	c.seen = true
	waits := c.inFlight || p.pausing(&c.trouble)
	if waits && (p.acking || c.accepted == Mark{}) {
		return true, nil
	}
	var batch *Batch
	for row, err := range p.outbox.Chain(pair) {
		if err != nil {
			return false, err
		}
		p.rows++
		if p.accepted(c, row) {
			continue
		}
		if waits {
			return true, nil
		}
		next, err := p.send(c, row, batch)
		if err != nil || next == nil {
			return p.pausing(&c.trouble), err // if it is in trouble, room does not matter
		}
		batch = next
	}
	return true, nil
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
// one. It returns nil if the row has to wait.
func (p *planner) send(c *chain, row Row, batch *Batch) (*Batch, error) {
	group, ref, known := p.route(row.pair())
	if !known {
		p.fail(&c.trouble, p.now, ErrUnrouted, p.config.BackoffMin, p.config.BackoffMax)
		return nil, nil
	}
	key := rangeKey{group, ref.GetLo()}
	if batch == nil {
		batch = p.open[key]
	}
	if batch == nil && !p.roomFor(key) || batch != nil && (c.alone || batch.full(p.config)) {
		return nil, nil
	}
	blocks, err := p.outbox.Load(row)
	switch {
	case errors.Is(err, ErrBroken):
		p.fail(&c.trouble, p.now, err, p.config.PairBackoffMin, p.config.PairBackoffMax)
		return nil, nil
	case err != nil:
		return nil, err
	}
	transfer := &raftlogv1.OutgoingTransfer{
		Stream: row.Stream, Incarnation: row.Incarnation, Tenant: row.Tenant,
		Previous: row.GetPrevious(), Number: row.Number, Blocks: blocks, DeletedUntil: row.GetDeletedUntil(),
	}
	size := transfer.SizeVT()
	if batch != nil && batch.Bytes+size > p.config.BatchBytes {
		return nil, nil
	}
	if batch == nil {
		batch = &Batch{Group: group, Range: ref, single: c.alone}
		p.start(key, batch)
	}
	batch.Transfers = append(batch.Transfers, transfer)
	batch.MadeAt = append(batch.MadeAt, row.GetMadeAt())
	batch.Bytes += size
	c.inFlight = true
	return batch, nil
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

// roomFor tells whether a batch to a range may be sent now.
func (p *planner) roomFor(key rangeKey) bool {
	if p.inFlight >= p.config.Concurrency || p.busy[key] {
		return false
	}
	d := p.groups[key.group]
	if d == nil || d.failures == 0 {
		return true
	}
	return !p.pausing(&d.trouble) && d.inFlight == 0 && p.probes < max(1, p.config.Concurrency/2)
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

// forget drops the memory of pairs that have nothing in the outbox.
func (l *Loop) forget() {
	for pair, c := range l.pairs {
		if !c.seen && !c.inFlight {
			delete(l.pairs, pair)
		}
	}
	for id, d := range l.groups {
		if d.failures == 0 && d.inFlight == 0 {
			delete(l.groups, id)
		}
	}
}
