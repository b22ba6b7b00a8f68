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
	// Where the first pairs were left, by what they lacked; zero for none.
	left [lacks]Position
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

// Plan decides on one state of the outboxes: what to send, and what to forget.
// The oldest transfers of a stream come first; it begins with the first pair that the
// plan before had no room for, which so waits for its turn only, and those that it
// looked at first come last. A batch that is planned is on its way.
func (l *Loop) Plan(now time.Time, outbox Outbox, route Route) (Plan, error) {
	p := &planner{Loop: l, now: now, outbox: outbox, route: route, open: map[rangeKey]*Batch{}, done: map[Pair]bool{}}
	for _, c := range l.pairs {
		c.seen = false
	}
	from := l.cursor
	complete, err := true, error(nil)
	if from != (Position{}) {
		err = p.visit(from)
	}
	if err == nil {
		complete, err = p.scan(from, Position{})
	}
	if err == nil && complete && from != (Position{}) {
		complete, err = p.scan(Position{}, from)
	}
	if err != nil {
		for _, batch := range p.plan.Batches {
			l.ended(batch)
		}
		return Plan{}, err
	}
	if complete {
		// Groups that work come first: any number of those that failed may wait.
		if l.cursor = p.left[room]; l.cursor == (Position{}) {
			l.cursor = p.left[attempt]
		}
		l.forget()
	}
	p.plan.More, p.plan.Empty = !complete, complete && p.rows == 0
	l.acking = l.acking || len(p.plan.Acks) > 0
	return p.plan, nil
}

// scan looks at the pairs that have transfers behind one position and not behind
// another, and reports whether it saw all.
func (p *planner) scan(after, until Position) (bool, error) {
	for at, err := range p.outbox.After(after) {
		if err != nil {
			return false, err
		}
		if until != (Position{}) && at.compare(until) > 0 {
			return true, nil
		}
		if p.rows++; p.rows > p.config.ScanRows {
			p.cursor = at
			return false, nil
		}
		if err := p.visit(at); err != nil {
			return false, err
		}
	}
	return true, nil
}

// visit looks at the pair that has a transfer at a position, once.
func (p *planner) visit(at Position) error {
	pair := at.pair()
	if p.done[pair] {
		return nil
	}
	p.done[pair] = true
	lacking, err := p.look(pair)
	if p.left[lacking] == (Position{}) {
		p.left[lacking] = at
	}
	return err
}

// look decides about the transfers of a pair. It tells what those that were left
// lack, if none was sent: a pair that had its turn lets others have theirs.
func (p *planner) look(pair Pair) (lack, error) {
	c := p.chain(pair)
	c.seen = true
	waits := c.inFlight || p.pausing(&c.trouble)
	if waits && (p.acking || c.accepted == Mark{}) {
		return nothing, nil
	}
	var batch *Batch
	for row, err := range p.outbox.Chain(pair) {
		if err != nil {
			return nothing, err
		}
		p.rows++
		if p.accepted(c, row) {
			continue
		}
		if waits {
			return nothing, nil
		}
		next, lacking, err := p.send(c, row, batch)
		if err != nil || batch != nil && next == nil {
			return nothing, err
		}
		if next == nil {
			return lacking, nil
		}
		batch = next
	}
	return nothing, nil
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
