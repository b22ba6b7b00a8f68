package config

import "time"

// Router holds the settings of a router.
type Router struct {
	// Public API. Port 0 picks a free one; empty for no router, in a node.
	GRPCAddress string
	// Node APIs of the cluster, to begin with.
	Join []string
	// Public calls served at a time; more are refused.
	InflightRequestsMax int
	// Whether DeleteTenant deletes.
	AllowTenantDeletion bool
	// From which time on queries are logged; 0 for never.
	SlowQuery time.Duration
}

func defaultRouter() Router {
	return Router{GRPCAddress: "127.0.0.1:9095", InflightRequestsMax: 1024, SlowQuery: 2 * time.Second}
}

func (s *Server) publicAddress() settings {
	row := setting{"grpc.address", "HOST:PORT", "where to serve the public gRPC APIs; port 0 picks a free one",
		(*text)(&s.GRPCAddress), listenAddress(&s.GRPCAddress)}
	if s.Command == CommandNode {
		row.doc += "; empty serves them not here"
		row.check = optional(&s.GRPCAddress, listenAddress)
	}
	return settings{row}
}

func (s *Server) joining() settings {
	row := setting{"join", "HOST:PORT,...", "node addresses (-node.address) of the cluster's nodes, some or all; a new node without any, or that finds no cluster there, waits for: skerry init",
		(*list)(&s.Join), eachDialled(&s.Join)}
	if s.Command == CommandRouter {
		row.doc = "node addresses (-node.address) of the cluster's nodes, some or all; the others are learnt from these"
		row.check = both(filledList(&s.Join), eachDialled(&s.Join))
	}
	return settings{row}
}

func (r *Router) router() settings {
	return settings{
		{"tenants.allow-delete", "BOOL", "let clients delete tenants by the public API; without -auth.file it asks nobody who they are",
			(*toggle)(&r.AllowTenantDeletion), nil},
		{"limits.max-inflight-requests", "N", "public calls served at a time, 1 to 1048576; more are refused",
			(*number)(&r.InflightRequestsMax), between(&r.InflightRequestsMax, 1, 1<<20)},
		{"log.slow-query", "DURATION", "log queries that take this long, with what they cost; 0 for never",
			(*duration)(&r.SlowQuery), between(&r.SlowQuery, 0, 24*time.Hour)},
	}
}
