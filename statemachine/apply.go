package statemachine

import (
	"errors"
	"fmt"

	sm "github.com/lni/dragonboat/v4/statemachine"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/deletions"
	"github.com/skerrydb/skerry/statemachine/directory"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/statemachine/queue"
	"github.com/skerrydb/skerry/statemachine/ranges"
	"github.com/skerrydb/skerry/statemachine/tombstones"
	"github.com/skerrydb/skerry/storage/kv"
)

// handler applies one command. A refusal is a result; an error stops the node.
// A handler changes nothing before it knows that it will not refuse.
type handler func(*update, *raftlogv1.Command) (*raftlogv1.Result, error)

// since is a handler and the data format from which on its commands may be
// proposed. Formats are the cluster's (cluster.v1, Cluster.active_version).
type since struct {
	format uint32
	handle handler
}

const first = clusterv1.FirstFormat

var dataHandlers = map[raftlogv1.Kind]since{
	raftlogv1.Kind_KIND_INIT_GROUP:       {first, initGroup},
	raftlogv1.Kind_KIND_CLAIM_LEADERSHIP: {first, claimLeadership},
	raftlogv1.Kind_KIND_ADD_BLOCK:        {first, addBlock},

	raftlogv1.Kind_KIND_DECIDE_COMPACTION:  {first, decideCompaction},
	raftlogv1.Kind_KIND_CONTROL_COMPACTION: {first, controlCompaction},
	raftlogv1.Kind_KIND_DECIDE_RETENTION:   {first, decideRetention},
	raftlogv1.Kind_KIND_DELETE_TENANT:      {first, deleteTenant},

	raftlogv1.Kind_KIND_REPLACE_RANGES: {first, replaceRanges},

	raftlogv1.Kind_KIND_ACCEPT_TRANSFERS: {first, acceptTransfers},
	raftlogv1.Kind_KIND_ACK_TRANSFERS:    {first, ackTransfers},

	raftlogv1.Kind_KIND_IMPORT_TOMBSTONES: {first, importTombstones},
}

var directoryHandlers = map[raftlogv1.Kind]since{
	raftlogv1.Kind_KIND_BOOTSTRAP_DIRECTORY: {first, bootstrapDirectory},
	raftlogv1.Kind_KIND_CLAIM_LEADERSHIP:    {first, claimLeadership},
	raftlogv1.Kind_KIND_CHANGE_DIRECTORY:    {first, changeDirectory},
}

// update is one Update call in progress.
type update struct {
	tx       *kv.Tx
	handlers map[raftlogv1.Kind]since
	standing
	index *index.Writer
	// Decodes blocks that are added; the index keeps nothing of one but strings.
	blocks *metastorev1.BlockDecoder
	// Opened when first needed; see openCompaction.
	tables *compaction
	// Of the command in its entry.
	position int
	// Tombstones that deletions of this command left.
	graves int
}

// standing is what every update begins with: what the one before it left.
type standing struct {
	header  header
	ranges  ranges.Table
	deleted deletions.Known
	// All tables of compaction are there.
	made            bool
	knownQueue      *queue.Known
	knownTombstones *tombstones.Known
}

func loadStanding(tx *kv.Tx) (*standing, error) {
	s := &standing{knownQueue: queue.NewKnown(), knownTombstones: tombstones.NewKnown()}
	var err error
	if s.header, err = loadHeader(tx); err != nil {
		return nil, err
	}
	if s.deleted, err = deletions.Load(tx); err != nil {
		return nil, err
	}
	s.ranges, err = ranges.Load(tx)
	return s, err
}

// newUpdate begins with what the store holds, or with what is known of it.
func (m *Machine) newUpdate(tx *kv.Tx, known *standing) (*update, error) {
	if known == nil {
		var err error
		if known, err = loadStanding(tx); err != nil {
			return nil, err
		}
	}
	u := &update{tx: tx, handlers: m.handlers, standing: *known, index: index.NewWriter(tx, m.cache), blocks: &m.blocks}
	u.index.Hide(u.deleted.Hidden())
	return u, nil
}

// entry applies one Raft entry and returns its encoded results.
func (u *update) entry(raw sm.Entry) ([]byte, error) {
	if raw.Index <= u.header.applied {
		return nil, fmt.Errorf("applied already: the store is at %d", u.header.applied)
	}
	entry, err := raftlogv1.DecodeEntry(raw.Cmd)
	if err != nil {
		return nil, fmt.Errorf("malformed entry: %w", err)
	}
	u.header.applied = raw.Index
	u.header.logTime = max(u.header.logTime, int64(entry.GetProposedAt()))
	results := &raftlogv1.Results{Results: make([]*raftlogv1.Result, len(entry.GetCommands()))}
	for i, command := range entry.GetCommands() {
		u.position, u.graves = i, 0
		result, err := u.command(entry, command)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", command.GetKind(), err)
		}
		results.Results[i] = result
	}
	return results.MarshalVT()
}

func (u *update) command(entry *raftlogv1.Entry, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	known, ok := u.handlers[command.GetKind()]
	if !ok {
		// Skipping it would let replicas of different releases diverge.
		return nil, fmt.Errorf("unknown kind of command: run a release that knows it")
	}
	if refusal, err := u.tooNew(known.format); refusal != nil || err != nil {
		return refusal, err
	}
	if epoch := entry.GetLeaderEpoch(); epoch != 0 && epoch != u.header.leaderEpoch {
		return &raftlogv1.Result{
			Status:      raftlogv1.Result_STATUS_STALE_LEADER,
			Message:     fmt.Sprintf("proposed by leader epoch %d, now %d", epoch, u.header.leaderEpoch),
			LeaderEpoch: u.header.leaderEpoch,
		}, nil
	}
	return known.handle(u, command)
}

// tooNew refuses a command of a format that is not in use yet. The directory
// knows which one is; data groups do not, and rely on who proposes.
func (u *update) tooNew(format uint32) (*raftlogv1.Result, error) {
	if format <= first || u.header.groupID != clusterv1.DirectoryGroup {
		return nil, nil
	}
	cluster, err := directory.Cluster(u.tx)
	if err != nil {
		return nil, err
	}
	if active := cluster.FormatOrFirst(); format > active {
		return conflict("the command needs data format %d, the cluster uses %d: activate format %d first", format, active, format), nil
	}
	return nil, nil
}

// finish writes what was collected over the entries.
func (u *update) finish() error {
	if err := u.index.Flush(); err != nil {
		return err
	}
	if u.tables != nil {
		if err := u.tables.queue.Flush(); err != nil {
			return err
		}
		if u.tables.outbox != nil {
			if err := errors.Join(u.tables.outbox.Flush(), u.tables.jobs.Flush()); err != nil {
				return err
			}
		}
	}
	return u.header.store(u.tx)
}

// owns checks a command's span against the group's ranges.
func (u *update) owns(ref *clusterv1.RangeRef) *raftlogv1.Result {
	if refusal := checkOwnership(&u.header, u.ranges, ref); refusal != nil {
		return &raftlogv1.Result{Status: raftlogv1.Result_STATUS_ROUTE, Message: refusal.GetReason().String(), Route: refusal}
	}
	return nil
}

// checkOwnership is the one check of ownership, for commands and for reads.
func checkOwnership(h *header, table ranges.Table, ref *clusterv1.RangeRef) *clusterv1.RouteError {
	if h.groupID == 0 {
		return &clusterv1.RouteError{Reason: clusterv1.RouteError_REASON_NOT_READY}
	}
	refusal := table.Check(ref)
	if refusal != nil {
		refusal.GroupId = h.groupID
	}
	return refusal
}

func ok() *raftlogv1.Result { return &raftlogv1.Result{Status: raftlogv1.Result_STATUS_OK} }

func already() *raftlogv1.Result { return &raftlogv1.Result{Status: raftlogv1.Result_STATUS_ALREADY} }

func invalid(err error) *raftlogv1.Result {
	return &raftlogv1.Result{Status: raftlogv1.Result_STATUS_INVALID, Message: err.Error()}
}

func conflict(format string, args ...any) *raftlogv1.Result {
	return &raftlogv1.Result{Status: raftlogv1.Result_STATUS_CONFLICT, Message: fmt.Sprintf(format, args...)}
}
