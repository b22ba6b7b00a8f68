package router

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// action is what an error of a node asks the router to do.
type action int

const (
	// The answer is there.
	accept action = iota
	// Learn the hints and send the span again to whom the map names now.
	reroute
	// Same group, same replica, after a pause.
	repeat
	// Same group, next replica, after a pause.
	elsewhere
	// Same group and replica after a longer pause.
	relieve
	// No retry helps.
	surface
)

// verdict is the reading of one node's answer. The reason in the detail counts;
// the code only if there is none; the text never.
type verdict struct {
	action action
	// Label of the metric.
	outcome string
	hints   []*clusterv1.Range
}

func judge(err error) verdict {
	if err == nil {
		return verdict{action: accept, outcome: "ok"}
	}
	if late := (*lateError)(nil); errors.As(err, &late) {
		return verdict{action: elsewhere, outcome: timedOut}
	}
	s := asStatus(err)
	if detail := routeError(s); detail != nil {
		switch detail.GetReason() {
		case clusterv1.RouteError_REASON_NOT_OWNER:
			return verdict{reroute, "not_owner", detail.GetCurrent()}
		case clusterv1.RouteError_REASON_STALE_EPOCH:
			return verdict{reroute, "stale_epoch", detail.GetCurrent()}
		case clusterv1.RouteError_REASON_EPOCH_AHEAD:
			return verdict{action: repeat, outcome: "epoch_ahead"}
		case clusterv1.RouteError_REASON_NOT_READY:
			return verdict{action: elsewhere, outcome: "not_ready"}
		case clusterv1.RouteError_REASON_OVERLOADED:
			return verdict{action: relieve, outcome: "overloaded"}
		case clusterv1.RouteError_REASON_AMBIGUOUS:
			// A replica that is cut off from its group stays ambiguous.
			return verdict{action: elsewhere, outcome: "ambiguous"}
		}
	}
	switch s.Code() {
	case codes.Aborted:
		return verdict{action: reroute, outcome: "not_owner"}
	case codes.Unavailable:
		return verdict{action: elsewhere, outcome: "unreachable"}
	case codes.ResourceExhausted:
		return verdict{action: relieve, outcome: "overloaded"}
	case codes.InvalidArgument:
		return verdict{action: surface, outcome: "invalid"}
	case codes.Canceled, codes.DeadlineExceeded:
		return verdict{action: surface, outcome: "ended"}
	default:
		return verdict{action: surface, outcome: "failed"}
	}
}

func routeError(s *status.Status) *clusterv1.RouteError {
	for _, detail := range s.Details() {
		if found, ok := detail.(*clusterv1.RouteError); ok {
			return found
		}
	}
	return nil
}
