package disk

import (
	"os"
	"syscall"
)

// space counts what is kept for root as used.
func space(directory string) (free, total uint64, err error) {
	var stat syscall.Statfs_t
	for {
		switch err := syscall.Statfs(directory, &stat); err {
		case nil:
			block := uint64(stat.Frsize)
			if block == 0 {
				block = uint64(stat.Bsize)
			}
			return stat.Bavail * block, stat.Blocks * block, nil
		case syscall.EINTR:
		default:
			return 0, 0, &os.PathError{Op: "statfs", Path: directory, Err: err}
		}
	}
}
