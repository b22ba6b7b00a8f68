package delivery

import (
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
	// Pairs that have transfers in a batch of this plan.
	begun map[Pair]*Batch
	// Pairs of which nothing more can be sent by this plan.
	closed map[Pair]bool
	// The first pair that was left for lack of room.
	left *Pair
}

// Plan decides on one state of the outboxes: what to send, and what to forget.
// It begins where the one before had no room any more, so none starves. A batch
// that is planned is on its way.
func (l *Loop) Plan(now time.Time, outbox Outbox, route Route) (Plan, error) {
	p := &planner{
		Loop: l, now: now, outbox: outbox, route: route,
		open: map[rangeKey]*Batch{}, begun: map[Pair]*Batch{}, closed: map[Pair]bool{},
	}
	for _, c := range l.pairs {
		c.seen = false
	}
	from := l.cursor
	complete, err := p.scan(from, Pair{})
	if complete && from != (Pair{}) {
		complete, err = p.scan(Pair{}, from)
	}
	if err != nil {
		for _, batch := range p.plan.Batches {
			l.ended(batch)
		}
		return Plan{}, err
	}
	if complete {
		l.cursor = Pair{}
		l.forget()
	}
	if p.left != nil {
		l.cursor = *p.left
	}
	p.plan.More = !complete
	l.acking = l.acking || len(p.plan.Acks) > 0
	return p.plan, nil
}

// scan looks at the rows of a part of the pairs, and reports whether it saw all.
func (p *planner) scan(from, until Pair) (bool, error) {
	for row, err := range p.outbox.Rows(from, until) {
		if err != nil {
			return false, err
		}
		if p.rows++; p.rows > p.config.ScanRows {
			p.cursor = row.Pair
			return false, nil
		}
		if c := p.pairs[row.Pair]; c != nil {
			c.seen = true
		}
		if p.accepted(row) || p.closed[row.Pair] {
			continue
		}
		sent, err := p.send(row)
		if err != nil {
			return false, err
		}
		if !sent {
			p.closed[row.Pair] = true
		}
	}
	return true, nil
}

// accepted puts a row that was accepted into the acks, and reports whether it was.
func (p *planner) accepted(row Row) bool {
	c := p.pairs[row.Pair]
	if c == nil || c.accepted.Incarnation != row.Incarnation || c.accepted.Number < row.Number {
		return false
	}
	acks := p.plan.Acks
	switch last := len(acks) - 1; {
	case p.acking:
	case last >= 0 && acks[last].GetStream() == row.Stream && acks[last].GetTenant() == row.Tenant && acks[last].GetIncarnation() == row.Incarnation:
		acks[last].Number = row.Number
	case len(acks) < p.config.Acks:
		p.plan.Acks = append(acks, &raftlogv1.TransferAck{Stream: row.Stream, Tenant: row.Tenant, Incarnation: row.Incarnation, Number: row.Number})
	}
	return true
}

// send puts a row into a batch, or reports that it has to wait, and all behind it.
func (p *planner) send(row Row) (bool, error) {
	c, batch := p.chain(row.Pair), p.begun[row.Pair]
	c.seen = true
	if batch == nil && (c.inFlight || p.pausing(&c.trouble)) {
		return false, nil
	}
	group, ref, known := p.route(row.Pair)
	if !known {
		p.fail(&c.trouble, p.now, ErrUnrouted, p.config.BackoffMin, p.config.BackoffMax)
		p.pausing(&c.trouble)
		return false, nil
	}
	key := rangeKey{group, ref.GetLo()}
	if batch == nil {
		batch = p.open[key]
	}
	if batch == nil && !p.roomFor(key) || batch != nil && (c.alone || batch.full(p.config)) {
		p.leave(row)
		return false, nil
	}
	blocks, err := p.outbox.Load(row)
	if err != nil {
		return false, err
	}
	transfer := &raftlogv1.OutgoingTransfer{
		Stream: row.Stream, Incarnation: row.Incarnation, Tenant: row.Tenant,
		Previous: row.Previous, Number: row.Number, Blocks: blocks,
	}
	size := transfer.SizeVT()
	if batch != nil && batch.Bytes+size > p.config.BatchBytes {
		p.leave(row)
		return false, nil
	}
	if batch == nil {
		batch = &Batch{Group: group, Range: ref, single: c.alone}
		p.start(key, batch)
	}
	batch.Transfers = append(batch.Transfers, transfer)
	batch.Bytes += size
	c.inFlight = true
	p.begun[row.Pair] = batch
	return true, nil
}

// leave leaves a row to a later plan.
func (p *planner) leave(row Row) {
	if p.left == nil {
		p.left = &row.Pair
	}
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
