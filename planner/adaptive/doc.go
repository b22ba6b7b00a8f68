// Package adaptive decides over how many shards distributors spread each dataset,
// and how: Pyroscope's adaptive placement. It has nothing to do with the placement
// of replicas.
//
//	bytes added ─► Statistics ─► DistributionStats ─► Ruler ─► PlacementRules
//	               (rates)              │               │
//	                                    └── two objects ┴─► distributors
//
// Rates of (tenant, dataset, shard, owner) are smoothed; their sum decides about
// the number of shards, which grows in bursts and shrinks slowly; their spread
// decides about load balancing.
//
// What is followed is bounded: beyond that, samples are left out and counted.
package adaptive
