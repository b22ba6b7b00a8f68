package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// doctor gathers findings.
type doctor struct {
	asker
	// Copies of the map that are behind are looked at again after this time: they
	// follow within moments.
	again time.Duration

	status   *adminv1.StatusResponse
	state    cluster // empty if it could not be asked for
	findings []*nodev1.Finding
}

// examine fails only if it is interrupted, or if who calls may not know.
func (d *doctor) examine() error {
	status, err := call(d.ctx, d.client, adminv1.NewAdminServiceClient(d.conn).Status, &adminv1.StatusRequest{})
	if err != nil {
		return d.routerFailed(err)
	}
	d.status = status
	d.state, err = askCluster(d.ctx, d.client, d.conn)
	if err != nil {
		d.state = cluster{}
		if err := d.directoryFailed(err); err != nil {
			return err
		}
	}
	d.findings = append(d.findings, d.state.GetFindings()...)
	d.examineNodes()
	d.examineVersions()
	if err := d.examineLetters(); err != nil {
		return err
	}
	if err := d.examineTransfers(); err != nil {
		return err
	}
	if err := d.examineCompaction(); err != nil {
		return err
	}
	return d.examineMaps()
}

// find adds a finding that can be seen from here, unless the directory told it.
func (d *doctor) find(f *nodev1.Finding) {
	for _, known := range d.findings {
		if known.GetCode() == f.GetCode() && known.GetSubject() == f.GetSubject() {
			return
		}
	}
	d.findings = append(d.findings, f)
}

// refused tells a failure that is about who asks, not about the cluster.
func refused(err error) bool {
	var failed *callError
	return !errors.As(err, &failed) || failed.status.Code() == codes.Unauthenticated || failed.status.Code() == codes.PermissionDenied
}

func (d *doctor) routerFailed(err error) error {
	if refused(err) {
		return err
	}
	var failed *callError
	errors.As(err, &failed)
	d.find(&nodev1.Finding{
		Severity: nodev1.Finding_SEVERITY_CRITICAL, Code: "router-unreachable", Subject: "router " + d.client.addr, Cause: failed.short(),
		Consequence: "who uses this router can neither write nor query; other routers may work",
		Command:     "see whether it runs and what it logs; ask another one with -addr, or a node",
	})
	return nil
}

func (d *doctor) directoryFailed(err error) error {
	if refused(err) {
		return err
	}
	var failed *callError
	errors.As(err, &failed)
	if failed.status.Code() == codes.Unimplemented {
		d.find(&nodev1.Finding{
			Severity: nodev1.Finding_SEVERITY_WARNING, Code: "router-old", Subject: "router " + d.client.addr, Cause: failed.short(),
			Consequence: "what the directory knows is not shown", Command: "upgrade the router, or ask another one with -addr",
		})
		return nil
	}
	d.find(&nodev1.Finding{
		Severity: nodev1.Finding_SEVERITY_CRITICAL, Code: "directory-unavailable", Subject: "group 1", Cause: failed.short(),
		Consequence: "reads and writes go on, but nothing is repaired, split or changed, and no node can join",
		Command:     "start the nodes that have replicas of group 1; see: skerry status",
	})
	d.examineLeaders()
	return nil
}

// examineLeaders looks for groups that nobody leads, as far as the router's own
// questions tell: the directory does it better.
func (d *doctor) examineLeaders() {
	leads := map[uint64]bool{}
	for _, node := range d.status.GetNodes() {
		for _, replica := range node.GetReplicas() {
			if replica.GetLeaderReplicaId() != 0 && replica.GetLeaderReplicaId() == replica.GetReplicaId() {
				leads[replica.GetGroupId()] = true
			}
		}
	}
	for _, group := range d.status.GetMap().GetGroups() {
		// The directory has a finding of its own.
		if id := group.GetGroupId(); id > 1 && !leads[id] {
			d.find(&nodev1.Finding{
				Severity: nodev1.Finding_SEVERITY_CRITICAL, Code: "no-leader", Subject: fmt.Sprintf("group %d", id),
				Cause: "no node that answers leads it", Consequence: "its part of the data can be neither written nor queried",
				Command: "start the nodes that have replicas of it; see: skerry status",
			})
		}
	}
}

func (d *doctor) examineNodes() {
	for _, node := range d.status.GetNodes() {
		if node.GetError() == "" {
			continue
		}
		known := slices.ContainsFunc(d.findings, func(f *nodev1.Finding) bool { return strings.Contains(f.GetSubject(), node.GetNodeId()) })
		if live := d.state.live(node.GetNodeId()); known && !live.GetAlive() {
			continue
		}
		finding := &nodev1.Finding{
			Severity: nodev1.Finding_SEVERITY_WARNING, Code: "node-unreachable", Subject: "node " + node.GetNodeId(), Cause: node.GetError(),
			Consequence: "groups have a replica less, or, if it is the last of a majority, do not work",
			Command:     "see whether it runs, and whether the router can reach its address; see: skerry nodes",
		}
		if d.state.live(node.GetNodeId()).GetAlive() {
			finding.Consequence = "it lives, but this router does not reach it: calls that need it fail here"
		}
		d.find(finding)
	}
}

// examineVersions compares the router with the nodes; these the directory
// compares with each other.
func (d *doctor) examineVersions() {
	router, versions := d.status.GetVersion(), map[string]bool{}
	for _, node := range present(cluster{&nodev1.ClusterStateResponse{Map: d.status.GetMap()}}) {
		if version := node.GetVersion(); version != "" {
			versions[version] = true
		}
	}
	if router == "" || len(versions) == 0 || versions[router] {
		return
	}
	d.find(&nodev1.Finding{
		Severity: nodev1.Finding_SEVERITY_INFO, Code: "mixed-versions", Subject: "router " + d.client.addr,
		Cause:       fmt.Sprintf("it runs %s, the nodes %s", router, strings.Join(slices.Sorted(maps.Keys(versions)), ", ")),
		Consequence: "what is new is not used until all run one release", Command: "finish the upgrade; see: skerry upgrade status",
	})
}

// examineMaps looks twice for copies of the map that are behind.
func (d *doctor) examineMaps() error {
	want := d.state.GetMap().GetCluster().GetMapVersion()
	if len(behind(d.status, d.state, want)) == 0 {
		return nil
	}
	select {
	case <-d.ctx.Done():
		return errInterrupted
	case <-time.After(d.again):
	}
	status, err := call(d.ctx, d.client, adminv1.NewAdminServiceClient(d.conn).Status, &adminv1.StatusRequest{})
	if err != nil {
		return nil // was well a moment ago
	}
	state, err := askCluster(d.ctx, d.client, d.conn)
	if err != nil {
		return nil
	}
	for _, who := range behind(status, state, want) {
		subject := who.subject
		if subject == "" {
			subject = "router " + d.client.addr
		}
		d.find(&nodev1.Finding{
			Severity: nodev1.Finding_SEVERITY_WARNING, Code: "map-behind", Subject: subject,
			Cause:       fmt.Sprintf("its copy of the map has version %d, %d was current %s ago", who.version, want, d.again),
			Consequence: "calls take longer: groups correct who comes with an old map",
			Command:     "see whether it reaches the nodes that hold the directory, and what it logs",
		})
	}
	return nil
}

type copyOfMap struct {
	subject string // empty: the router
	version uint64
}

func behind(status *adminv1.StatusResponse, state cluster, want uint64) []copyOfMap {
	var found []copyOfMap
	if version := status.GetMap().GetCluster().GetMapVersion(); version < want {
		found = append(found, copyOfMap{"", version})
	}
	for _, live := range state.GetNodes() {
		if version := live.GetReport().GetMapVersion(); live.GetAlive() && live.GetReport() != nil && version < want {
			found = append(found, copyOfMap{"node " + live.GetNodeId(), version})
		}
	}
	return found
}
