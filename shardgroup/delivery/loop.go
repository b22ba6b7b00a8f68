package delivery

import (
	"cmp"
	"errors"
	"iter"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// Pair names a chain of transfers: those of one stream to one tenant.
type Pair struct {
	Stream uint32
	Tenant string
}

// Mark is a place in a chain. Numbers begin anew in a new incarnation.
type Mark struct{ Incarnation, Number uint64 }

// Compare orders marks.
func (m Mark) Compare(other Mark) int {
	return cmp.Or(cmp.Compare(m.Incarnation, other.Incarnation), cmp.Compare(m.Number, other.Number))
}

// Position is that of a transfer in the order of its stream, in which they were made.
// Number 0 is before all.
type Position struct {
	Stream uint32
	Number uint64
	Tenant string
}

func (p Position) pair() Pair { return Pair{p.Stream, p.Tenant} }

// Row is a transfer that waits.
type Row struct {
	Position
	Incarnation uint64
	*raftlogv1.Transfer
}

// Stream is what is known of a stream without looking at its transfers.
type Stream struct {
	Stream      uint32
	Incarnation uint64
	// The last number given in this incarnation.
	Last uint64
	// There are transfers that wait.
	Waiting bool
}

// Outbox is one state of the outboxes of a group's streams, which is no older than
// those that were planned for before.
type Outbox interface {
	Streams() iter.Seq2[Stream, error]
	// After lists where transfers of a position's stream wait, behind the position, in
	// their order.
	After(Position) iter.Seq2[Position, error]
	// Chain lists the transfers of a pair that wait, in the order of their numbers.
	Chain(Pair) iter.Seq2[Row, error]
	// Load reads the blocks of a transfer. ErrBroken concerns this transfer alone.
	Load(Row) ([]*metastorev1.BlockMeta, error)
}

// Route tells the group and range of a tenant's blocks of a shard; false if it is
// not known.
type Route func(Pair) (group uint64, ref *clusterv1.RangeRef, known bool)

// Config bounds a loop.
type Config struct {
	// Of a batch. A single larger transfer travels alone.
	BatchBytes, BatchTransfers int
	// Batches on their way at the same time; half of them at most go to groups that
	// failed before.
	Concurrency int
	// Acks that are proposed together.
	Acks int
	// Rows and pairs that one plan looks at, about.
	ScanRows int
	// Pauses after failures, of a group and of a pair: doubled each time.
	BackoffMin, BackoffMax         time.Duration
	PairBackoffMin, PairBackoffMax time.Duration
	// Random returns a number in [0, 1), which spreads the pauses.
	Random func() float64
}

// Defaults returns the configuration of a node, without Random.
func Defaults() Config {
	return Config{
		BatchBytes: 1 << 20, BatchTransfers: 512, Concurrency: 8, Acks: 1024, ScanRows: 20_000,
		BackoffMin: 50 * time.Millisecond, BackoffMax: 5 * time.Second,
		PairBackoffMin: time.Second, PairBackoffMax: time.Minute,
	}
}

// Loop is the memory of one sender.
type Loop struct {
	config Config
	pairs  map[Pair]*chain
	groups map[uint64]*destination
	// Ranges that a batch is on its way to.
	busy     map[rangeKey]bool
	inFlight int
	probes   int // of those, to groups that failed before
	acking   bool
	// Pairs that have transfers, or had when they were looked at last, in the order of
	// their turns.
	queue []Pair
	// How far pairs were found, by stream.
	found map[uint32]found
}

// found is where in a stream the search for more begins.
type found struct {
	Position
	incarnation uint64
}

// rangeKey tells ranges of tenants apart.
type rangeKey struct{ group, lo uint64 }

// chain is what the loop remembers of a pair.
type chain struct {
	// As the destination said last.
	accepted Mark
	// One of its transfers is on its way.
	inFlight bool
	// The destination refused a batch with it as invalid: it is sent alone.
	alone bool
	trouble
	queued bool
}

// destination is what the loop remembers of a group.
type destination struct {
	inFlight int
	trouble
}

// trouble counts failures, and the pause that follows from them.
type trouble struct {
	failures  int
	notBefore time.Time
	err       error
}

// New returns a loop that remembers nothing.
func New(config Config) *Loop {
	return &Loop{config: config, pairs: map[Pair]*chain{}, groups: map[uint64]*destination{}, busy: map[rangeKey]bool{}, found: map[uint32]found{}}
}

// Batch is transfers to one range. It must come back, by Delivered or Failed.
type Batch struct {
	Group     uint64
	Range     *clusterv1.RangeRef
	Transfers []*raftlogv1.OutgoingTransfer
	// When each of them was made: log time, Unix nanoseconds.
	MadeAt []int64
	Bytes  int
	probe  bool
	// Takes no other transfer.
	single bool
}

func (b *Batch) full(config Config) bool {
	return b.single || len(b.Transfers) >= config.BatchTransfers
}

func (b *Batch) key() rangeKey { return rangeKey{b.Group, b.Range.GetLo()} }

// pairs lists the pairs of a batch. The transfers of each are together.
func (b *Batch) pairs() []Pair {
	var pairs []Pair
	for _, t := range b.Transfers {
		if pair := (Pair{t.GetStream(), t.GetTenant()}); len(pairs) == 0 || pairs[len(pairs)-1] != pair {
			pairs = append(pairs, pair)
		}
	}
	return pairs
}

// Plan is what is to be done now.
type Plan struct {
	Batches []*Batch
	// To be proposed to the group itself; AckEnded must be called if there are any.
	Acks []*raftlogv1.TransferAck
	// When another plan may do more although nothing happened; zero if no failure is
	// waited for.
	Again time.Time
	// The plan looked at as many rows as it may: another one goes on behind them.
	More bool
	// There is nothing in the outboxes.
	Empty bool
}

var (
	// ErrRoute is the failure of a batch whose range is another one now.
	ErrRoute = errors.New("the range has changed")
	// ErrInvalid is the failure of a batch that the destination will never take.
	ErrInvalid = errors.New("the destination finds the transfers invalid")
	// ErrGap is the trouble of a chain whose destination lacks a transfer that the
	// outbox does not hold any more.
	ErrGap = errors.New("the destination lacks transfers that it had accepted: was it rewound?")
	// ErrIncarnation is the trouble of a chain whose destination has accepted
	// transfers of a younger incarnation of the stream.
	ErrIncarnation = errors.New("the destination knows a younger incarnation of the stream")
	// ErrBroken is the trouble of a chain whose blocks cannot be read.
	ErrBroken = errors.New("the outbox is broken")
	// ErrUnrouted is the trouble of a chain whose tenant's range is not known.
	ErrUnrouted = errors.New("no range is known for the tenant")
)

// chain returns the memory of a pair.
func (l *Loop) chain(pair Pair) *chain {
	c := l.pairs[pair]
	if c == nil {
		c = &chain{}
		l.pairs[pair] = c
	}
	return c
}

func (l *Loop) group(id uint64) *destination {
	d := l.groups[id]
	if d == nil {
		d = &destination{}
		l.groups[id] = d
	}
	return d
}

// fail notes a failure and the pause after it.
func (l *Loop) fail(t *trouble, now time.Time, err error, shortest, longest time.Duration) {
	pause := longest
	if doubled := shortest << min(t.failures, 20); doubled > 0 {
		pause = min(doubled, longest)
	}
	t.failures++
	t.err = err
	t.notBefore = now.Add(pause/2 + time.Duration(l.config.Random()*float64(pause)/2))
}

// InFlight returns how many batches are on their way.
func (l *Loop) InFlight() int { return l.inFlight }

// Trouble returns why a pair's transfers wait, nil if nothing failed.
func (l *Loop) Trouble(pair Pair, group uint64) error {
	if c := l.pairs[pair]; c != nil && c.err != nil {
		return c.err
	}
	if d := l.groups[group]; d != nil {
		return d.err
	}
	return nil
}
