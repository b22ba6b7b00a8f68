package objects

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

var errOtherContent = errors.New("it does not hold what was written")

// check writes, reads and deletes a small object. Its name is a new one each
// time: it must not hit anybody's object, nor that of another process's check.
// Errors read as the end of a sentence about the bucket.
func check(ctx context.Context, bucket Bucket) (err error) {
	name := "skerry-check-" + rand.Text()
	defer func() {
		// A Put that failed may have left the object, and whoever asked may be
		// gone by now. The first fault says more than a second one here.
		if removed := bucket.Delete(context.WithoutCancel(ctx), name); err == nil && removed != nil {
			err = fmt.Errorf("cannot be deleted from: %w", removed)
		}
	}()
	want := []byte("skerry")
	if err := bucket.Put(ctx, name, want); err != nil {
		return fmt.Errorf("cannot be written: %w", err)
	}
	got, err := bucket.Get(ctx, name, 1<<10)
	if err == nil && !bytes.Equal(got, want) {
		err = errOtherContent
	}
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	return nil
}
