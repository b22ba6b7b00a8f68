package suite

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

// usage is what a process and its folder take; zero where the system does not tell.
type usage struct{ memory, peak, cpu, disk float64 }

const ticksPerSecond = 100 // of times in /proc

func measure(pid int, dir string) (usage, error) {
	var u usage
	u.memory = statusBytes(pid, "VmRSS")
	u.peak = statusBytes(pid, "VmHWM")
	u.cpu = cpuSeconds(pid)
	var err error
	u.disk, err = folderBytes(dir)
	return u, err
}

// resetPeak lets the most begin anew. Not all systems can: then the peak is since the start.
func resetPeak(pid int) {
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

func cpuSeconds(pid int) float64 {
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

// folderBytes adds up files, some of which may go away meanwhile.
func folderBytes(dir string) (float64, error) {
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
