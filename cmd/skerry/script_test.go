package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"skerry": main, "fleet-worker": fleetWorkerMain})
}

// TestScripts runs the real binary as a process of its own. $ADDR is a fake
// router, another one for each script.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		Setup: func(env *testscript.Env) error {
			addr, stop, err := startFakeRouter()
			if err != nil {
				return err
			}
			env.Defer(stop)
			env.Setenv("ADDR", addr)
			// The race detector lingers for a second at each exit otherwise.
			env.Setenv("GORACE", "atexit_sleep_ms=10")
			return nil
		},
	})
}
