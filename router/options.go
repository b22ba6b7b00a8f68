package router

import (
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// MaxMessageBytes bounds a message in either direction, as Pyroscope's clients
// and servers do.
const MaxMessageBytes = 100 << 20

// Options configures a router and its gRPC server. Zero values mean the
// defaults that the fields name.
type Options struct {
	// ID names this router in NodeInfo and logs. Default "router".
	ID string
	// AdvertiseAddress is shown in NodeInfo; host and port. Default empty.
	AdvertiseAddress string
	// AllowTenantDeletion makes DeleteTenant delete instead of refusing.
	AllowTenantDeletion bool
	// Version and Revision of the build, shown in NodeInfo and Status.
	Version, Revision string

	// AddBlockBudget bounds one AddBlock with all its retries. Segment-writers
	// give up after 2 s, so it must stay below. Default 1.8 s.
	AddBlockBudget time.Duration
	// GetBlocksBudget bounds GetBlockMetadata; workers give up after 5 s.
	// Default 4.5 s.
	GetBlocksBudget time.Duration
	// QueryBudget bounds queries and tenant calls; query-frontends give up
	// after 20 s. Default 18 s.
	QueryBudget time.Duration

	// PollBudget bounds PollCompactionJobs; workers give up after 5 s and then
	// lose what was assigned to them. Default 4 s.
	PollBudget time.Duration
	// MaxUpdates bounds the reports of one poll. Default 50,000.
	MaxUpdates int

	// SlowQuery is the time from which on a query is logged with its cost; lines
	// are few, however many queries are slow. Default 2 s; negative for never.
	SlowQuery time.Duration

	// Tracing gets a span of each request and of each call to a node. Default
	// none.
	Tracing trace.TracerProvider

	// FanOut is the number of node calls one request runs at a time.
	// Default 32.
	FanOut int

	// ClusterID is the cluster whose map is taken. Default: that of the first map
	// that is read.
	ClusterID string
	// RefreshInterval is the time between two unforced reads of the range map
	// while no node can be watched for its changes; ten times as long while one
	// can. It is a last resort: groups correct a stale map at once. Default 30 s.
	RefreshInterval time.Duration
	// RefreshTimeout bounds asking one node for the range map. Default 1 s.
	RefreshTimeout time.Duration

	// MaxAnswerBytes bounds the answer of one request. Default and upper limit
	// MaxMessageBytes, which clients do not accept more than.
	MaxAnswerBytes int
	// MaxQueryBytes bounds an encoded query request: tenants, labels and
	// selector are repeated to every group. Default 4 MiB.
	MaxQueryBytes int
	// MaxTenants bounds the tenants of one query. Default 10,000.
	MaxTenants int
	// MaxLabels bounds the label names of one query. Default 1,000.
	MaxLabels int
	// MaxIDs bounds the ids of one GetBlockMetadata. Default 100,000.
	MaxIDs int

	// MaxWrites and MaxReads bound the public requests in progress. Writes are
	// apart so that slow queries cannot starve them. Defaults 4,096 and 256.
	MaxWrites, MaxReads int
	// MaxQueuedWrites and MaxQueuedReads bound those that wait for a place;
	// more are refused at once. Defaults four times MaxWrites and MaxReads.
	MaxQueuedWrites, MaxQueuedReads int

	// MaxConcurrentStreams bounds the requests of one connection: a client
	// sends everything over one. Default 10,000.
	MaxConcurrentStreams uint32
	// MaxConnectionAge closes connections of that age gracefully, so that
	// clients, which stick to one router for ever, spread over new ones. It
	// only helps behind a balancer; default 0, no limit.
	MaxConnectionAge time.Duration
	// MaxConnectionAgeGrace is what a request on a closing connection may
	// still take. Default 30 s.
	MaxConnectionAgeGrace time.Duration
}

// ErrOptions is wrapped by every fault that Validate reports.
var ErrOptions = errors.New("invalid router options")

// Validate reports every fault, after the defaults are applied.
func (o Options) Validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%w: "+format, append([]any{ErrOptions}, args...)...))
	}
	o = o.withDefaults()
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"AddBlockBudget", o.AddBlockBudget}, {"GetBlocksBudget", o.GetBlocksBudget}, {"QueryBudget", o.QueryBudget}, {"PollBudget", o.PollBudget},
		{"RefreshInterval", o.RefreshInterval}, {"RefreshTimeout", o.RefreshTimeout},
		{"MaxConnectionAge", o.MaxConnectionAge}, {"MaxConnectionAgeGrace", o.MaxConnectionAgeGrace},
	} {
		if d.value < 0 {
			fault("%s is %v, must not be negative", d.name, d.value)
		}
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"FanOut", o.FanOut}, {"MaxAnswerBytes", o.MaxAnswerBytes}, {"MaxQueryBytes", o.MaxQueryBytes},
		{"MaxTenants", o.MaxTenants}, {"MaxLabels", o.MaxLabels}, {"MaxIDs", o.MaxIDs}, {"MaxUpdates", o.MaxUpdates},
		{"MaxWrites", o.MaxWrites}, {"MaxReads", o.MaxReads},
		{"MaxQueuedWrites", o.MaxQueuedWrites}, {"MaxQueuedReads", o.MaxQueuedReads},
	} {
		if n.value < 0 {
			fault("%s is %d, must not be negative", n.name, n.value)
		}
	}
	if o.MaxAnswerBytes > MaxMessageBytes {
		fault("MaxAnswerBytes is %d, clients accept at most %d", o.MaxAnswerBytes, MaxMessageBytes)
	}
	return errors.Join(faults...)
}

func (o Options) withDefaults() Options {
	orDefault(&o.ID, "router")
	orDefault(&o.AddBlockBudget, 1800*time.Millisecond)
	orDefault(&o.GetBlocksBudget, 4500*time.Millisecond)
	orDefault(&o.QueryBudget, 18*time.Second)
	orDefault(&o.PollBudget, 4*time.Second)
	orDefault(&o.MaxUpdates, 50_000)
	orDefault(&o.SlowQuery, 2*time.Second)
	orDefault(&o.FanOut, 32)
	orDefault(&o.RefreshInterval, 30*time.Second)
	orDefault(&o.RefreshTimeout, time.Second)
	orDefault(&o.MaxAnswerBytes, MaxMessageBytes)
	orDefault(&o.MaxQueryBytes, 4<<20)
	orDefault(&o.MaxTenants, 10_000)
	orDefault(&o.MaxLabels, 1_000)
	orDefault(&o.MaxIDs, 100_000)
	orDefault(&o.MaxWrites, 4096)
	orDefault(&o.MaxReads, 256)
	orDefault(&o.MaxQueuedWrites, 4*o.MaxWrites)
	orDefault(&o.MaxQueuedReads, 4*o.MaxReads)
	orDefault(&o.MaxConcurrentStreams, 10_000)
	orDefault(&o.MaxConnectionAgeGrace, 30*time.Second)
	return o
}

func orDefault[T comparable](setting *T, value T) {
	var zero T
	if *setting == zero {
		*setting = value
	}
}
