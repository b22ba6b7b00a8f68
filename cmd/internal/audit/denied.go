package audit

import (
	"sync"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/access"
)

// At most so many denials are kept per minute, and wait to be written: a stranger
// must not push out what operators did.
const deniedMax = 20

// denials bounds the denied lines.
type denials struct {
	mu     sync.Mutex
	closed bool
	// Of the minute that began at since.
	since      time.Time
	kept       int
	suppressed uint64
}

// Denied keeps that somebody was refused an audited action: for
// access.Options.Denied. It never waits. A nil log keeps nothing.
func (l *Log) Denied(denial access.Denial) {
	if l == nil || !l.options.Audited(denial.Method) {
		return
	}
	l.denials.send(l.denied, Record{
		Time: time.Now(), Phase: Denied, Who: denial.Identity.Name, How: string(denial.Identity.How), Peer: denial.Peer,
		Method: denial.Method, Reason: denial.Reason,
	})
}

// send passes a record on, or counts that it did not.
func (d *denials) send(to chan<- Record, record Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if record.Time.Sub(d.since) >= time.Minute {
		d.since, d.kept = record.Time, 0
	}
	record.Suppressed = d.suppressed
	if !d.closed && d.kept < deniedMax {
		select {
		case to <- record:
			d.kept, d.suppressed = d.kept+1, 0
			return
		default:
		}
	}
	d.suppressed++
}

// close ends the passing on.
func (d *denials) close(to chan<- Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.closed = true
		close(to)
	}
}
