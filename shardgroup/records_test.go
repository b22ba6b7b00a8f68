package shardgroup

import (
	"errors"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
)

func TestLogIsCompactedByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests, release := 0, make(chan error)
		c := &logCompactor{log: zap.NewNop(), request: func() error {
			requests++
			return <-release
		}}
		want := func(n int) {
			t.Helper()
			synctest.Wait()
			if requests != n {
				t.Errorf("%d requests, want %d", requests, n)
			}
		}
		c.applied(compactBytes - 1)
		want(0)
		c.applied(1)
		want(1)
		c.applied(2 * compactBytes) // one at a time
		want(1)
		release <- errors.New("failed")
		synctest.Wait()
		c.applied(1) // what was applied meanwhile counts
		want(2)
		release <- nil
		synctest.Wait()
		c.applied(compactBytes - 1)
		want(2)
	})
}
