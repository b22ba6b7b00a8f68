// Package clustertest runs clusters of real processes on one machine, to be
// killed, stopped, cut off and starved of disk, and to be judged by what their
// clients see.
//
//	workload ──► history: what was promised, what was seen
//	   │
//	   ▼           nemesis: kill, stop, partition, fill, freeze …
//	routers           │            │            │
//	   │              ▼            ▼            ▼
//	   └─► faultproxy ─► node 127.x.y.11 ─► file system of its own
//	                  ─► node 127.x.y.12 ─► …
//
// Each process has an address of its own, which it also dials from, so that the
// proxy tells who calls whom. Used by tests, and by long runs by hand; it does
// not import testing and is no part of the command.
package clustertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// faultsTag makes the command read faults of its clock from a file; see
// ClockFileVariable.
const faultsTag = "skerry_faults"

// Build compiles the command, with hooks for faults and further build tags, into a
// folder and returns the binary's path. A test run should do it once.
func Build(ctx context.Context, dir string, tags ...string) (string, error) {
	binary := filepath.Join(dir, "skerry")
	command := exec.CommandContext(ctx, "go", "build", "-tags", strings.Join(append(tags, faultsTag), ","), "-o", binary, "github.com/skerrydb/skerry/cmd/skerry")
	command.Env = append(os.Environ(), "GOFLAGS=")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the command: %w: %s", err, output)
	}
	return binary, nil
}
