package dlq_test

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/objects"
	"github.com/skerrydb/skerry/storage/objects/objectstest"
)

// A real object store, with pages, and with placeholders where folders are: a single
// one must not stop recovery.
func TestRecoveryFromS3(t *testing.T) {
	server := objectstest.StartS3(t)
	b := newBench(t)
	options := server.Bucket(t)
	options.PageEntries = 7
	bucket, err := objects.Open(objects.Options{S3: &options}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	b.bucket.Bucket, b.options.Interval = bucket, 50*time.Millisecond
	for _, name := range []string{"dlq/", "dlq/1/", "dlq/9/anonymous/"} {
		server.MakeDirectory(t, options.Bucket, name)
	}
	var left []*metastorev1.BlockMeta
	for i := range 60 {
		left = append(left, segment(i, uint32(1+i%3), time.Minute))
	}
	old := segment(100, 1, time.Hour)
	left = append(left, old, tenantBlock(101, "acme", 1, time.Minute))
	put := func(name string, content []byte) {
		if err := bucket.Put(t.Context(), name, content); err != nil {
			t.Fatal(err)
		}
	}
	for _, block := range left {
		put(letterName(block), encode(t, block))
	}
	put(objectName(old), []byte("data"))
	phantom, bad := segment(102, 1, time.Hour), segment(103, 1, time.Minute)
	put(letterName(phantom), encode(t, phantom))
	put(letterName(bad), []byte("bad"))
	b.start(2, 3, 4)
	b.await("all", func() bool { return b.attempts("success") == len(left) && len(b.names("dlq-rejected/")) == 2 })
	b.await("the queue to be empty", func() bool { return len(b.names("dlq/")) == 0 })
	for _, block := range left {
		if !b.cluster.has(block) {
			t.Errorf("%s is lost", block.GetId())
		}
	}
	if !b.exists(aside(letterName(phantom))) || !b.exists(aside(letterName(bad))) {
		t.Error("what was moved aside is not there")
	}
}
