package history

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/anishathalye/porcupine"
)

// registerOp is one call about one datum.
type registerOp struct {
	datum Datum
	add   bool // else a query
}

// registerModel is a register for each datum, from absent to present.
var registerModel = porcupine.Model{
	Partition: partition(func(op porcupine.Operation) any { return op.Input.(registerOp).datum }),
	Init:      func() any { return false },
	Step: func(present, input, output any) (bool, any) {
		if input.(registerOp).add {
			return true, true
		}
		return present == output, present
	},
	DescribeOperation: func(input, output any) string {
		if op := input.(registerOp); op.add {
			return fmt.Sprintf("add %v", op.datum)
		}
		return fmt.Sprintf("found: %v", output)
	},
}

// Operations is the history for porcupine: one operation for each attempt, and
// one for each datum that a query asked for or found.
func (d *Data) Operations() []porcupine.Operation {
	var ops []porcupine.Operation
	known := map[Datum]bool{}
	for _, a := range d.adds.list() {
		ops = append(ops, porcupine.Operation{Input: registerOp{a.Datum, true}, Call: a.Call, Return: forever(a.Return)})
		known[a.Datum] = true
	}
	for _, q := range d.queries.list() {
		found := map[uint32]bool{}
		for serial := uint64(q.First); serial <= uint64(q.Last); serial++ {
			if known[Datum{q.Lane, uint32(serial)}] {
				found[uint32(serial)] = false
			}
		}
		for _, serial := range q.Found {
			found[serial] = true
		}
		for serial, was := range found {
			ops = append(ops, porcupine.Operation{Input: registerOp{Datum{q.Lane, serial}, false}, Output: was, Call: q.Call, Return: q.Return})
		}
	}
	return ops
}

// jobOp is one event of a job's life.
type jobOp struct {
	job   string
	token uint64
	done  bool // a completion that was taken, else a grant
}

// jobState is what a job is in.
type jobState struct {
	token uint64 // of its owner, or of one before; lost grants leave no trace
	done  bool
}

// jobModel has one owner at a time, told by a growing token, and one completion
// by the owner, after which nothing happens any more.
var jobModel = porcupine.Model{
	Partition: partition(func(op porcupine.Operation) any { return op.Input.(jobOp).job }),
	Init:      func() any { return jobState{} },
	Step: func(state, input, _ any) (bool, any) {
		is, op := state.(jobState), input.(jobOp)
		switch {
		case is.done:
			return false, is
		case op.done:
			return op.token == is.token, jobState{op.token, true}
		default:
			return op.token > is.token, jobState{op.token, false}
		}
	},
	DescribeOperation: func(input, _ any) string {
		if op := input.(jobOp); op.done {
			return fmt.Sprintf("complete %s with %d", op.job, op.token)
		}
		return fmt.Sprintf("grant %s with %d", input.(jobOp).job, input.(jobOp).token)
	},
}

// Operations is the history for porcupine. Completions whose result was never
// seen are no part of it: they may have been refused.
func (j *Jobs) Operations() []porcupine.Operation {
	byJob, _ := j.collect()
	var ops []porcupine.Operation
	for _, name := range slices.Sorted(maps.Keys(byJob)) {
		one := byJob[name]
		for _, g := range one.grants {
			ops = append(ops, porcupine.Operation{Input: jobOp{name, g.Token, false}, Call: g.Call, Return: g.Return})
		}
		for token, seen := range one.seen {
			called, done := seen, seen
			for _, c := range one.completions {
				if c.Token == token {
					called, done = min(called, c.Call), min(done, forever(c.Return))
				}
			}
			ops = append(ops, porcupine.Operation{Input: jobOp{name, token, true}, Call: called, Return: done})
		}
	}
	return ops
}

func forever(end int64) int64 {
	if end == Unknown {
		return math.MaxInt64
	}
	return end
}

// partition splits a history into those that have nothing to do with each other.
func partition(key func(porcupine.Operation) any) func([]porcupine.Operation) [][]porcupine.Operation {
	return func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[any][]porcupine.Operation{}
		for _, op := range history {
			byKey[key(op)] = append(byKey[key(op)], op)
		}
		return slices.Collect(maps.Values(byKey))
	}
}
