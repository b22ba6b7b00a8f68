package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ProbeFile is the name of the file that probes write into a watched directory.
// It is removed when the watchdog is closed, and may be left after a crash.
const ProbeFile = ".disk-probe"

// FS is what a watchdog asks of the file system. One Probe and one Space of a
// directory may run at the same time; both may hang for ever.
type FS interface {
	// Probe writes a little to the directory's disk and syncs it. An error that wraps
	// syscall.ENOSPC or EDQUOT means that there is no space, one of EMFILE, ENFILE,
	// ENOMEM, EINTR or EAGAIN that no probe could be made, any other that the disk failed.
	Probe(directory string) error
	// Space returns the bytes that may still be used, and the disk's size. An error
	// that wraps errors.ErrUnsupported means that the system cannot tell.
	Space(directory string) (free, total uint64, err error)
	// Clean removes what Probe left.
	Clean(directory string) error
}

// systemFS is the operating system's file system.
type systemFS struct{}

// Probe opens the file anew each time: one that is open outlives its directory,
// and could be on a disk that the directory is not on any more. It overwrites the
// same block, which needs no new space on most file systems; still sync has to
// reach the disk, for the content and for the time of change.
func (systemFS) Probe(directory string) error {
	file, err := os.OpenFile(filepath.Join(directory, ProbeFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z\n")), 0)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func (systemFS) Space(directory string) (free, total uint64, err error) { return space(directory) }

func (systemFS) Clean(directory string) error {
	err := os.Remove(filepath.Join(directory, ProbeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
