package figures

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	benchusage "github.com/skerrydb/skerry/bench/usage"
)

// tick is the unit of times in /proc.
const tick = time.Second / 100

// childWith returns the process of ours that has an argument.
func childWith(argument string) (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err != nil || !slices.Contains(strings.Split(string(line), "\x00"), argument) {
			continue
		}
		fields, err := statFields(pid)
		if err == nil && fields[1] == strconv.Itoa(os.Getpid()) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process has the argument %q", argument)
}

// statFields are those of /proc/PID/stat from the third on: state, parent, …
func statFields(pid int) ([]string, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	_, rest, found := bytes.Cut(content, []byte(") "))
	fields := strings.Fields(string(rest))
	if !found || len(fields) < 20 {
		return nil, fmt.Errorf("process %d: strange stat %q", pid, content)
	}
	return fields, nil
}

// cpuTime is what a process has used, in steps of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	fields, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	var ticks time.Duration
	for _, field := range fields[11:13] { // of user and system
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += time.Duration(n)
	}
	return ticks * tick, nil
}

// statusNumber reads a number of a file like /proc/PID/status.
func statusNumber(path, key string) (float64, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(line, ":")
		if fields := strings.Fields(value); name == key && len(fields) > 0 {
			return strconv.ParseFloat(fields[0], 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s", path, key)
}

// memory returns the bytes that a process has in memory, and the most since its
// start or the last resetPeak.
func memory(pid int) (now, peak float64, err error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	now, err = statusNumber(path, "VmRSS")
	if err != nil {
		return 0, 0, err
	}
	peak, err = statusNumber(path, "VmHWM")
	return now * 1024, peak * 1024, err
}

func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// switches counts how often the threads of a process fell asleep.
func switches(pid int) (float64, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return 0, err
	}
	total := 0.0
	for _, path := range paths {
		n, err := statusNumber(path, "voluntary_ctxt_switches")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// ownCPU is what this process has used.
func ownCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // only for wrong arguments
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// machineCPU is what all processes have used, and what a hypervisor has kept.
func machineCPU() (time.Duration, error) {
	content, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(content), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var ticks time.Duration
	for i, field := range fields[1:9] { // user, nice, system, idle, iowait, irq, softirq, steal
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		if i != 3 && i != 4 {
			ticks += time.Duration(n)
		}
	}
	return ticks * tick, nil
}

func TestProcessFigures(t *testing.T) {
	pid := os.Getpid()
	before, err := cpuTime(pid)
	must(t, err)
	all, err := machineCPU()
	must(t, err)
	for end := ownCPU() + 50*time.Millisecond; ownCPU() < end; {
	}
	after, err := cpuTime(pid)
	must(t, err)
	if used := after - before; used < 2*tick || used > 10*time.Second {
		t.Errorf("50 ms of work took %v", used)
	}
	if later, err := machineCPU(); err != nil || later-all < 2*tick {
		t.Errorf("the machine worked for %v meanwhile, %v", later-all, err)
	}
	now, peak, err := memory(pid)
	must(t, err)
	if now < 1<<20 || peak < now {
		t.Errorf("%.0f bytes in memory, %.0f at most", now, peak)
	}
	if slept, err := switches(pid); err != nil || slept < 1 {
		t.Errorf("%.0f switches, %v", slept, err)
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a"), make([]byte, 1000), 0o644))
	if size, err := benchusage.Folder(dir); err != nil || size != 1000 {
		t.Errorf("%.0f bytes, %v", size, err)
	}
}
