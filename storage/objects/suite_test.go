package objects_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skerrydb/skerry/storage/objects"
	"github.com/skerrydb/skerry/storage/objects/objectstest"
)

func TestFolderIsABucket(t *testing.T) {
	objectstest.Run(t, func(t *testing.T) objects.Bucket {
		folder, err := objects.OpenFolder(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return folder
	})
}

func openS3(t *testing.T, options objects.S3Options) *objects.S3 {
	t.Helper()
	bucket, err := objects.OpenS3(options, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

// Pages are short, so that lists have many.
func TestS3IsABucket(t *testing.T) {
	server := objectstest.StartS3(t)
	objectstest.Run(t, func(t *testing.T) objects.Bucket {
		options := server.Bucket(t)
		options.PageEntries = 3
		return openS3(t, options)
	})
}
