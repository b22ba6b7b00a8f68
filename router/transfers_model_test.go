package router

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

// Three need two gigabytes and a minute; two take less than a second.
var modelSegments = flag.Int("transfers.segments", 2, "segments of the model of transfers, at most 3")

const modelMax = 3

const (
	absent = iota
	live
	waiting
	gone
)

const (
	notThere = iota
	level1
	level2
	retired // by retention
)

// modelSource is what a stream's group knows.
type modelSource struct {
	segments [modelMax]uint8
	// The transfer that a segment went into.
	transfers        [modelMax]uint8
	issued, finished uint8
}

// modelTenant is what a tenant's group knows: of each transfer, what became of it.
type modelTenant struct {
	blocks   [modelMax + 1]uint8
	accepted uint8
}

// modelState is a stream, a tenant and a reader, who has read either side or not.
type modelState struct {
	source modelSource
	tenant modelTenant
	// Transfers of which the stream's group knows that they are accepted.
	told  uint8
	moved bool
	order [modelMax]uint8 // in which segments came
	added uint8

	reading, done          bool
	must, mustNot          uint8 // segments, as bits
	readSource, readTenant bool
	seenSource             modelSource
	seenTenant             modelTenant
}

// model is what is left out of the protocol, or of the router.
type model struct {
	segments                                       int
	labels                                         bool // ask for a set, not for blocks
	noLower, noUpper, noHiding                     bool
	anyOrder, loseWatermark, acceptTwice, noMerges bool
}

type modelStep struct {
	state modelState
	label string
}

// steps are all that may happen next.
func (m model) steps(s modelState) (steps []modelStep) {
	if s.done {
		return nil
	}
	add := func(label string, change func(n *modelState)) {
		n := s
		change(&n)
		if n != s {
			steps = append(steps, modelStep{n, label})
		}
	}
	for i := range m.segments {
		if s.source.segments[i] == absent && (i == 0 || s.source.segments[i-1] != absent) {
			add(fmt.Sprintf("segment %d is added", i), func(n *modelState) {
				n.source.segments[i] = live
				n.added++
				n.order[i] = n.added
			})
		}
	}
	for inputs := 1; inputs < 1<<m.segments; inputs++ {
		if x := s.source.issued + 1; int(x) <= m.segments && s.all(inputs, live) {
			add(fmt.Sprintf("a job of segments %b makes transfer %d", inputs, x), func(n *modelState) {
				n.source.issued = x
				for i := range m.segments {
					if inputs&(1<<i) != 0 {
						n.source.segments[i], n.source.transfers[i] = waiting, x
					}
				}
			})
		}
	}
	for x := uint8(1); x <= s.source.issued; x++ {
		m.transferSteps(s, x, add)
	}
	if !m.noMerges {
		add("the tenant's blocks are compacted", func(n *modelState) {
			for x := range n.tenant.blocks {
				if n.tenant.blocks[x] == level1 {
					n.tenant.blocks[x] = level2
				}
			}
		})
	}
	add("the tenant's blocks are retired", func(n *modelState) {
		for x := range n.tenant.blocks {
			if n.tenant.blocks[x] != notThere {
				n.tenant.blocks[x] = retired
			}
		}
	})
	if !s.moved {
		add("the tenant moves", func(n *modelState) {
			n.moved = true
			if m.loseWatermark {
				n.tenant.accepted = 0
			}
		})
	}
	m.readerSteps(s, add)
	return steps
}

// transferSteps may come again and again: senders repeat.
func (m model) transferSteps(s modelState, x uint8, add func(string, func(*modelState))) {
	there := s.tenant.blocks[x] != notThere
	add(fmt.Sprintf("transfer %d is accepted", x), func(n *modelState) {
		switch {
		case m.anyOrder && there, !m.anyOrder && x > n.tenant.accepted+1:
		case !m.anyOrder && x <= n.tenant.accepted && !m.acceptTwice:
		default:
			n.tenant.blocks[x] = level1
			n.tenant.accepted = max(n.tenant.accepted, x)
		}
	})
	if there {
		add(fmt.Sprintf("the stream hears that transfer %d is accepted", x), func(n *modelState) { n.told |= 1 << x })
	}
	if s.told&(1<<x) != 0 {
		add(fmt.Sprintf("transfer %d is finished", x), func(n *modelState) {
			n.source.finished = max(n.source.finished, x)
			for i := range m.segments {
				if n.source.segments[i] == waiting && n.source.transfers[i] == x {
					n.source.segments[i] = gone
				}
			}
		})
	}
}

func (m model) readerSteps(s modelState, add func(string, func(*modelState))) {
	switch {
	case !s.reading:
		add("a query begins", func(n *modelState) {
			n.reading = true
			n.mustNot = s.retired(m)
			for i := range m.segments {
				if s.source.segments[i] != absent {
					n.must |= 1 << i
				}
			}
		})
	case s.readSource && s.readTenant:
		add("the query ends or reads again", func(n *modelState) {
			behind := m.collect(s).stale()
			n.done = len(behind.spans()) == 0
			if len(behind.streams) > 0 {
				n.readSource, n.seenSource = false, modelSource{}
			}
			if len(behind.tenants) > 0 {
				n.readTenant, n.seenTenant = false, modelTenant{}
			}
		})
	default:
		readSource := func(n *modelState) { n.readSource, n.seenSource = true, s.source }
		readTenant := func(n *modelState) { n.readTenant, n.seenTenant = true, s.tenant }
		if !s.readSource {
			add("the stream is read", readSource)
		}
		if !s.readTenant {
			add("the tenant is read", readTenant)
		}
		if !s.readSource && !s.readTenant {
			add("both are read at once, in one group", func(n *modelState) {
				readSource(n)
				readTenant(n)
			})
		}
	}
}

// all tells whether all segments of a set are in a state.
func (s modelState) all(set int, state uint8) bool {
	for i, is := range s.source.segments {
		if set&(1<<i) != 0 && is != state {
			return false
		}
	}
	return true
}

// retired are the segments that retention took.
func (s modelState) retired(m model) (set uint8) {
	for i, x := range s.source.transfers[:m.segments] {
		if x != 0 && s.tenant.blocks[x] == retired {
			set |= 1 << i
		}
	}
	return set
}

const modelStream, modelName = 7, "tenant"

// segmentsOf are the segments of a transfer, which never change.
func (s modelState) segmentsOf(x int) (set uint8) {
	for i, at := range s.source.transfers {
		if x != 0 && int(at) == x {
			set |= 1 << i
		}
	}
	return set
}

// collect is what the router has of what was read. A block's content is the set of
// segments in it.
func (m model) collect(s modelState) collected {
	marks := &nodev1.Watermarks{}
	var source, tenant []*nodev1.EncodedBlock
	seen := s.seenSource
	for i, state := range seen.segments {
		switch x := seen.transfers[i]; state {
		case live:
			source = append(source, &nodev1.EncodedBlock{Shard: modelStream, Id: blockID(i), Block: []byte{1 << i}})
		case waiting:
			block := &nodev1.EncodedBlock{Tenant: modelName, Shard: modelStream, Id: blockID(10 + int(x)), Block: []byte{s.segmentsOf(int(x))}, Transfer: uint64(x)}
			if m.noHiding {
				block.Transfer = 0
			}
			if !slices.ContainsFunc(source, func(other *nodev1.EncodedBlock) bool { return other.Id == block.Id }) {
				source = append(source, block)
			}
		}
	}
	if seen.issued > 0 || m.noUpper {
		row := &nodev1.IssuedWatermark{Stream: modelStream, Tenant: modelName, Incarnation: 1, Issued: uint64(seen.issued), Finished: uint64(seen.finished)}
		if m.noLower {
			row.Finished = 0
		}
		if m.noUpper {
			row.Issued = 100
		}
		marks.Issued = append(marks.Issued, row)
	}
	for x, state := range s.seenTenant.blocks {
		if state == level1 || state == level2 {
			tenant = append(tenant, &nodev1.EncodedBlock{Tenant: modelName, Shard: modelStream, Id: blockID(int(state)*10 + x), Block: []byte{s.segmentsOf(x)}})
		}
	}
	if at := s.seenTenant.accepted; at > 0 {
		marks.Accepted = append(marks.Accepted, &nodev1.AcceptedWatermark{Stream: modelStream, Tenant: modelName, Incarnation: 1, Accepted: uint64(at)})
	}
	parts := []*nodev1.QueryBlocksResponse{
		{Blocks: source, Watermarks: &nodev1.Watermarks{Issued: marks.Issued}},
		{Blocks: tenant, Watermarks: &nodev1.Watermarks{Accepted: marks.Accepted}},
	}
	if m.labels {
		found := &foundLabels{size: newAnswerSize(MaxMessageBytes)}
		for _, part := range parts {
			answer := &nodev1.QueryLabelsResponse{Watermarks: part.Watermarks}
			for _, block := range part.Blocks {
				answer.Labels = append(answer.Labels, &typesv1.Labels{Labels: []*typesv1.LabelPair{{Name: string(block.Block)}}})
			}
			if err := found.add(answer); err != nil {
				panic(err)
			}
		}
		return found
	}
	found := &foundBlocks{size: newAnswerSize(MaxMessageBytes)}
	for _, part := range parts {
		slices.SortFunc(part.Blocks, compareBlocks)
		if err := found.add(part); err != nil {
			panic(err)
		}
	}
	return found
}

// check tells what is wrong with the answer of a query that ended.
func (m model) check(s modelState) string {
	if !s.done {
		return ""
	}
	var counts [modelMax]int
	count := func(set byte) {
		for i := range counts {
			if set&(1<<i) != 0 {
				counts[i]++
			}
		}
	}
	switch found := m.collect(s).(type) {
	case *foundLabels:
		for _, set := range found.answer() {
			count(set.GetLabels()[0].GetName()[0])
		}
	case *foundBlocks:
		visible, err := found.visible()
		if err != nil {
			return err.Error()
		}
		for _, block := range visible {
			count(block.GetBlock()[0])
		}
	}
	retired := s.retired(m)
	for i := range m.segments {
		bit := uint8(1) << i
		switch {
		case counts[i] > 1 && !m.labels:
			return fmt.Sprintf("duplicate: segment %d, %d times", i, counts[i])
		case counts[i] == 0 && s.must&bit != 0 && retired&bit == 0:
			return fmt.Sprintf("missing: segment %d", i)
		// A stream's labels are those of its outbox, too, until it hears what the
		// tenant's group has accepted: retention may have been there already.
		case counts[i] > 0 && s.mustNot&bit != 0 && !m.labels:
			return fmt.Sprintf("back again: segment %d", i)
		}
		for j := range m.segments {
			if !m.labels && counts[i] > 0 && counts[j] == 0 && s.order[j] != 0 && s.order[j] < s.order[i] && retired&(1<<j) == 0 {
				return fmt.Sprintf("out of order: segment %d without %d, which came before", i, j)
			}
		}
	}
	return ""
}

// explore visits all states and returns how many there are, how many queries
// ended, and the first fault with the way to it.
func (m model) explore() (states, ended int, fault string) {
	type visit struct {
		state  modelState
		parent int
		label  string
	}
	visits := []visit{{parent: -1}}
	known := map[modelState]bool{{}: true}
	for i := 0; i < len(visits); i++ {
		for _, step := range m.steps(visits[i].state) {
			if known[step.state] {
				continue
			}
			known[step.state] = true
			visits = append(visits, visit{step.state, i, step.label})
			if step.state.done {
				ended++
			}
			if fault := m.check(step.state); fault != "" {
				path := []string{fault}
				for at := len(visits) - 1; at > 0; at = visits[at].parent {
					path = append(path, visits[at].label)
				}
				slices.Reverse(path)
				return len(visits), ended, strings.Join(path, "\n\t")
			}
		}
	}
	return len(visits), ended, ""
}

// In every interleaving of a query with all that happens to a stream and a tenant,
// each segment is found once: in order, none that was there is missing, and none
// that was gone comes back.
func TestEveryInterleavingOfTransfersAndReads(t *testing.T) {
	for name, m := range map[string]model{"blocks": {}, "labels": {labels: true}} {
		t.Run(name, func(t *testing.T) {
			m.segments = *modelSegments
			states, ended, fault := m.explore()
			if fault != "" {
				t.Fatalf("after %d states:\n\t%s", states, fault)
			}
			if ended < 1000 {
				t.Errorf("only %d queries ended in %d states", ended, states)
			}
			t.Logf("%d states, %d ends of queries", states, ended)
		})
	}
}

// Nothing of it is superfluous.
func TestTransfersNeedEveryRule(t *testing.T) {
	for name, test := range map[string]struct {
		model model
		want  string
	}{
		"finished ≤ accepted":             {model{noLower: true}, "missing"},
		"finished ≤ accepted, for labels": {model{noLower: true, labels: true}, "missing"},
		"accepted ≤ issued":               {model{noUpper: true}, "duplicate"},
		"hiding of what is accepted":      {model{noHiding: true}, "duplicate"},
		"acceptance in order":             {model{anyOrder: true}, "missing"},
		"acceptance once":                 {model{acceptTwice: true}, "back again"},
		"watermarks that move along":      {model{loseWatermark: true}, "duplicate"},
	} {
		t.Run(name, func(t *testing.T) {
			test.model.segments = 2
			states, _, fault := test.model.explore()
			if i := strings.LastIndex(fault, "\n\t"); i < 0 || !strings.HasPrefix(fault[i+2:], test.want) {
				t.Errorf("without it, after %d states: want %q, got %q", states, test.want, fault)
			}
		})
	}
}
