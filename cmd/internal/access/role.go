package access

import (
	"fmt"
	"strings"
)

// Roles is a set of roles.
type Roles uint8

// The roles, each a set of one.
const (
	// Read: queries, tenants, the state of the cluster, metrics.
	Read Roles = 1 << iota
	// Write: adding blocks, compaction workers' polls.
	Write
	// Operate: whatever changes the cluster or deletes; profiles of the process.
	// Who may operate may read.
	Operate
	// Node: everything on the node API, and Raft between nodes. Of the other APIs
	// nothing.
	Node
)

var roleNames = []struct {
	role Roles
	name string
}{{Read, "read"}, {Write, "write"}, {Operate, "operate"}, {Node, "node"}}

// allow tells whether one role of the set is, or includes, a role.
func (r Roles) allow(role Roles) bool {
	if r&Operate != 0 {
		r |= Read
	}
	return r&role != 0
}

// String lists the roles: read,write.
func (r Roles) String() string {
	var names []string
	for _, known := range roleNames {
		if r&known.role != 0 {
			names = append(names, known.name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}

// parseRole returns the set of one role.
func parseRole(name string) (Roles, error) {
	for _, known := range roleNames {
		if name == known.name {
			return known.role, nil
		}
	}
	return 0, fmt.Errorf("role %.60q: want read, write, operate or node", name)
}
