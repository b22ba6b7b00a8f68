package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/skerrydb/skerry/storage/objects"
	"github.com/skerrydb/skerry/storage/objects/objectstest"
)

// The client library waits after a failure, also if it does not try again.
func TestMain(m *testing.M) {
	minio.DefaultRetryUnit = time.Millisecond
	os.Exit(m.Run())
}

// faulty is a bucket of S3 behind faults, with attempts at hand.
type faulty struct {
	objects.Bucket
	raw     *objects.S3
	direct  *objects.S3
	faults  *objectstest.Faults
	metrics *prometheus.Registry
}

const attempts = 4

func openFaulty(t *testing.T, server *objectstest.Server) *faulty {
	t.Helper()
	options := server.Bucket(t)
	options.PageEntries = 3
	f := &faulty{direct: openS3(t, options), faults: objectstest.Between(t, server), metrics: prometheus.NewRegistry()}
	options.Endpoint = f.faults.Endpoint
	f.raw = openS3(t, options)
	bucket, err := objects.Retrying(f.raw, objects.RetryOptions{Timeout: 5 * time.Second, Attempts: attempts, FirstWait: time.Millisecond}, f.metrics)
	if err != nil {
		t.Fatal(err)
	}
	if f.Bucket, err = objects.Metered(bucket, f.metrics); err != nil {
		t.Fatal(err)
	}
	return f
}

// first lets the first n requests meet a fault.
func first(n int32, fault objectstest.Fault) func(*http.Request) objectstest.Fault {
	var seen atomic.Int32
	return func(*http.Request) objectstest.Fault {
		if seen.Add(1) > n {
			return objectstest.Fault{}
		}
		return fault
	}
}

func always(fault objectstest.Fault) func(*http.Request) objectstest.Fault {
	return first(1<<30, fault)
}

// Every third request fails, in turns of all kinds; nobody notices. Conditional
// puts are let through: they are not tried again.
func TestFaultyS3IsABucket(t *testing.T) {
	server := objectstest.StartS3(t)
	objectstest.Run(t, func(t *testing.T) objects.Bucket {
		f := openFaulty(t, server)
		kinds := []objectstest.Fault{{Status: 503}, {Cut: true}, {Status: 500}, {Lost: true}, {Status: 429}, {Status: 408}}
		seen := 0
		f.faults.Inject(func(r *http.Request) objectstest.Fault {
			if seen++; seen%3 != 0 || r.Header.Get("If-None-Match") != "" {
				return objectstest.Fault{}
			}
			return kinds[seen/3%len(kinds)]
		})
		return f
	})
}

func TestWhatPassesIsTriedAgain(t *testing.T) {
	f := openFaulty(t, objectstest.StartS3(t))
	ctx := t.Context()
	content := bytes.Repeat([]byte("x"), 1000)
	if err := f.direct.Put(ctx, "x", content); err != nil {
		t.Fatal(err)
	}
	does := map[string]func() error{
		"get": func() error {
			got, err := f.Get(ctx, "x", 1<<20)
			if err == nil && !bytes.Equal(got, content) {
				err = fmt.Errorf("%d bytes", len(got))
			}
			return err
		},
		"get range": func() error {
			got, size, err := f.GetRange(ctx, "x", -256, 256)
			if err == nil && (len(got) != 256 || size != 1000) {
				err = fmt.Errorf("%d bytes of %d", len(got), size)
			}
			return err
		},
		"put": func() error { return f.Put(ctx, "y", content) },
		"attributes": func() error {
			_, err := f.Attributes(ctx, "x")
			return err
		},
		"delete": func() error { return f.Delete(ctx, "z") },
		"list": func() error {
			for _, err := range f.List(ctx, objects.ListOptions{}) {
				return err
			}
			return errors.New("nothing is there")
		},
	}
	faults := map[string]objectstest.Fault{
		"500": {Status: 500}, "503": {Status: 503}, "429": {Status: 429}, "408": {Status: 408}, "409": {Status: 409}, "lost": {Lost: true},
	}
	for name, do := range does {
		for kind, fault := range faults {
			f.faults.Inject(first(attempts-1, fault))
			if err := do(); err != nil {
				t.Errorf("%s, %s at first: %v", name, kind, err)
			}
			f.faults.Inject(always(fault))
			if err := do(); err == nil || errors.Is(err, objects.ErrNotFound) {
				t.Errorf("%s, %s always: %v", name, kind, err)
			} else if made := len(f.faults.Requests()); made != attempts && !(fault.Lost && made == attempts+1) {
				// Go repeats what it sent over an old connection that was closed.
				t.Errorf("%s, %s always: %d requests, want %d", name, kind, made, attempts)
			}
		}
		// Refusals last.
		for _, status := range []int{400, 401, 403} {
			f.faults.Inject(always(objectstest.Fault{Status: status}))
			if err := do(); !errors.Is(err, objects.ErrRefused) {
				t.Errorf("%s, status %d: %v", name, status, err)
			} else if made := len(f.faults.Requests()); made != 1 {
				t.Errorf("%s, status %d: %d requests, want 1", name, status, made)
			}
		}
	}
	if got := testutil.CollectAndCount(f.metrics, "skerry_objects_retries_total"); got != len(does) {
		t.Errorf("retries are counted for %d operations, want %d", got, len(does))
	}
}

// A conditional put may have been done: it is not tried again.
func TestPutIfAbsentIsTriedOnce(t *testing.T) {
	f := openFaulty(t, objectstest.StartS3(t))
	for i, fault := range []objectstest.Fault{{Status: 503}, {Lost: true}, {Status: 409}} {
		f.faults.Inject(always(fault))
		err := f.PutIfAbsent(t.Context(), fmt.Sprint("x", i), []byte("mine"))
		if err == nil || errors.Is(err, objects.ErrExists) {
			t.Errorf("%+v: %v", fault, err)
		}
		if made := len(f.faults.Requests()); made != 1 {
			t.Errorf("%+v: %d requests", fault, made)
		}
	}
	if got, err := f.direct.Get(t.Context(), "x1", 100); err != nil || string(got) != "mine" {
		t.Errorf("whose answer was lost: %q, %v", got, err)
	}
}

func TestContentCutShortIsNoContent(t *testing.T) {
	f := openFaulty(t, objectstest.StartS3(t))
	if err := f.direct.Put(t.Context(), "x", bytes.Repeat([]byte("x"), 100_000)); err != nil {
		t.Fatal(err)
	}
	f.faults.Inject(always(objectstest.Fault{Cut: true}))
	if got, err := f.raw.Get(t.Context(), "x", 1<<20); err == nil {
		t.Errorf("got %d bytes", len(got))
	}
	if got, _, err := f.raw.GetRange(t.Context(), "x", -2000, 2000); err == nil {
		t.Errorf("got %d bytes", len(got))
	}
	for entry, err := range f.raw.List(t.Context(), objects.ListOptions{}) {
		if err == nil {
			t.Errorf("got %+v", entry)
		}
	}
}

// A missing bucket, and a service that is none, must not look as if objects were
// missing: callers would take them for deleted.
func TestMissingBucketIsNoMissingObject(t *testing.T) {
	server := objectstest.StartS3(t)
	options := server.Bucket(t)
	options.Bucket = "no-such-bucket"
	wrong := openS3(t, options)
	_, gotten := wrong.Get(t.Context(), "x", 1)
	_, looked := wrong.Attributes(t.Context(), "x")
	_, _, ranged := wrong.GetRange(t.Context(), "x", -8, 8)
	for name, err := range map[string]error{"get": gotten, "attributes": looked, "get range": ranged, "check": wrong.Check(t.Context())} {
		if !errors.Is(err, objects.ErrRefused) || errors.Is(err, objects.ErrNotFound) || !strings.Contains(err.Error(), "no-such-bucket") {
			t.Errorf("%s: %v", name, err)
		}
	}
	options = server.Bucket(t)
	options.SecretAccessKey = "guessed"
	refused := openS3(t, options)
	if _, err := refused.Attributes(t.Context(), "x"); !errors.Is(err, objects.ErrRefused) || strings.Contains(err.Error(), "guessed") {
		t.Error(err)
	}
}

// An attempt that hangs ends in time; the caller's own end is not a fault of the
// store, and is not tried again.
func TestHangingS3(t *testing.T) {
	f := openFaulty(t, objectstest.StartS3(t))
	bucket, err := objects.Retrying(f.raw, objects.RetryOptions{Timeout: 200 * time.Millisecond, Attempts: 2, FirstWait: time.Millisecond}, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := f.direct.Put(t.Context(), fmt.Sprint("x", i), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	f.faults.Inject(always(objectstest.Fault{Hang: true}))
	if _, err := bucket.Get(t.Context(), "x0", 10); err == nil || !strings.Contains(err.Error(), "200ms") {
		t.Errorf("got %v, want what took too long", err)
	}
	if made := len(f.faults.Requests()); made != 2 {
		t.Errorf("%d requests", made)
	}
	// The second page hangs once; the list goes on.
	seen := atomic.Int32{}
	f.faults.Inject(func(*http.Request) objectstest.Fault { return objectstest.Fault{Hang: seen.Add(1) == 2} })
	names := 0
	for entry, err := range bucket.List(t.Context(), objects.ListOptions{}) {
		if err != nil || entry.Name != fmt.Sprint("x", names) {
			t.Fatalf("%+v, %v", entry, err)
		}
		names++
	}
	if names != 5 {
		t.Errorf("%d names, want 5", names)
	}
	f.faults.Inject(always(objectstest.Fault{Hang: true}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := bucket.Get(ctx, "x0", 10); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if made := len(f.faults.Requests()); made > 1 {
		t.Errorf("%d requests after the caller's end", made)
	}
}

// Pages come from a server where things change between them.
func TestPagesThatChange(t *testing.T) {
	f := openFaulty(t, objectstest.StartS3(t))
	for i := range 10 {
		if err := f.direct.Put(t.Context(), fmt.Sprintf("d/%d/x", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, delimited := range []bool{false, true} {
		page := 0
		f.faults.Inject(func(*http.Request) objectstest.Fault {
			return objectstest.Fault{Status: map[bool]int{true: 503}[page%2 == 1], Meanwhile: func() {
				page++
				if page == 3 { // the last one yielded, and the next
					for _, name := range []string{"d/2/x", "d/3/x"} {
						if err := f.direct.Delete(t.Context(), name); err != nil {
							t.Error(err)
						}
					}
				}
				if err := f.direct.Put(t.Context(), fmt.Sprintf("d/0/before-%d", page), nil); err != nil {
					t.Error(err)
				}
			}}
		})
		seen := map[string]int{}
		for entry, err := range f.List(t.Context(), objects.ListOptions{Prefix: "d/", Delimited: delimited}) {
			if err != nil {
				t.Fatal(err)
			}
			seen[strings.TrimSuffix(entry.Name, "x")]++
		}
		for _, i := range []int{0, 1, 4, 5, 6, 7, 8, 9} {
			if name := fmt.Sprintf("d/%d/", i); seen[name] != 1 {
				t.Errorf("delimited %v: %s was listed %d times", delimited, name, seen[name])
			}
		}
	}
}

// Directories as the consoles of S3 make them are empty objects.
func TestPlaceholdersAreNotListed(t *testing.T) {
	server := objectstest.StartS3(t)
	options := server.Bucket(t)
	bucket := openS3(t, options)
	server.MakeDirectory(t, options.Bucket, "dlq/9/")
	if err := bucket.Put(t.Context(), "dlq/10/x", nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		options objects.ListOptions
		want    []string
	}{
		{objects.ListOptions{}, []string{"dlq/10/x"}},
		{objects.ListOptions{Prefix: "dlq/9/"}, nil},
		{objects.ListOptions{Prefix: "dlq/9/", Delimited: true}, nil},
		{objects.ListOptions{Prefix: "dlq/", Delimited: true}, []string{"dlq/10/", "dlq/9/"}},
	} {
		var got []string
		for entry, err := range bucket.List(t.Context(), c.options) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, entry.Name)
		}
		if strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("%+v: %q, want %q", c.options, got, c.want)
		}
	}
}
