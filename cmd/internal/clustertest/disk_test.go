package clustertest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func newDisk(t *testing.T) *Disk {
	t.Helper()
	d, err := NewDisk(t.TempDir(), 64<<20)
	if errors.Is(err, ErrNoDisk) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// must fails the test at once if there is an error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestDiskFull(t *testing.T) {
	d := newDisk(t)
	must(t, d.Fill(1<<20))
	if free, err := d.Free(); err != nil || free > 2<<20 {
		t.Errorf("%d bytes are free, %v", free, err)
	}
	must(t, d.Fill(0))
	if err := os.WriteFile(filepath.Join(d.Path, "file"), make([]byte, 4<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write to a full disk: %v", err)
	}
	must(t, d.Empty(), d.Empty())
	if free, err := d.Free(); err != nil || free < 32<<20 {
		t.Errorf("%d bytes are free again, %v", free, err)
	}
}

// Loss of power: what was synced is there, what was not is not.
func TestDiskLosesPower(t *testing.T) {
	d := newDisk(t)
	file, err := os.Create(filepath.Join(d.Path, "synced"))
	must(t, err)
	_, err = file.WriteString("kept")
	must(t, err, file.Sync(), file.Close())
	must(t, os.WriteFile(filepath.Join(d.Path, "unsynced"), []byte("lost"), 0o600))
	must(t, d.Lose(), d.Unmount(), d.Mount())
	if content, err := os.ReadFile(filepath.Join(d.Path, "synced")); err != nil || string(content) != "kept" {
		t.Errorf("synced is %q, %v", content, err)
	}
	if content, err := os.ReadFile(filepath.Join(d.Path, "unsynced")); err == nil && len(content) > 0 {
		t.Errorf("unsynced is %q", content)
	}
	must(t, os.WriteFile(filepath.Join(d.Path, "back"), []byte("x"), 0o600))
}

// A disk that fails refuses everything, and has what it said it had synced.
func TestDiskFails(t *testing.T) {
	d := newDisk(t)
	for round := range 20 {
		file, err := os.Create(filepath.Join(d.Path, "synced"))
		must(t, err)
		must(t, syscall.Fallocate(int(file.Fd()), fallocKeepSize, 0, 1<<20), file.Sync()) // as write-ahead logs do
		synced, enough := make(chan int64), make(chan struct{})
		go func() {
			var size int64
			for {
				n, err := file.WriteString("an entry")
				if err != nil || syscall.Fdatasync(int(file.Fd())) != nil {
					break
				}
				if size += int64(n); size == 80 {
					close(enough)
				}
			}
			synced <- size
		}()
		<-enough
		must(t, d.Fail())
		size := <-synced
		if err := os.WriteFile(filepath.Join(d.Path, "new"), nil, 0o600); !errors.Is(err, syscall.EIO) {
			t.Errorf("a new file: %v", err)
		}
		must(t, file.Close(), d.Unmount(), d.Mount())
		info, err := os.Stat(filepath.Join(d.Path, "synced"))
		must(t, err)
		if info.Size() < size {
			t.Errorf("round %d: %d bytes were synced, %d are there", round, size, info.Size())
		}
	}
	must(t, os.WriteFile(filepath.Join(d.Path, "repaired"), []byte("x"), 0o600))
}

const fallocKeepSize = 1 // FALLOC_FL_KEEP_SIZE

func TestDiskFreezes(t *testing.T) {
	d := newDisk(t)
	must(t, d.Freeze(), d.Freeze())
	written := make(chan error)
	go func() { written <- os.WriteFile(filepath.Join(d.Path, "file"), []byte("x"), 0o600) }()
	select {
	case err := <-written:
		t.Errorf("written to a frozen disk: %v", err)
	case <-time.After(50 * time.Millisecond):
		must(t, d.Thaw(), d.Thaw())
		must(t, <-written)
	}
}
