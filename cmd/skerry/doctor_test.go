package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// examine returns what a doctor finds: severity, code and subject.
func examine(t *testing.T, prepare func(*fakeCluster)) ([]string, error) {
	t.Helper()
	r := newFakeRun(t)
	r.cluster.heal()
	prepare(r.cluster)
	c := &client{addr: r.addr, timeout: 5 * time.Second}
	conn, err := c.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	d := &doctor{asker: asker{t.Context(), c, conn}, again: time.Millisecond}
	err = d.examine()
	var found []string
	for _, f := range d.view().Findings {
		found = append(found, strings.ReplaceAll(f.Severity+" "+f.Code+" "+f.Subject, r.addr, "ADDR"))
	}
	return found, err
}

func TestDoctor(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*fakeCluster)
		want    []string
	}{
		"well": {func(*fakeCluster) {}, nil},
		"copies stay behind": {
			func(f *fakeCluster) { f.state.Nodes[2].Report.MapVersion, f.state.Map.Cluster.MapVersion = 6, 7 },
			[]string{"warning map-behind node " + nodeC},
		},
		"copies follow": {
			func(f *fakeCluster) {
				f.state.Nodes[2].Report.MapVersion = 6
				f.steps = []func(){func() { f.state.Nodes[2].Report.MapVersion = 7 }}
			}, nil,
		},
		"the dead have old copies": {
			func(f *fakeCluster) { f.state.Nodes[1].Alive, f.state.Nodes[1].Report.MapVersion = false, 1 }, nil,
		},
		"the router is of another release": {
			func(f *fakeCluster) {
				for _, node := range f.state.Map.Nodes {
					node.Version = "v2"
				}
			},
			[]string{"info mixed-versions router ADDR"},
		},
		"the directory says it first": {
			func(f *fakeCluster) {
				f.well = false
				f.state.Nodes[1].Alive = false
				f.state.Findings = []*nodev1.Finding{{Severity: nodev1.Finding_SEVERITY_CRITICAL, Code: "node-silent", Subject: "node " + nodeB}}
			},
			[]string{"critical node-silent node " + nodeB},
		},
		"alive, but not for the router": {
			func(f *fakeCluster) { f.well = false },
			[]string{"warning node-unreachable node " + nodeB},
		},
		"dead letters": {
			func(f *fakeCluster) { f.letters = true },
			[]string{"warning dead-letters-late group 3", "warning dead-letters-rejected objects", "warning dead-letters-unseen node " + nodeA},
		},
		"compaction is paused": {
			func(f *fakeCluster) { f.paused = true },
			[]string{"warning compaction-paused group 3"},
		},
		"transfers are late": {
			func(f *fakeCluster) { f.late = true },
			[]string{"warning transfers-late group 2"},
		},
		"no directory, no leaders": {
			func(f *fakeCluster) { f.fault = unavailable() },
			[]string{"critical directory-unavailable group 1", "critical no-leader group 2", "critical no-leader group 3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := examine(t, c.prepare)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("found %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

// Who may not look is told that, and learns nothing about the cluster's health.
func TestDoctorWithoutPermission(t *testing.T) {
	_, err := examine(t, func(f *fakeCluster) { f.fault = status.Error(codes.PermissionDenied, "no") })
	if err == nil || !strings.Contains(err.Error(), "PERMISSION_DENIED") {
		t.Errorf("got %v", err)
	}
}
