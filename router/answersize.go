package router

import (
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// answerSize bounds the answer of one request while its parts come in.
type answerSize struct {
	limit int64
	used  atomic.Int64
}

func newAnswerSize(limit int) *answerSize { return &answerSize{limit: int64(limit)} }

// left is what a node may still send. Never 0, which would mean no limit.
func (a *answerSize) left() uint64 { return uint64(max(1, a.limit-a.used.Load())) }

// add counts bytes. A retry cannot help when they are too many, and
// INVALID_ARGUMENT is the one code that clients do not retry.
func (a *answerSize) add(bytes int) error {
	if a.used.Add(int64(bytes)) > a.limit {
		return status.Errorf(codes.InvalidArgument,
			"the answer is larger than %d bytes: narrow the time range or the selector", a.limit)
	}
	return nil
}

// release takes back what add counted.
func (a *answerSize) release(bytes int) { a.used.Add(-int64(bytes)) }
