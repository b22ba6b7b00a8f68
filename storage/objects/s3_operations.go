package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// Check is Bucket's.
func (s *S3) Check(ctx context.Context) error { return check(ctx, s) }

// Put is Bucket's.
func (s *S3) Put(ctx context.Context, name string, content []byte) error {
	return s.put(ctx, name, content, minio.PutObjectOptions{})
}

// PutIfAbsent is Bucket's. Services that do not know the condition either say so
// or overwrite the object; Amazon's, MinIO and Ceph know it.
func (s *S3) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	var options minio.PutObjectOptions
	options.SetMatchETagExcept("*")
	return s.put(ctx, name, content, options)
}

func (s *S3) put(ctx context.Context, name string, content []byte, options minio.PutObjectOptions) error {
	if err := checkName(name); err != nil {
		return err
	}
	// One request, so that it is done whole or not at all; and the checksum that
	// every service knows.
	options.DisableMultipart, options.SendContentMd5 = true, true
	options.ContentType = "application/octet-stream"
	_, err := s.core.Client.PutObject(ctx, s.bucket, name, bytes.NewReader(content), int64(len(content)), options)
	return s.s3Error(ctx, err, "put", name)
}

// Get is Bucket's.
func (s *S3) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := checkLength(limit); err != nil {
		return nil, err
	}
	answer, err := s.get(ctx, name, "")
	if err != nil {
		return nil, s.s3Error(ctx, err, "get", name)
	}
	defer answer.Close()
	if answer.size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, more than %d", ErrTooLarge, name, answer.size, limit)
	}
	content, err := answer.read(0, answer.size)
	return content, s.s3Error(ctx, err, "get", name)
}

// GetRange is Bucket's.
func (s *S3) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, int64, error) {
	if err := checkLength(length); err != nil {
		return nil, 0, err
	}
	wanted := fmt.Sprintf("bytes=%d", offset)
	if offset >= 0 {
		wanted = fmt.Sprintf("bytes=%d-%d", offset, offset+min(length, 1<<62-offset)-1)
	}
	answer, err := s.get(ctx, name, wanted)
	if invalidRange(err) {
		// The object ends before the range, or is empty.
		found, err := s.head(ctx, name)
		return []byte{}, found.Size, err
	}
	if err != nil {
		return nil, 0, s.s3Error(ctx, err, "get range of", name)
	}
	defer answer.Close()
	content, err := answer.read(bounds(answer.size, offset, length))
	if err != nil {
		return nil, 0, s.s3Error(ctx, err, "get range of", name)
	}
	return content, answer.size, nil
}

// Attributes is Bucket's. It does not ask by HEAD, whose answers cannot tell
// an object that is missing from a bucket that is.
func (s *S3) Attributes(ctx context.Context, name string) (Attributes, error) {
	answer, err := s.get(ctx, name, "bytes=0-0")
	if invalidRange(err) {
		return s.head(ctx, name)
	}
	if err != nil {
		return Attributes{}, s.s3Error(ctx, err, "look at", name)
	}
	defer answer.Close()
	// What is not read to its end costs the connection.
	_, err = answer.read(0, min(1, answer.size))
	return Attributes{Size: answer.size, Modified: answer.modified}, s.s3Error(ctx, err, "look at", name)
}

// head asks for what is known to exist.
func (s *S3) head(ctx context.Context, name string) (Attributes, error) {
	found, err := s.core.StatObject(ctx, s.bucket, name, minio.StatObjectOptions{})
	return Attributes{Size: found.Size, Modified: found.LastModified}, s.s3Error(ctx, err, "look at", name)
}

// Delete is Bucket's. S3 does not tell whether there was an object.
func (s *S3) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.bucket, name, minio.RemoveObjectOptions{})
	return s.s3Error(ctx, err, "delete", name)
}

// answered is content on its way.
type answered struct {
	io.ReadCloser
	from     int64 // where in the object the content begins
	to       int64 // where it ends
	size     int64 // of the whole object
	modified time.Time
}

// errNoLength means that nobody could tell whether the content is whole.
var errNoLength = fmt.Errorf("%w: the answer does not say how long the object is: is there a proxy that passes it on in pieces?", ErrUnsupported)

// get asks for a range, or for all of an object if wanted is empty. Errors are
// not translated.
func (s *S3) get(ctx context.Context, name, wanted string) (answered, error) {
	if err := checkName(name); err != nil {
		return answered{}, err
	}
	var options minio.GetObjectOptions
	if wanted != "" {
		options.Set("Range", wanted)
	}
	body, found, header, err := s.core.GetObject(ctx, s.bucket, name, options)
	if err != nil {
		return answered{}, err
	}
	answer := answered{ReadCloser: body, to: found.Size, size: found.Size, modified: found.LastModified}
	if said := header.Get("Content-Range"); said != "" {
		if answer.from, answer.to, answer.size, err = contentRange(header); err != nil {
			return answered{}, errors.Join(err, body.Close())
		}
	}
	if answer.size < 0 {
		return answered{}, errors.Join(errNoLength, body.Close())
	}
	return answer, nil
}

// read returns the content from one place of the object to another.
func (a answered) read(from, to int64) ([]byte, error) {
	if from < a.from || to > a.to {
		return nil, errRangeAnswer
	}
	// Of services that answer with more than was asked for.
	if _, err := io.CopyN(io.Discard, a, from-a.from); err != nil {
		return nil, cutShort(err)
	}
	content := make([]byte, to-from)
	if _, err := io.ReadFull(a, content); err != nil {
		return nil, cutShort(err)
	}
	return content, nil
}

func cutShort(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("the content is cut short: %w", err)
}

// contentRange reads "bytes FROM-LAST/SIZE".
func contentRange(header http.Header) (from, to, size int64, err error) {
	said := header.Get("Content-Range")
	span, whole, _ := strings.Cut(strings.TrimPrefix(said, "bytes "), "/")
	first, last, _ := strings.Cut(span, "-")
	numbers := [3]int64{}
	for i, text := range []string{first, last, whole} {
		if numbers[i], err = strconv.ParseInt(text, 10, 63); err != nil || numbers[i] < 0 {
			return 0, 0, 0, fmt.Errorf("the answer is about a range %q", said)
		}
	}
	from, to, size = numbers[0], numbers[1]+1, numbers[2]
	if from > to || to > size {
		return 0, 0, 0, fmt.Errorf("the answer is about a range %q", said)
	}
	return from, to, size, nil
}
