// Package router serves the public API of a metastore and holds no state: it
// finds the groups that own what a request touches, asks their nodes in
// parallel, retries what may be retried, and merges the answers.
//
//	            metastore.v1, raft_node, admin, health
//	                          │
//	interceptors    recover, measure, bound            (server.go)
//	                          │
//	services        validate, say which spans          (index, query, tenant, …)
//	                          │
//	fan-out         spans → groups, retry, re-cover    (fanout.go)
//	attempts        which replica, how long, hedges    (attempt.go, hedge.go)
//	                   │             │
//	map source      range map     node clients         (mapsource.go, mapwatch.go,
//	                                                    nodes.go, pool.go)
//
// The map is a guess. The groups have the last word: a wrong guess comes back
// as a RouteError with the group's own descriptors, which the router learns.
//
// The package never answers with a part of the truth: if one group cannot be
// reached the whole request fails with UNAVAILABLE. It never decodes the blocks
// that pass through, never caches data, never writes to disk, and never lets
// ABORTED, RESOURCE_EXHAUSTED or an error detail out at the public edge.
package router
