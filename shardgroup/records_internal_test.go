package shardgroup

import "testing"

// Entries without much in them are work, too.
func TestSmallEntriesAreWork(t *testing.T) {
	const entries = 1000
	r := newRecords(entries * entryWork)
	for range entries - 1 {
		r.applied(workOf(1, 0))
	}
	if len(r.due) > 0 {
		t.Fatal("a round is due too early")
	}
	r.applied(workOf(1, 0))
	if len(r.due) == 0 {
		t.Fatal("no round is due")
	}
}
