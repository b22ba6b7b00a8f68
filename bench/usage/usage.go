// Package usage tells what a process and its folder take of a machine.
package usage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Usage is what a process and its folder take; zero where the system does not tell.
type Usage struct {
	// Bytes of memory that is resident, and how much that was at most; the part of it that is no file's.
	Memory, Peak, Anonymous float64
	// Seconds of processors since the process began.
	CPU float64
	// Bytes of all files.
	Disk float64
}

const ticksPerSecond = 100 // of times in /proc

// Measure looks at a process and a folder.
func Measure(pid int, dir string) (Usage, error) {
	u := Usage{
		Memory: statusBytes(pid, "VmRSS"), Peak: statusBytes(pid, "VmHWM"), Anonymous: statusBytes(pid, "RssAnon"), CPU: CPUSeconds(pid),
	}
	var err error
	u.Disk, err = Folder(dir)
	return u, err
}

// ResetPeak lets the most begin anew. Not all systems can: then the peak is since the start.
func ResetPeak(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

func statusBytes(pid int, key string) float64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		if fields := strings.Fields(value); name == key && len(fields) > 0 {
			kib, _ := strconv.ParseFloat(fields[0], 64)
			return kib * 1024
		}
	}
	return 0
}

// CPUSeconds is the time of processors that a process took.
func CPUSeconds(pid int) float64 {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in brackets, may hold anything; state and parent follow it.
	_, rest, _ := bytes.Cut(content, []byte(") "))
	fields := strings.Fields(string(rest))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond
}

// Folder adds up the bytes of files, some of which may go away meanwhile. A folder that is not there has none.
func Folder(dir string) (float64, error) {
	total := 0.0
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				total += float64(info.Size())
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return total, err
}
