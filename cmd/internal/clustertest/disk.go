package clustertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"unsafe"
)

// Disk is a file system of its own, in a file, so that it can be full, stall,
// fail or lose its power without anybody else noticing. It takes root, loop
// devices and the usual commands; see NewDisk. Methods may be called
// concurrently.
type Disk struct {
	// Where it is mounted.
	Path  string
	image string

	mu      sync.Mutex
	mounted bool
	frozen  bool
}

// ErrNoDisk is wrapped by errors of NewDisk on machines that cannot do it.
var ErrNoDisk = errors.New("file systems cannot be made here")

// NewDisk makes an empty ext4 of some size below a folder, which may be in
// memory, and mounts it. Close must be called.
func NewDisk(dir string, bytes int64) (*Disk, error) {
	d := &Disk{Path: filepath.Join(dir, "mnt"), image: filepath.Join(dir, "image")}
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("%w: not root", ErrNoDisk)
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount", "fsfreeze"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoDisk, err)
		}
	}
	if err := os.MkdirAll(d.Path, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(d.image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	// Sparse: it takes what is written.
	if err := errors.Join(file.Truncate(bytes), file.Close()); err != nil {
		return nil, err
	}
	if err := run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1", d.image); err != nil {
		return nil, err
	}
	if err := d.Mount(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoDisk, err)
	}
	return d, nil
}

func run(name string, args ...string) error {
	if output, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}

// Mount mounts the disk, as it was left by Unmount or Fail.
func (d *Disk) Mount() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mounted {
		return nil
	}
	err := run("mount", "-o", "loop", d.image, d.Path)
	d.mounted = err == nil
	return err
}

// Unmount takes the disk away; nobody may use it. After Lose, what was not synced
// is lost.
func (d *Disk) Unmount() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.mounted {
		return nil
	}
	err := run("umount", d.Path)
	d.mounted = err != nil
	return err
}

// Fail makes the disk refuse all reads and writes from now on, those to open
// files, too. What was written before is written out first. Unmount and Mount
// repair it.
//
// It must not lie: a sync that ends well while a journal is aborted (by "mount -o
// remount,abort", or a shutdown that does not freeze) may have written nothing, one
// in ten does.
func (d *Disk) Fail() error {
	dir, err := os.Open(d.Path)
	if err != nil {
		return err
	}
	defer dir.Close()
	var flags uint32 // freeze, shut down, thaw
	if _, _, fault := syscall.Syscall(syscall.SYS_IOCTL, dir.Fd(), shutdownRequest, uintptr(unsafe.Pointer(&flags))); fault != 0 {
		return fmt.Errorf("shut down %s: %w", d.Path, fault)
	}
	return nil
}

// shutdownRequest is FS_IOC_SHUTDOWN of Linux' linux/fs.h.
const shutdownRequest = 0x8004587d

// Lose is a loss of power: what was not synced is never written. All who used the
// disk must be dead, since syncs lie from now on, see Fail. Unmount and Mount
// bring it back.
func (d *Disk) Lose() error { return run("mount", "-o", "remount,abort", d.Path) }

// Freeze makes all writes hang, until Thaw.
func (d *Disk) Freeze() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.frozen {
		return nil
	}
	err := run("fsfreeze", "--freeze", d.Path)
	d.frozen = err == nil
	return err
}

// Thaw lets writes go on. On a disk that is not frozen it does nothing.
func (d *Disk) Thaw() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.frozen {
		return nil
	}
	err := run("fsfreeze", "--unfreeze", d.Path)
	d.frozen = err != nil
	return err
}

// Free is the number of bytes that can be written.
func (d *Disk) Free() (int64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(d.Path, &stat); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", d.Path, err)
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}

func (d *Disk) ballast() string { return filepath.Join(d.Path, "ballast") }

// Fill leaves so many bytes free, about.
func (d *Disk) Fill(leave int64) error {
	free, err := d.Free()
	if err != nil || free <= leave {
		return err
	}
	file, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := syscall.Fallocate(int(file.Fd()), 0, info.Size(), free-leave); err != nil && !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("fill %s: %w", d.Path, err)
	}
	return nil
}

// Empty takes away what Fill put there.
func (d *Disk) Empty() error {
	if err := os.Remove(d.ballast()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Close takes the disk away for ever. Nobody may use it.
func (d *Disk) Close() error {
	return errors.Join(d.Thaw(), d.Unmount(), os.RemoveAll(d.image), os.RemoveAll(d.Path))
}
