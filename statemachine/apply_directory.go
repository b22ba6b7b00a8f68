package statemachine

import (
	"errors"
	"strings"
	"unicode/utf8"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/directory"
)

// Bounds of the directory: its map is sent to every router.
const (
	maxNodes = 1_000 // that are not REMOVED
	// REMOVED nodes stay known, so that none is let in again.
	maxNodeRecords = 10_000
	maxGroups      = 4_096
	maxRanges      = 10_000
	// Operations that ended and are still known.
	maxEnded = 256
	// Of a change, and of the texts in it, bytes.
	maxChange = 64 << 10
	maxText   = 1 << 10
)

// directoryChange is one DirectoryChange in progress. Its methods decide first,
// from records of their own, and change the directory in the step they return.
type directoryChange struct {
	*raftlogv1.DirectoryChange
	w         *directory.Writer
	cluster   *clusterv1.Cluster
	requestID []byte
	// Log time, Unix nanoseconds.
	now int64
	// Filled in by the step, or with what a repeat finds.
	outcome *raftlogv1.DirectoryOutcome
}

// step is what a change comes to: a refusal (or ALREADY), or an action, which
// bumps the map's version. Neither stands for ALREADY.
type step struct {
	refusal *raftlogv1.Result
	apply   func() error
}

func refuse(format string, args ...any) (step, error) {
	return step{refusal: conflict(format, args...)}, nil
}

func badChange(text string) (step, error) { return step{refusal: invalid(errors.New(text))}, nil }

func changeDirectory(u *update, command *raftlogv1.Command) (*raftlogv1.Result, error) {
	if len(command.GetPayload()) > maxChange {
		return invalid(errors.New("the change of the directory is too large")), nil
	}
	c := &directoryChange{DirectoryChange: &raftlogv1.DirectoryChange{}, requestID: command.GetRequestId(), now: u.header.logTime, outcome: &raftlogv1.DirectoryOutcome{}}
	if err := c.UnmarshalVT(command.GetPayload()); err != nil {
		return invalid(err), nil
	}
	var err error
	if c.w, err = directory.NewWriter(u.tx); err != nil {
		return nil, err
	}
	if c.w == nil {
		return conflict("there is no cluster yet: found one first"), nil
	}
	if c.cluster, err = c.w.Cluster(); err != nil {
		return nil, err
	}
	s, err := c.decide()
	if err != nil {
		return nil, err
	}
	result, err := c.take(s)
	if err != nil {
		return nil, err
	}
	c.outcome.MapVersion = c.cluster.GetMapVersion()
	result.Payload, err = c.outcome.MarshalVT()
	return result, err
}

// take carries a step out. A repeat is one whatever version it was decided on,
// since its own first application has changed the version.
func (c *directoryChange) take(s step) (*raftlogv1.Result, error) {
	if s.refusal.GetStatus() == raftlogv1.Result_STATUS_INVALID {
		return s.refusal, nil
	}
	if s.refusal == nil && s.apply == nil {
		return already(), nil
	}
	if expected := c.GetExpectedMapVersion(); expected != 0 && expected != c.cluster.GetMapVersion() {
		return conflict("decided on map version %d, now it is %d: read the map and decide again", expected, c.cluster.GetMapVersion()), nil
	}
	if s.refusal != nil {
		return s.refusal, nil
	}
	if err := s.apply(); err != nil {
		return nil, err
	}
	c.cluster.MapVersion++
	return ok(), c.w.PutCluster(c.cluster)
}

func (c *directoryChange) decide() (step, error) {
	switch change := c.GetChange().(type) {
	case *raftlogv1.DirectoryChange_RegisterNode:
		return c.registerNode(change.RegisterNode.GetNode())
	case *raftlogv1.DirectoryChange_SetNodeState:
		return c.setNodeState(change.SetNodeState)
	case *raftlogv1.DirectoryChange_CreateGroup:
		return c.createGroup(change.CreateGroup)
	case *raftlogv1.DirectoryChange_ActivateGroup:
		return c.activateGroup(change.ActivateGroup)
	case *raftlogv1.DirectoryChange_AddReplica:
		return c.addReplica(change.AddReplica)
	case *raftlogv1.DirectoryChange_SetReplicaRole:
		return c.setReplicaRole(change.SetReplicaRole)
	case *raftlogv1.DirectoryChange_RemoveReplica:
		return c.removeReplica(change.RemoveReplica)
	case *raftlogv1.DirectoryChange_StartSplit:
		return c.startSplit(change.StartSplit)
	case *raftlogv1.DirectoryChange_StartMerge:
		return c.startMerge(change.StartMerge)
	case *raftlogv1.DirectoryChange_FinishOperation:
		return c.finishOperation(change.FinishOperation)
	case *raftlogv1.DirectoryChange_ChangeSettings:
		return c.changeSettings(change.ChangeSettings.GetSettings(), change.ChangeSettings.GetBefore())
	case *raftlogv1.DirectoryChange_ActivateFormat:
		return c.activateFormat(change.ActivateFormat.GetFormat())
	}
	return badChange("no change of the directory that this release knows")
}

// repeatable demands the id by which a repeat of the command is known.
func (c *directoryChange) repeatable() bool { return len(c.requestID) == 16 }

const noRequestID = "the change needs a request id of 16 bytes, by which a repeat is known"

// why words who wanted the change.
func (c *directoryChange) why() string {
	actor, reason := text(c.GetActor()), text(c.GetReason())
	switch {
	case actor == "":
		return reason
	case reason == "":
		return actor
	}
	return actor + ": " + reason
}

// text makes a text for people fit to be kept.
func text(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "")
}

func fits(texts ...string) bool {
	for _, s := range texts {
		if len(s) > maxText || !utf8.ValidString(s) {
			return false
		}
	}
	return true
}

// allocate hands out an id. A counter of 0 is one that the cluster's first
// release did not have.
func allocate(counter *uint64) uint64 {
	*counter = max(*counter, 1)
	id := *counter
	*counter++
	return id
}
