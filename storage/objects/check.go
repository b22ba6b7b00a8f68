package objects

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// How long the object of a check may take to be deleted.
const cleanUpTimeout = 10 * time.Second

var errOtherContent = errors.New("it does not hold what was written")

// check writes, reads and deletes a small object. Its name is a new one each
// time: it must not hit anybody's object, nor that of another process's check.
func check(ctx context.Context, bucket Bucket) (err error) {
	name := "skerry-check-" + rand.Text()
	defer func() {
		// A Put that failed may have left the object, and whoever asked may be
		// gone by now. The first fault says more than a second one here.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
		defer cancel()
		if removed := bucket.Delete(ctx, name); err == nil && removed != nil {
			err = fmt.Errorf("in the object store %s nothing can be deleted: %w", bucket, removed)
		}
	}()
	want := []byte("skerry")
	if err := bucket.Put(ctx, name, want); err != nil {
		return fmt.Errorf("the object store %s cannot be written: %w", bucket, err)
	}
	got, err := bucket.Get(ctx, name, 1<<10)
	if err == nil && !bytes.Equal(got, want) {
		err = errOtherContent
	}
	if err != nil {
		return fmt.Errorf("the object store %s cannot be read: %w", bucket, err)
	}
	return nil
}
