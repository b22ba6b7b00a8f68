package objects

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/minio/minio-go/v7"
)

// s3Error translates what S3 answered. It is about an object, or about the
// bucket if name is empty.
func (s *S3) s3Error(ctx context.Context, err error, doing, name string) error {
	if err == nil {
		return nil
	}
	if name != "" {
		doing += " " + name
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s: %s: %w", s.where, doing, cause)
	}
	answer := minio.ToErrorResponse(err)
	switch status := answer.StatusCode; {
	case answer.Code == minio.NoSuchKey && name != "":
		return fmt.Errorf("%w: %s", ErrNotFound, name)
	case status == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %s", ErrExists, name)
	case status == http.StatusNotImplemented:
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	case refusal(status):
		err = fmt.Errorf("%w: %s (%s, status %d)", ErrRefused, answer.Message, answer.Code, status)
	}
	return fmt.Errorf("%s: %s: %w", s.where, doing, err)
}

// refusal tells whether the same request would be answered so again. The others
// of the 400s are about time, load, or other requests.
func refusal(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests, 499:
		return false
	}
	return status/100 == 4 || status/100 == 3
}

func invalidRange(err error) bool {
	return minio.ToErrorResponse(err).StatusCode == http.StatusRequestedRangeNotSatisfiable
}

var errRangeAnswer = errors.New("the answer is about another range than the one that was asked for")
