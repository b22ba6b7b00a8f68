package dlq_test

import (
	"context"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/shardgroup/dlq"
)

// An entry that is moved back may be rejected again before the move is over. Whoever
// deletes last must not delete the only one.
func TestRetryBesideASweep(t *testing.T) {
	bad := segment(1, 1, 0)
	queued := letterName(bad)
	rejected := aside(queued)
	for name, waits := range map[string]func(b *bench, retried chan struct{}) func(operation, name string){
		"rejected before the move ends": func(b *bench, _ chan struct{}) func(operation, name string) {
			first := true
			return func(operation, name string) {
				if operation == "delete" && name == rejected && first {
					first = false
					b.await("the rejection", func() bool { return !b.exists(queued) })
				}
			}
		},
		"rejected after the move": func(b *bench, retried chan struct{}) func(operation, name string) {
			deleting := make(chan struct{})
			first := true
			return func(operation, name string) {
				switch {
				case operation == "delete" && name == rejected:
					<-deleting
				case operation == "delete" && name == queued && first:
					first = false
					close(deleting)
					<-retried
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.put(rejected, []byte("bad"))
			retried := make(chan struct{})
			wait := waits(b, retried)
			b.bucket.set(func(_ context.Context, operation, name string) error {
				wait(operation, name)
				return nil
			})
			b.start(2)
			done, err := dlq.Folders{Bucket: b.bucket}.Retry(t.Context(), []string{rejected}, "", false)
			close(retried)
			if err != nil || done.Entries != 1 || len(done.Faults) > 0 {
				t.Errorf("%+v, %v", done, err)
			}
			b.await("the entry to come to rest", func() bool { return !b.exists(queued) && b.exists(rejected) })
			b.stop()
			if all := append(b.names("dlq/"), b.names("dlq-rejected/")...); strings.Join(all, " ") != rejected {
				t.Errorf("left are %q", all)
			}
		})
	}
}
