package shardgroup

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/shardgroup/dlq"
	"github.com/skerrydb/skerry/storage/objects"
)

const (
	// Dead letters that one answer lists.
	lettersListed, lettersListedMax = 100, 10_000
	// Keys that one request names.
	letterKeysMax = 1000
)

// letters returns what the node knows about dead letters.
func (s service) letters() (*deadLetters, error) {
	if d := s.node.letters.Load(); d != nil {
		return d, nil
	}
	return nil, status.Errorf(codes.FailedPrecondition, "node %s has no object store", s.node.ID())
}

// letterStatus turns an error of the object store into that of a call.
func letterStatus(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case errors.Is(err, dlq.ErrKey), errors.Is(err, objects.ErrName):
		return status.Errorf(codes.InvalidArgument, "%v: want %sSHARD/TENANT/ULID/meta.pb, or the same below %s; see: skerry dlq list", err, dlq.Prefix, dlq.RejectedPrefix)
	case errors.Is(err, objects.ErrNotFound):
		return status.Errorf(codes.NotFound, "%v: it may be recovered by now", err)
	case errors.Is(err, objects.ErrTooLarge):
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	return status.Errorf(codes.Unavailable, "the object store does not do it: %v", err)
}

func (s service) GetDLQStatus(ctx context.Context, _ *nodev1.GetDLQStatusRequest) (*nodev1.GetDLQStatusResponse, error) {
	d, err := s.letters()
	if err != nil {
		return nil, err
	}
	response := &nodev1.GetDLQStatusResponse{
		Objects: d.folders.Bucket.String(), Interval: int64(max(0, d.interval)), Now: s.node.options.Now().UnixNano(),
	}
	if d.recovery != nil {
		describeRecovery(response, d.recovery.Status())
	}
	aside, _, err := d.folders.List(ctx, true, "", 1)
	if err != nil {
		// What the recovery knows is worth telling though the store does not answer.
		if response.ListError == "" {
			response.ListError = err.Error()
		}
		return response, nil
	}
	response.Rejected = len(aside) > 0
	return response, nil
}

func describeRecovery(response *nodev1.GetDLQStatusResponse, status dlq.Status) {
	response.ListedAt, response.FailuresTruncated = nanos(status.ListedAt), status.Truncated
	if status.ListErr != nil {
		response.ListError = status.ListErr.Error()
	}
	for _, g := range status.Groups {
		sweep := &nodev1.DLQSweep{
			GroupId: g.Group, StartedAt: nanos(g.Started), EndedAt: nanos(g.Ended), Met: g.Met, Recovered: g.Recovered, Rejected: g.Rejected,
			Pending: g.Pending, Oldest: nanos(g.Oldest), StuckSince: nanos(g.StuckSince), Sweeping: g.Sweeping,
		}
		if g.Err != nil {
			sweep.Error = g.Err.Error()
		}
		response.Groups = append(response.Groups, sweep)
	}
	for _, f := range status.Failures {
		response.Failures = append(response.Failures, &nodev1.DLQFailure{Key: f.Key, Failures: f.Failures, Error: f.Err, RetryAt: nanos(f.RetryAt)})
	}
}

// nanos is 0 for the zero time.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func letterEntry(e objects.Entry) *nodev1.DLQEntry {
	return &nodev1.DLQEntry{Key: e.Name, Bytes: e.Size, ModifiedAt: nanos(e.Modified)}
}

func (s service) ListDLQ(ctx context.Context, request *nodev1.ListDLQRequest) (*nodev1.ListDLQResponse, error) {
	d, err := s.letters()
	if err != nil {
		return nil, err
	}
	limit := int(request.GetLimit())
	if limit == 0 {
		limit = lettersListed
	}
	if limit > lettersListedMax {
		return nil, status.Errorf(codes.InvalidArgument, "limit is %d, at most %d are listed", limit, lettersListedMax)
	}
	entries, next, err := d.folders.List(ctx, request.GetRejected(), request.GetAfter(), limit)
	if err != nil {
		return nil, letterStatus(ctx, err)
	}
	response := &nodev1.ListDLQResponse{Next: next, Objects: d.folders.Bucket.String()}
	for _, e := range entries {
		response.Entries = append(response.Entries, letterEntry(e))
	}
	return response, nil
}

func (s service) GetDLQEntry(ctx context.Context, request *nodev1.GetDLQEntryRequest) (*nodev1.GetDLQEntryResponse, error) {
	d, err := s.letters()
	if err != nil {
		return nil, err
	}
	shown, err := d.folders.Show(ctx, request.GetKey())
	if err != nil {
		return nil, letterStatus(ctx, err)
	}
	response := &nodev1.GetDLQEntryResponse{
		Entry: letterEntry(shown.Entry), Content: shown.Content, Object: shown.Object, ObjectBytes: shown.ObjectBytes, Footer: shown.Footer,
	}
	if shown.Fault != nil {
		response.Fault = shown.Fault.Error()
	}
	return response, nil
}

// checkKeys demands keys or the word all, not both: who leaves the keys out by
// mistake must not change everything.
func checkKeys(keys []string, all bool) error {
	switch {
	case len(keys) > letterKeysMax:
		return status.Errorf(codes.InvalidArgument, "%d keys, at most %d are allowed", len(keys), letterKeysMax)
	case len(keys) == 0 && !all:
		return status.Error(codes.InvalidArgument, "name keys, or say all")
	case len(keys) > 0 && all:
		return status.Error(codes.InvalidArgument, "name keys, or say all, not both")
	}
	return nil
}

func letterFaults(faults []dlq.Fault) []*nodev1.DLQFault {
	var all []*nodev1.DLQFault
	for _, f := range faults {
		all = append(all, &nodev1.DLQFault{Key: f.Key, Error: f.Err.Error()})
	}
	return all
}

func (s service) RetryDLQ(ctx context.Context, request *nodev1.RetryDLQRequest) (*nodev1.RetryDLQResponse, error) {
	d, err := s.letters()
	if err == nil {
		err = checkKeys(request.GetKeys(), request.GetAll())
	}
	if err != nil {
		return nil, err
	}
	done, err := d.folders.Retry(ctx, request.GetKeys(), request.GetAfter(), request.GetDryRun())
	if err != nil {
		return nil, letterStatus(ctx, err)
	}
	return &nodev1.RetryDLQResponse{Moved: done.Entries, Next: done.Next, Faults: letterFaults(done.Faults)}, nil
}

func (s service) PurgeDLQ(ctx context.Context, request *nodev1.PurgeDLQRequest) (*nodev1.PurgeDLQResponse, error) {
	d, err := s.letters()
	if err == nil {
		err = checkKeys(request.GetKeys(), request.GetAll())
	}
	if err != nil {
		return nil, err
	}
	done, err := d.folders.Purge(ctx, request.GetKeys(), request.GetAfter(), request.GetDryRun())
	if err != nil {
		return nil, letterStatus(ctx, err)
	}
	return &nodev1.PurgeDLQResponse{Deleted: done.Entries, Bytes: uint64(max(0, done.Bytes)), Next: done.Next, Faults: letterFaults(done.Faults)}, nil
}

func (s service) SweepDLQ(context.Context, *nodev1.SweepDLQRequest) (*nodev1.SweepDLQResponse, error) {
	d, err := s.letters()
	if err != nil {
		return nil, err
	}
	if d.recovery == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "node %s does not recover dead letters: -metastore.index.dlq-recovery-check-interval is 0", s.node.ID())
	}
	return &nodev1.SweepDLQResponse{Groups: uint32(d.recovery.Sweep())}, nil
}
