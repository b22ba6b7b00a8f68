package objects

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// Options say where a process keeps objects: exactly one of Folder and S3.
type Options struct {
	// Folder is the path of a local folder.
	Folder string
	// Existing demands that the folder exists, and leaves it untried: for those who
	// only read.
	Existing bool
	S3       *S3Options
	// Prefix is put before all names; empty for none.
	Prefix string
	// Retry is for S3 only: a disk's faults do not pass.
	Retry RetryOptions
}

// Open returns the bucket that the options say, with its metrics. A folder is
// made and tried; of S3 nothing is asked yet.
func Open(options Options, metrics prometheus.Registerer) (Bucket, error) {
	bucket, err := options.backend(metrics)
	if err != nil {
		return nil, err
	}
	if bucket, err = WithPrefix(bucket, options.Prefix); err != nil {
		return nil, err
	}
	return Metered(bucket, metrics)
}

func (o Options) backend(metrics prometheus.Registerer) (Bucket, error) {
	switch {
	case (o.Folder == "") == (o.S3 == nil):
		return nil, errors.New("an object store is either a folder or in S3")
	case o.S3 == nil && o.Existing:
		return existingFolder(o.Folder)
	case o.S3 == nil:
		return OpenFolder(o.Folder)
	}
	bucket, err := OpenS3(*o.S3, metrics)
	if err != nil {
		return nil, err
	}
	return Retrying(bucket, o.Retry, metrics)
}
