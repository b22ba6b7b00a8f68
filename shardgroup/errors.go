package shardgroup

import (
	"context"
	"errors"
	"fmt"

	"github.com/lni/dragonboat/v4"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/proto/selector"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

var (
	// ErrNotReady means that the group has no leader, is starting or stopping.
	// The command had no effect.
	ErrNotReady = errors.New("the group is not ready")
	// ErrOverloaded means that the group's queue is full. The command had no effect.
	ErrOverloaded = errors.New("the group is overloaded")
	// ErrAmbiguous means that nobody can tell whether the command takes effect.
	// Repeating it is safe.
	ErrAmbiguous = errors.New("the outcome of the command is unknown")
	// ErrTooSlow means that a read took longer than the node allows.
	ErrTooSlow = errors.New("the query takes longer")
	// ErrNotHere means that the node has no replica of the group.
	ErrNotHere = errors.New("the node has no replica of the group")
	// ErrBadRequest means that the request itself is wrong.
	ErrBadRequest = errors.New("bad request")
	// ErrUnwanted means that a cluster does not let a node in, or that a node does
	// not let itself be founded: repeating it does not help.
	ErrUnwanted = errors.New("refused")
	// ErrOtherCluster means that a node of another cluster answered: an address is
	// wrong, or belongs to somebody else by now. It says nothing about the asking node.
	ErrOtherCluster = errors.New("a node of another cluster answers")
	// ErrUnwise means that an operator's change was refused by a check; it can be
	// forced.
	ErrUnwise = errors.New("refused by a check")
	// ErrRefused means that a command contradicts what the group holds.
	ErrRefused = errors.New("the group refused the command")
)

// statusRow is a row of the one table that maps errors to gRPC.
type statusRow struct {
	err    error
	code   codes.Code
	reason clusterv1.RouteError_Reason
}

// The first row that matches decides. A reason becomes a RouteError detail,
// which tells the router what to do.
var statusTable = []statusRow{
	{context.Canceled, codes.Canceled, 0},
	{context.DeadlineExceeded, codes.DeadlineExceeded, 0},
	{ErrBadRequest, codes.InvalidArgument, 0},
	{metastorev1.ErrInvalidBlock, codes.InvalidArgument, 0},
	{metastorev1.ErrInvalidID, codes.InvalidArgument, 0},
	{selector.ErrInvalid, codes.InvalidArgument, 0},
	{statemachine.ErrWrongSpan, codes.InvalidArgument, 0},
	{statemachine.ErrTooLarge, codes.InvalidArgument, 0},
	{ErrTooSlow, codes.InvalidArgument, 0},
	{ErrAmbiguous, codes.Unavailable, clusterv1.RouteError_REASON_AMBIGUOUS},
	{ErrNotReady, codes.Unavailable, clusterv1.RouteError_REASON_NOT_READY},
	{ErrNotHere, codes.Aborted, clusterv1.RouteError_REASON_NOT_OWNER},
	{ErrOtherCluster, codes.NotFound, 0},
	{ErrUnwanted, codes.FailedPrecondition, 0},
	{ErrUnwise, codes.FailedPrecondition, 0},
	{errSpreadOff, codes.FailedPrecondition, 0},
	{ErrOverloaded, codes.ResourceExhausted, clusterv1.RouteError_REASON_OVERLOADED},
	{ErrRefused, codes.Internal, 0},
}

// toStatus turns an error into a gRPC status error.
func toStatus(err error, groupID uint64) error {
	if err == nil {
		return nil
	}
	var refusal *statemachine.RouteRefusal
	if errors.As(err, &refusal) {
		return routeStatus(routeCode(refusal.Detail.GetReason()), err.Error(), refusal.Detail)
	}
	if errors.Is(err, statemachine.ErrTooLarge) {
		return status.Errorf(codes.InvalidArgument, "%v: narrow the time range or the selector", err)
	}
	for _, row := range statusTable {
		if !errors.Is(err, row.err) {
			continue
		}
		if row.reason == 0 {
			return status.Error(row.code, err.Error())
		}
		detail := &clusterv1.RouteError{Reason: row.reason, GroupId: groupID}
		var hinted *hintedError
		if errors.As(err, &hinted) {
			detail.LeaderNodeId = hinted.leader
		}
		return routeStatus(row.code, err.Error(), detail)
	}
	if from, ok := status.FromError(err); ok {
		// Another node's, which was asked on the way.
		return status.Error(from.Code(), err.Error())
	}
	return status.Error(codes.Internal, err.Error())
}

// routeCode is ABORTED where the router must look for another owner, and
// UNAVAILABLE where the same call may be repeated.
func routeCode(reason clusterv1.RouteError_Reason) codes.Code {
	switch reason {
	case clusterv1.RouteError_REASON_NOT_OWNER, clusterv1.RouteError_REASON_STALE_EPOCH:
		return codes.Aborted
	default:
		return codes.Unavailable
	}
}

func routeStatus(code codes.Code, message string, detail *clusterv1.RouteError) error {
	plain := status.New(code, message)
	detailed, err := plain.WithDetails(detail)
	if err != nil {
		return plain.Err()
	}
	return detailed.Err()
}

// fromRaft names dragonboat's errors after what they mean for the caller.
func fromRaft(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, dragonboat.ErrSystemBusy):
		return fmt.Errorf("%w: %w", ErrOverloaded, err)
	case errors.Is(err, dragonboat.ErrPayloadTooBig), errors.Is(err, dragonboat.ErrInvalidSession):
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	case errors.Is(err, dragonboat.ErrCanceled):
		return context.Canceled
	case errors.Is(err, dragonboat.ErrTimeoutTooSmall):
		return context.DeadlineExceeded
	case errors.Is(err, kv.ErrDatabaseNotOpen), // the node is closing
		errors.Is(err, dragonboat.ErrShardNotFound), errors.Is(err, dragonboat.ErrShardNotReady),
		errors.Is(err, dragonboat.ErrShardNotInitialized), errors.Is(err, dragonboat.ErrShardClosed),
		errors.Is(err, dragonboat.ErrClosed), errors.Is(err, dragonboat.ErrAborted),
		errors.Is(err, dragonboat.ErrTimeout):
		return fmt.Errorf("%w: %w", ErrNotReady, err)
	default:
		return err
	}
}
