//go:build skerry_faults

package server

import (
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// clock is the system's, off by the duration that the file named by
// SKERRY_FAULT_CLOCK_FILE holds: tests let clocks jump with it. The file is read
// every 100 ms, for the life of the process; what is not in it, or no duration,
// is no change.
func clock() func() time.Time {
	path := os.Getenv("SKERRY_FAULT_CLOCK_FILE")
	if path == "" {
		return nil
	}
	var offset atomic.Int64
	read := func() {
		content, err := os.ReadFile(path)
		if err != nil {
			return
		}
		if d, err := time.ParseDuration(strings.TrimSpace(string(content))); err == nil {
			offset.Store(int64(d))
		}
	}
	read()
	go func() {
		for range time.Tick(100 * time.Millisecond) {
			read()
		}
	}()
	return func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
}
