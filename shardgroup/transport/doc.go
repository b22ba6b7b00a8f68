// Package transport carries Raft messages and snapshots between nodes: it is
// dragonboat's raftio.ITransport over TCP or TLS.
//
//	factory, err := transport.NewFactory(transport.Options{...}, log, registerer)
//	...
//	config.Expert.TransportFactory = factory // before dragonboat.NewNodeHost
//
// A connection goes one way, from the node that dialled it, and carries either
// messages or one snapshot:
//
//	caller                             listener
//	  │── TLS, if configured ─────────────│
//	  │── hello: version, cluster ───────►│ refuses what is not of its cluster
//	  │◄────────────── accepted / why not │
//	  │── frame ─────────────────────────►│ to dragonboat
//	  │── frame …                         │
//	  │◄───────── ack of a whole snapshot │
//
// It never decides who may speak: that is for the TLS configurations that it is
// given. Whoever passes them and belongs to the cluster is trusted with what is
// in a frame, as Raft trusts its peers; all others can neither crash the node nor
// make it use memory without bound.
package transport
