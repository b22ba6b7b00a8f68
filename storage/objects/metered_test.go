package objects_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/skerrydb/skerry/storage/objects"
)

func TestOperationsAreCounted(t *testing.T) {
	metrics, ctx := prometheus.NewRegistry(), t.Context()
	bucket, err := objects.Open(objects.Options{Folder: t.TempDir(), Prefix: "p"}, metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := bucket.Put(ctx, name, []byte("four")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bucket.Get(ctx, "missing", 1); !errors.Is(err, objects.ErrNotFound) {
		t.Error(err)
	}
	if err := bucket.PutIfAbsent(ctx, "a", nil); !errors.Is(err, objects.ErrExists) {
		t.Error(err)
	}
	if _, err := bucket.Get(ctx, "a", 3); !errors.Is(err, objects.ErrTooLarge) {
		t.Error(err)
	}
	if _, _, err := bucket.GetRange(ctx, "a", -3, 3); err != nil {
		t.Error(err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := bucket.Delete(cancelled, "a"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, err := range bucket.List(ctx, objects.ListOptions{}) {
		if err != nil {
			t.Error(err)
		}
	}
	const want = `
# HELP skerry_objects_operations_total Operations on the object store, by operation.
# TYPE skerry_objects_operations_total counter
skerry_objects_operations_total{operation="attributes"} 0
skerry_objects_operations_total{operation="check"} 0
skerry_objects_operations_total{operation="delete"} 1
skerry_objects_operations_total{operation="get"} 2
skerry_objects_operations_total{operation="get_range"} 1
skerry_objects_operations_total{operation="list"} 1
skerry_objects_operations_total{operation="put"} 2
skerry_objects_operations_total{operation="put_if_absent"} 1
# HELP skerry_objects_operation_failures_total Operations on the object store that failed; objects that exist or do not are no failure.
# TYPE skerry_objects_operation_failures_total counter
skerry_objects_operation_failures_total{operation="attributes"} 0
skerry_objects_operation_failures_total{operation="check"} 0
skerry_objects_operation_failures_total{operation="delete"} 0
skerry_objects_operation_failures_total{operation="get"} 1
skerry_objects_operation_failures_total{operation="get_range"} 0
skerry_objects_operation_failures_total{operation="list"} 0
skerry_objects_operation_failures_total{operation="put"} 0
skerry_objects_operation_failures_total{operation="put_if_absent"} 0
# HELP skerry_objects_read_bytes_total Bytes of objects read from the object store.
# TYPE skerry_objects_read_bytes_total counter
skerry_objects_read_bytes_total 3
# HELP skerry_objects_written_bytes_total Bytes of objects written to the object store.
# TYPE skerry_objects_written_bytes_total counter
skerry_objects_written_bytes_total 8
# HELP skerry_objects_listed_entries_total Entries that lists of the object store yielded.
# TYPE skerry_objects_listed_entries_total counter
skerry_objects_listed_entries_total 2
`
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "skerry_objects_operations_total", "skerry_objects_operation_failures_total",
		"skerry_objects_read_bytes_total", "skerry_objects_written_bytes_total", "skerry_objects_listed_entries_total"); err != nil {
		t.Error(err)
	}
}

func TestOpenWantsOneBackend(t *testing.T) {
	for _, options := range []objects.Options{{}, {Folder: t.TempDir(), S3: &objects.S3Options{}}, {Folder: t.TempDir(), Prefix: "a/../b"}} {
		if _, err := objects.Open(options, prometheus.NewRegistry()); err == nil {
			t.Errorf("%+v", options)
		}
	}
	// Who only looks makes nothing.
	if _, err := objects.Open(objects.Options{Folder: t.TempDir() + "/none", Existing: true}, prometheus.NewRegistry()); err == nil {
		t.Error("a folder that does not exist was opened")
	}
}
