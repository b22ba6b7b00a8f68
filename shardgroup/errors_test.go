package shardgroup

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/lni/dragonboat/v4"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/proto/selector"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

func TestStatusOfErrors(t *testing.T) {
	refusal := func(reason clusterv1.RouteError_Reason) error {
		return &statemachine.RouteRefusal{Detail: &clusterv1.RouteError{Reason: reason, Current: []*clusterv1.Range{{RangeId: 3}}}}
	}
	for _, test := range []struct {
		err    error
		code   codes.Code
		reason clusterv1.RouteError_Reason
	}{
		{context.Canceled, codes.Canceled, 0},
		{context.DeadlineExceeded, codes.DeadlineExceeded, 0},
		{ErrBadRequest, codes.InvalidArgument, 0},
		{metastorev1.ErrInvalidBlock, codes.InvalidArgument, 0},
		{metastorev1.ErrInvalidID, codes.InvalidArgument, 0},
		{selector.ErrInvalid, codes.InvalidArgument, 0},
		{statemachine.ErrTooLarge, codes.InvalidArgument, 0},
		{statemachine.ErrWrongSpan, codes.InvalidArgument, 0},
		{ErrAmbiguous, codes.Unavailable, clusterv1.RouteError_REASON_AMBIGUOUS},
		{ErrNotReady, codes.Unavailable, clusterv1.RouteError_REASON_NOT_READY},
		{ErrNotHere, codes.Aborted, clusterv1.RouteError_REASON_NOT_OWNER},
		{ErrOverloaded, codes.ResourceExhausted, clusterv1.RouteError_REASON_OVERLOADED},
		{ErrRefused, codes.Internal, 0},
		{errors.New("anything else"), codes.Internal, 0},
		{status.Error(codes.Unavailable, "another node says so"), codes.Unavailable, 0},
		{refusal(clusterv1.RouteError_REASON_NOT_OWNER), codes.Aborted, clusterv1.RouteError_REASON_NOT_OWNER},
		{refusal(clusterv1.RouteError_REASON_STALE_EPOCH), codes.Aborted, clusterv1.RouteError_REASON_STALE_EPOCH},
		{refusal(clusterv1.RouteError_REASON_EPOCH_AHEAD), codes.Unavailable, clusterv1.RouteError_REASON_EPOCH_AHEAD},
		{refusal(clusterv1.RouteError_REASON_NOT_READY), codes.Unavailable, clusterv1.RouteError_REASON_NOT_READY},
	} {
		got := status.Convert(toStatus(fmt.Errorf("while testing: %w", test.err), 9))
		if got.Code() != test.code {
			t.Errorf("%v is %s, want %s", test.err, got.Code(), test.code)
		}
		var reason clusterv1.RouteError_Reason
		for _, detail := range got.Details() {
			reason = detail.(*clusterv1.RouteError).GetReason()
		}
		if reason != test.reason {
			t.Errorf("%v has reason %s, want %s", test.err, reason, test.reason)
		}
	}
	if toStatus(nil, 1) != nil {
		t.Error("no error became one")
	}
}

func TestFromRaft(t *testing.T) {
	for _, test := range []struct{ raft, want error }{
		{dragonboat.ErrSystemBusy, ErrOverloaded}, {dragonboat.ErrPayloadTooBig, ErrBadRequest},
		{dragonboat.ErrCanceled, context.Canceled}, {dragonboat.ErrTimeoutTooSmall, context.DeadlineExceeded},
		{dragonboat.ErrShardNotFound, ErrNotReady}, {dragonboat.ErrShardNotReady, ErrNotReady},
		{dragonboat.ErrShardClosed, ErrNotReady}, {dragonboat.ErrClosed, ErrNotReady}, {dragonboat.ErrTimeout, ErrNotReady},
		{kv.ErrDatabaseNotOpen, ErrNotReady}, {statemachine.ErrTooLarge, statemachine.ErrTooLarge},
	} {
		if got := fromRaft(fmt.Errorf("wrapped: %w", test.raft)); !errors.Is(got, test.want) {
			t.Errorf("%v became %v, want %v", test.raft, got, test.want)
		}
	}
	if fromRaft(nil) != nil {
		t.Error("no error became one")
	}
}
