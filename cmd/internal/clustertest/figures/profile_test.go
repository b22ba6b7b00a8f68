package figures

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// profiles are what is asked of a process, and how it is shown.
var profiles = []struct {
	name, path string
	options    []string
}{
	{"cpu", "profile", nil},
	{"allocs", "allocs", []string{"-sample_index=alloc_space"}},
	{"goroutines", "goroutine", nil},
}

// profile saves what a process spends its time with, what it allocates and what
// its goroutines wait for, and prints the top of each. It takes twice the time.
func profile(t *testing.T, binary string, n *node, dir string, d time.Duration) {
	t.Helper()
	for _, p := range profiles {
		url := "http://" + n.http + "/debug/pprof/" + p.path
		if p.name != "goroutines" { // these are of a moment
			url += fmt.Sprintf("?seconds=%d", max(1, int(d.Seconds())))
		}
		content, err := fetch(t.Context(), url)
		must(t, err)
		path := filepath.Join(dir, n.Name+"."+p.name+".pprof")
		must(t, os.WriteFile(path, content, 0o644))
		for _, order := range []string{"-flat", "-cum"} {
			args := append([]string{"tool", "pprof", "-top", "-nodecount=25", order}, p.options...)
			said, err := exec.CommandContext(t.Context(), "go", append(args, binary, path)...).Output()
			if err != nil {
				t.Fatalf("go tool pprof: %v", err)
			}
			fmt.Printf("\n%s of %s, by %s (%s):\n\n%s", p.name, n.Name, order[1:], path, said)
		}
	}
}
