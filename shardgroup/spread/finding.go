package spread

import (
	"fmt"
	"time"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// overdueAfter is how long rules may not have been written before somebody should look.
const overdueAfter = 5 * time.Minute

// Finding tells operators that rules have not been written for too long; nil if
// they have.
func (m *Manager) Finding() *nodev1.Finding {
	m.mu.Lock()
	last, fault, idle := max(m.wrote, m.since), m.fault, m.idle
	m.mu.Unlock()
	if idle {
		return nil
	}
	late := m.clock().Sub(last)
	if late <= max(overdueAfter, 10*m.options.Interval, m.options.Confidence+2*m.options.Interval) {
		return nil
	}
	cause := fmt.Sprintf("placement rules have not been written to %s for %s", m.options.Bucket, late.Round(time.Second))
	if fault != nil {
		cause += ": " + fault.Error()
	}
	return &nodev1.Finding{
		Severity: nodev1.Finding_SEVERITY_WARNING, Code: "placement-rules-old", Subject: "adaptive placement", Cause: cause,
		Consequence: "Pyroscope's distributors spread datasets as the last rules say: what grows overloads its shards",
		Command:     "skerry placement show; see to the object store",
	}
}
