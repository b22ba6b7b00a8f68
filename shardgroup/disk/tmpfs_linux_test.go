package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/skerrydb/skerry/shardgroup/disk"
)

// TestRealFullDisk fills a disk of 8 MiB and empties it again.
func TestRealFullDisk(t *testing.T) {
	directory := t.TempDir()
	if err := syscall.Mount("tmpfs", directory, "tmpfs", 0, "size=8m"); errors.Is(err, os.ErrPermission) {
		t.Skip("mounting is not permitted here: a full disk is tested with a fake one only")
	} else if err != nil {
		t.Skipf("no tmpfs can be mounted here (%v): a full disk is tested with a fake one only", err)
	}
	defer func() {
		if err := syscall.Unmount(directory, 0); err != nil {
			t.Error(err)
		}
	}()
	options := disk.Options{Interval: 5 * time.Millisecond, SlowAfter: time.Minute, StallAfter: time.Hour, SoftBytes: 4 << 20, HardBytes: 1 << 20}
	w, err := disk.Watch([]string{directory}, options, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	level := func(want disk.Level) {
		t.Helper()
		until(t, w, directory, func(s disk.Status) bool {
			return s.Level == want && s.State == disk.Healthy && s.TotalBytes == 8<<20
		})
	}
	level(disk.Normal)
	file := filepath.Join(directory, "content")
	if err := os.WriteFile(file, make([]byte, 6<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	level(disk.Low)
	if err := os.WriteFile(file, make([]byte, 9<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	level(disk.Full)
	if err := os.Truncate(file, 1<<20); err != nil {
		t.Fatal(err)
	}
	level(disk.Normal)
}
