package objects_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/skerrydb/skerry/storage/objects"
)

// Proxies may pass answers on in pieces, without their length.
func TestAnswersWithoutLength(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.Header().Set("ETag", `"e"`)
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		_, _ = w.Write([]byte("content"))
	}))
	t.Cleanup(server.Close)
	bucket := openS3(t, objects.S3Options{
		Endpoint: strings.TrimPrefix(server.URL, "http://"), Bucket: "bucket", Region: "r", Insecure: true, AccessKeyID: "k", SecretAccessKey: "s",
	})
	ctx := t.Context()
	_, gotten := bucket.Get(ctx, "a", 100)
	_, _, ranged := bucket.GetRange(ctx, "a", -3, 3)
	_, looked := bucket.Attributes(ctx, "a")
	for operation, err := range map[string]error{"get": gotten, "range": ranged, "attributes": looked} {
		if !errors.Is(err, objects.ErrUnsupported) || !strings.Contains(err.Error(), "how long") {
			t.Errorf("%s: %v", operation, err)
		}
	}
}

// A service that lists in another order than that of names would have entries left
// out by whoever goes on behind one.
func TestListsInAnotherOrder(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, more, token := "b", true, "<NextContinuationToken>2</NextContinuationToken>"
		if r.URL.Query().Get("continuation-token") != "" {
			name, more, token = "a", false, ""
		}
		fmt.Fprintf(w, `<ListBucketResult><Name>bucket</Name><IsTruncated>%v</IsTruncated>%s<Contents><Key>%s</Key>
<LastModified>2026-11-22T01:35:00.000Z</LastModified><Size>1</Size></Contents></ListBucketResult>`, more, token, name)
	}))
	t.Cleanup(server.Close)
	bucket := openS3(t, objects.S3Options{
		Endpoint: strings.TrimPrefix(server.URL, "http://"), Bucket: "bucket", Region: "r", Insecure: true, AccessKeyID: "k", SecretAccessKey: "s",
	})
	var names []string
	var fault error
	for entry, err := range bucket.List(t.Context(), objects.ListOptions{}) {
		if err != nil {
			fault = err
			break
		}
		names = append(names, entry.Name)
	}
	if len(names) != 1 || names[0] != "b" || !errors.Is(fault, objects.ErrUnsupported) {
		t.Errorf("%q, %v", names, fault)
	}
}
