// Package proto is the vocabulary of Skerry: the messages that cross a process
// border or are kept on disk, and small pure methods on them.
//
//	metastore/v1, types/v1, raftnode  the client API. Wire-compatible with
//	                                  Pyroscope: names, numbers and types are
//	                                  another project's and never change here.
//	raftlog/v1                        the log format. Entries outlive releases:
//	                                  numbers are never reused, a kind never
//	                                  changes its meaning.
//	cluster/v1                        the directory's records, points and ranges,
//	                                  and the routing error detail. Stored, too.
//	node/v1                           router to node.
//	admin/v1                          operator to router.
//	blockobject                       what the objects of blocks are called, and
//	                                  their footers.
//	wirecodec                         the gRPC codec that uses the generated
//	                                  fast paths.
//
// The package imports nothing else of this module. After a change of a .proto
// file run go generate ./proto; a test compares the result with the tree.
package proto
