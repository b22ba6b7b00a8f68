package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/skerrydb/skerry/bench/check"
	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/pace"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Asked is what came of questions beside their measurement.
type Asked struct {
	// Blocks, or sets of labels, of all answers; each was checked.
	Items uint64
	// What the answers to all questions of the pool must have been, together, at the start.
	Expected check.Digest
}

// PerAnswer is the mean number of items of an answer.
func (a *Asked) PerAnswer(m *pace.Measurement) float64 {
	return float64(a.Items) / float64(max(1, m.Answered()))
}

// asking is a kind of questions with their right answers.
type asking struct {
	*Session
	name      string
	sure      uint64
	asked     Asked
	labels    bool
	questions []*question
	items     atomic.Uint64
}

// question has the right answer as of some blocks, and what later ones add to it.
type question struct {
	query check.Query
	base  check.Digest

	mu sync.Mutex
	// Blocks from those of base on, up to known, that belong to the answer if they
	// are there.
	known uint64
	later []laterBlock
}

type laterBlock struct {
	index uint64
	id    string
	hash  uint64
}

// newAsking calculates the right answers, unless that was done for the same blocks.
func (s *Session) newAsking(ctx context.Context, kind Kind) (*asking, Asked, error) {
	sure := s.Added()
	if last := s.last; last != nil && last.name == kind.Name && last.sure == sure {
		last.items.Store(0)
		return last, last.asked, nil
	}
	a := &asking{Session: s, name: kind.Name, sure: sure, labels: kind.Labels}
	var asked Asked
	for _, query := range kind.Queries {
		if ctx.Err() != nil {
			return nil, asked, ctx.Err()
		}
		q := &question{query: query, known: sure}
		if kind.Labels {
			q.base = s.g.Labels(query, sure).Digest()
		} else {
			q.base = s.g.Blocks(&query, sure)
		}
		asked.Expected.Count += q.base.Count
		asked.Expected.Sum += q.base.Sum
		a.questions = append(a.questions, q)
	}
	if len(a.questions) == 0 {
		return nil, asked, errors.New("no questions")
	}
	a.asked, s.last = asked, a
	return a, asked, nil
}

// Ask asks the questions of a kind in turn and checks each answer.
func (s *Session) Ask(ctx context.Context, kind Kind, o pace.Options) (*pace.Measurement, Asked, error) {
	a, asked, err := s.newAsking(ctx, kind)
	if err != nil {
		return nil, asked, err
	}
	m, err := pace.Run(ctx, o, a.ask)
	if err != nil {
		return nil, asked, err
	}
	asked.Items = a.items.Load()
	return m, asked, ctx.Err()
}

func (a *asking) ask(ctx context.Context, caller int, n uint64) (func() error, error) {
	q := a.questions[n%uint64(len(a.questions))]
	limited, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if a.labels {
		answer, err := a.queries(caller).QueryMetadataLabels(limited, &metastorev1.QueryMetadataLabelsRequest{
			TenantId: q.query.Tenants, StartTime: q.query.From, EndTime: q.query.To, Query: q.query.Selector(), Labels: q.query.Labels,
		})
		if err != nil {
			return nil, err
		}
		return func() error {
			a.items.Add(uint64(len(answer.GetLabels())))
			if got := check.NewHasher().LabelSets(answer.GetLabels()); got != q.base {
				return fmt.Errorf("labels %v of %v: the answer has the digest %v, want %v", q.query.Labels, q.query.Tenants, got, q.base)
			}
			return nil
		}, nil
	}
	sure, _ := a.ledger.bounds()
	answer, err := a.queries(caller).QueryMetadata(limited, &metastorev1.QueryMetadataRequest{
		TenantId: q.query.Tenants, StartTime: q.query.From, EndTime: q.query.To, Query: q.query.Selector(), Labels: q.query.Labels,
	})
	if err != nil {
		return nil, err
	}
	_, begun := a.ledger.bounds()
	return func() error {
		a.items.Add(uint64(len(answer.GetBlocks())))
		return q.check(a.g, answer.GetBlocks(), sure, begun)
	}, nil
}

// check demands all blocks below sure, allows those below begun, and no others.
func (q *question) check(g *generate.Generator, answer []*metastorev1.BlockMeta, sure, begun uint64) error {
	later := q.between(g, begun)
	var got check.Digest
	h, seen := check.NewHasher(), make([]int, len(later))
	at := make(map[string]int, len(later))
	for k, block := range later {
		at[block.id] = k
	}
	right := true
	for _, block := range answer {
		hash := h.Block(block)
		k, isLater := at[block.GetId()]
		if !isLater {
			got.Add(hash)
			continue
		}
		seen[k]++
		right = right && hash == later[k].hash
	}
	for k, block := range later {
		right = right && seen[k] <= 1 && (seen[k] == 1 || block.index >= sure)
	}
	if right && got == q.base {
		return nil
	}
	return explain(g, &q.query, answer, sure, begun)
}

// between returns what may be in the answer beyond base.
func (q *question) between(g *generate.Generator, begun uint64) []laterBlock {
	q.mu.Lock()
	defer q.mu.Unlock()
	if begun > q.known {
		h := check.NewHasher()
		for i, block := range g.Matching(&q.query, q.known, begun) {
			q.later = append(q.later, laterBlock{i, block.GetId(), h.Block(block)})
		}
		q.known = begun
	}
	end := len(q.later)
	for end > 0 && q.later[end-1].index >= begun {
		end--
	}
	return q.later[:end:end]
}

const namedMax = 3

// explain says what is wrong with an answer that is.
func explain(g *generate.Generator, q *check.Query, answer []*metastorev1.BlockMeta, sure, begun uint64) error {
	h := check.NewHasher()
	got := map[string][]uint64{}
	for _, block := range answer {
		got[block.GetId()] = append(got[block.GetId()], h.Block(block))
	}
	lost, other, extra := named{what: "lost"}, named{what: "different"}, named{what: "too many"}
	for i, block := range g.Matching(q, 0, begun) {
		id := block.GetId()
		hashes := got[id]
		delete(got, id)
		switch {
		case len(hashes) == 0 && i < sure:
			lost.add(id)
		case len(hashes) > 1:
			extra.add(id)
		case len(hashes) == 1 && hashes[0] != h.Block(block):
			other.add(id)
		}
	}
	for id := range got {
		extra.add(id)
	}
	return fmt.Errorf("blocks %s of %v from %d to %d: an answer of %d: %s%s%s", q.Selector(), q.Tenants, q.From, q.To, len(answer), lost, other, extra)
}

// named counts blocks and names some.
type named struct {
	what  string
	count int
	some  []string
}

func (n *named) add(id string) {
	if n.count++; len(n.some) < namedMax {
		n.some = append(n.some, id)
	}
}

func (n named) String() string {
	if n.count == 0 {
		return ""
	}
	return fmt.Sprintf(" %d %s, as %v;", n.count, n.what, n.some)
}

// Mixed asks questions for blocks while others write.
func (s *Session) Mixed(ctx context.Context, kind Kind, asks, writes pace.Options) (asked, written *pace.Measurement, found Asked, err error) {
	a, found, err := s.newAsking(ctx, kind)
	if err != nil {
		return nil, nil, found, err
	}
	var writing sync.WaitGroup
	var failed error
	writing.Go(func() { written, failed = s.Write(ctx, writes) })
	asked, err = pace.Run(ctx, asks, a.ask)
	writing.Wait()
	found.Items = a.items.Load()
	return asked, written, found, errors.Join(err, failed, ctx.Err())
}
