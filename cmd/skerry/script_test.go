package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"skerry": main, "fleet-worker": fleetWorkerMain})
}

// TestScripts runs the real binary as a process of its own. $ADDR is a fake
// router, another one for each script; $LONE one whose directory does not answer,
// $OLD one that knows no commands about the cluster, $WELL one without findings.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "metastoredb": metastoredb},
		Setup: func(env *testscript.Env) error {
			lone, old, well := newFakeCluster(), newFakeCluster(), newFakeCluster()
			lone.fault = status.Error(codes.Unavailable, "group 1 has\nno leader")
			old.fault = status.Error(codes.Unimplemented, "unknown method ClusterState for service skerry.admin.v1.AdminService")
			well.heal()
			for name, cluster := range map[string]*fakeCluster{"ADDR": newFakeCluster(), "LONE": lone, "OLD": old, "WELL": well} {
				addr, stop, err := startFakeRouterOf(cluster)
				if err != nil {
					return err
				}
				env.Defer(stop)
				env.Setenv(name, addr)
			}
			// The race detector lingers for a second at each exit otherwise.
			env.Setenv("GORACE", "atexit_sleep_ms=10")
			return nil
		},
	})
}
