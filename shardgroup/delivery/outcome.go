package delivery

import (
	"errors"
	"fmt"
	"time"

	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// ended takes a batch, and its pairs, off the way.
func (l *Loop) ended(batch *Batch) {
	for _, pair := range batch.pairs() {
		l.chain(pair).inFlight = false
	}
	delete(l.busy, batch.key())
	l.group(batch.Group).inFlight--
	l.inFlight--
	if batch.probe {
		l.probes--
	}
}

// Delivered takes the outcomes of a batch, one for each transfer, and returns how
// many of them were accepted, by this batch or before. The error tells what is
// wrong with chains that were not, or with the answer.
func (l *Loop) Delivered(now time.Time, batch *Batch, outcomes []*raftlogv1.AcceptOutcome) (int, error) {
	if len(outcomes) != len(batch.Transfers) {
		err := fmt.Errorf("%d outcomes of %d transfers", len(outcomes), len(batch.Transfers))
		l.Failed(now, batch, err)
		return 0, err
	}
	l.ended(batch)
	l.group(batch.Group).trouble = trouble{}
	accepted := 0
	faults := map[Pair]error{}
	for i, transfer := range batch.Transfers {
		fault := l.take(transfer, outcomes[i])
		if fault == nil {
			accepted++
		}
		// The last one counts: a gap is closed by those before.
		faults[Pair{transfer.GetStream(), transfer.GetTenant()}] = fault
	}
	var first error
	for _, pair := range batch.pairs() {
		c := l.chain(pair)
		if fault := faults[pair]; fault != nil {
			l.fail(&c.trouble, now, fault, l.config.PairBackoffMin, l.config.PairBackoffMax)
			if first == nil {
				first = fmt.Errorf("stream %d, tenant %.128q: %w", pair.Stream, pair.Tenant, fault)
			}
			continue
		}
		c.trouble, c.alone = trouble{}, false
	}
	return accepted, first
}

// take remembers up to where a chain is accepted, nil if the transfer is.
func (l *Loop) take(transfer *raftlogv1.OutgoingTransfer, outcome *raftlogv1.AcceptOutcome) error {
	c := l.chain(Pair{transfer.GetStream(), transfer.GetTenant()})
	told := Mark{outcome.GetIncarnation(), outcome.GetAccepted()}
	if told.Incarnation > transfer.GetIncarnation() {
		return ErrIncarnation
	}
	// An answer may be older than one that came before it. What was accepted stays so.
	if told.Compare(c.accepted) > 0 {
		c.accepted = told
	}
	if !Accepted(transfer, outcome) {
		return ErrGap
	}
	return nil
}

// Accepted tells whether an outcome means that a transfer, and all before it in its
// chain, are with the destination.
func Accepted(transfer *raftlogv1.OutgoingTransfer, outcome *raftlogv1.AcceptOutcome) bool {
	return outcome.GetIncarnation() == transfer.GetIncarnation() && outcome.GetAccepted() >= transfer.GetNumber()
}

// Failed takes the failure of a batch, by which it may have been accepted, too.
func (l *Loop) Failed(now time.Time, batch *Batch, err error) {
	l.ended(batch)
	pairs := batch.pairs()
	switch {
	case errors.Is(err, ErrInvalid) && len(batch.Transfers) == 1:
		l.fail(&l.chain(pairs[0]).trouble, now, err, l.config.PairBackoffMin, l.config.PairBackoffMax)
	case errors.Is(err, ErrInvalid):
		// One of them must not hold up the others.
		for _, pair := range pairs {
			l.chain(pair).alone = true
		}
	default:
		l.fail(&l.group(batch.Group).trouble, now, err, l.config.BackoffMin, l.config.BackoffMax)
	}
}

// AckEnded takes the end of acks that were planned; if they failed, they are
// planned again.
func (l *Loop) AckEnded(acks []*raftlogv1.TransferAck, err error) {
	l.acking = false
	if err != nil {
		return
	}
	for _, ack := range acks {
		pair := Pair{ack.GetStream(), ack.GetTenant()}
		c := l.pairs[pair]
		if c != nil && !c.inFlight && c.failures == 0 && c.accepted.Compare(Mark{ack.GetIncarnation(), ack.GetNumber()}) <= 0 {
			c.accepted = Mark{}
		}
	}
}
