// Package figures measures clusters of real processes on one machine: what an add
// costs, what idle groups and transfers cost, how long restarts, catching up and failovers take.
//
//	client (this process) ──► router + node 127.0.2.11 ─┐
//	                      ──► router + node 127.0.2.12 ─┼─ Raft over loopback
//	                      ──► router + node 127.0.2.13 ─┘
//	          /proc, /metrics, /debug/pprof ──► tables in Markdown
//
// It consists of tests that are skipped without -figures: they are no judgement but
// numbers, which mean something on a quiet machine only. Nothing lies between the
// processes but loopback, and client and nodes share the cores, so that rates are
// those of the machine, and CPU time for each add is what compares.
//
//	go test ./cmd/internal/clustertest/figures -v -timeout 0 -figures -figures.dir /disk/figures
//	    -run TestFigureAdd        adds: rate, latency, CPU, by groups and callers
//	    -run TestFigureIdle       many groups that do nothing, with profiles
//	    -run TestFigureRestart    one process and many blocks, stopped and killed
//	    -run TestFigureCatchUp    a node that was away, and one that is new
//	    -run TestFigureTransfers  what compaction hands over to tenants' groups: rate, lag, queries meanwhile, Raft
//	    -run TestFigureDeadLetters  what writers left in the object store, and what looking for it costs
//
// How long writes wait when a leader is killed, package clustertest measures:
//
//	go test ./cmd/internal/clustertest -v -run TestFailover -failovers 20 -failovers.rtt 50ms
package figures
