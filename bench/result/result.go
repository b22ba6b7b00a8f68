// Package result keeps what was measured in files, and compares files.
package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/pace"
)

// Format is the version of files. Fields are only added to it.
const Format = 1

// File is what one command measured.
type File struct {
	Format  int       `json:"format"`
	Command []string  `json:"command"`
	Began   time.Time `json:"began"`
	// Of the binary that measured.
	Version  string            `json:"version"`
	Machine  Machine           `json:"machine"`
	Workload generate.Settings `json:"workload"`
	Targets  []Target          `json:"targets"`
	Runs     []Run             `json:"runs"`
	Steps    []Step            `json:"steps,omitempty"`
}

// Target is a metastore that was measured.
type Target struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses,omitempty"`
	// How it was started, if the measurer did it.
	Command []string `json:"command,omitempty"`
	// Blocks of the workload that were added in the end: those with lower indexes.
	Added uint64 `json:"added"`
	// Whether blocks were replaced by compaction: answers about blocks cannot be checked then.
	Compacted bool `json:"compacted,omitempty"`
}

// Run is one measurement.
type Run struct {
	Scenario   string  `json:"scenario"`
	Target     string  `json:"target"`
	Repetition int     `json:"repetition"`
	Callers    int     `json:"callers"`
	Rate       float64 `json:"rate,omitempty"` // of an open loop
	// Blocks that were there when it began.
	Blocks uint64 `json:"blocks"`
	// Blocks or sets of labels of a mean answer.
	ItemsPerAnswer float64 `json:"items_per_answer,omitempty"`
	// Count and hash of what the answers had to be.
	Digest string `json:"digest,omitempty"`
	pace.Summary
}

// Step is what a target took at some moment.
type Step struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	Blocks uint64 `json:"blocks"`
	// How long the step took.
	Seconds float64 `json:"seconds"`
	// Resident, now and at most since the step began.
	MemoryBytes     float64 `json:"memory_bytes,omitempty"`
	PeakMemoryBytes float64 `json:"peak_memory_bytes,omitempty"`
	// Of the files of the data folder.
	DiskBytes float64 `json:"disk_bytes,omitempty"`
	// Of the processor, in the step.
	CPUSeconds float64           `json:"cpu_seconds,omitempty"`
	Details    map[string]uint64 `json:"details,omitempty"`
}

// NewRun is a run of a measurement.
func NewRun(r Run, m *pace.Measurement) (Run, error) {
	summary, err := m.Summary()
	r.Summary = summary
	return r, err
}

// Machine is where the measurer ran.
type Machine struct {
	Host        string `json:"host"`
	OS          string `json:"os"`
	Arch        string `json:"arch"`
	CPU         string `json:"cpu"`
	CPUs        int    `json:"cpus"`
	MemoryBytes uint64 `json:"memory_bytes"`
	// Processes that waited for a processor, over a minute, when it began: other work disturbs.
	Load float64 `json:"load"`
}

// ThisMachine describes it as far as the system tells.
func ThisMachine() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	m.Host, _ = os.Hostname()
	m.CPU = procField("/proc/cpuinfo", "model name")
	if kib, err := strconv.ParseUint(strings.TrimSuffix(procField("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		m.MemoryBytes = kib << 10
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		first, _, _ := strings.Cut(string(load), " ")
		m.Load, _ = strconv.ParseFloat(first, 64)
	}
	return m
}

func procField(path, name string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(content)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// ErrWrong is a run with answers that were not right.
var ErrWrong = errors.New("wrong answers")

// Err tells whether all answers were right, and that there were any in each run.
func (f *File) Err() error {
	var faults []error
	for _, r := range f.Runs {
		if r.Wrong > 0 {
			faults = append(faults, fmt.Errorf("%s of %s: %w: %d of %d, as: %s", r.Scenario, r.Target, ErrWrong, r.Wrong, r.Answered, strings.Join(r.WrongExamples[:min(1, len(r.WrongExamples))], "")))
		}
		if r.Answered == 0 && r.Failed > 0 {
			faults = append(faults, fmt.Errorf("%s of %s: all %d calls failed, as: %s", r.Scenario, r.Target, r.Failed, strings.Join(r.ErrorExamples[:min(1, len(r.ErrorExamples))], "")))
		}
	}
	return errors.Join(faults...)
}

// Write writes a file, whole or not at all.
func (f *File) Write(path string) error {
	content, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return err
	}
	made, err := os.CreateTemp(filepath.Dir(path), ".bench-*")
	if err != nil {
		return err
	}
	_, err = made.Write(append(content, '\n'))
	err = errors.Join(err, made.Chmod(0o644), made.Close())
	if err == nil {
		err = os.Rename(made.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(made.Name()))
	}
	return nil
}

const fileBytesMax = 1 << 30

// Read reads a file.
func Read(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	f := &File{}
	if err := json.NewDecoder(io.LimitReader(file, fileBytesMax)).Decode(f); err != nil {
		return nil, fmt.Errorf("%s: no result of skerry bench: %w", path, err)
	}
	if f.Format != Format {
		return nil, fmt.Errorf("%s: format %d, this binary reads %d", path, f.Format, Format)
	}
	return f, nil
}
