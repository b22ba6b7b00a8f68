// Package raftlog is where dragonboat keeps the Raft logs of a node's replicas: one
// Pebble, so that one sync makes durable what all groups wrote meanwhile.
//
// Dragonboat brings a log store of its own. It also syncs each change of a commit
// index, twice as many syncs as there are entries: the second one tells nothing that
// a quorum would not find out again (Raft keeps the commit index in memory only,
// figure 2 of the paper). Here such a change waits for the next entry, or vote. Only
// if it commits a change of membership it is synced: dragonboat takes the quorum from
// what is committed, and the last of two voters would ask the one that left, in vain.
//
// Layout, all numbers big endian:
//
//	'b' group replica        bootstrap record
//	's' group replica        term, vote and a commit index, perhaps an old one
//	'p' group replica        the last snapshot record
//	'e' group replica index  entry
//
// There is no record of the last index: entries that a new leader replaced are
// removed together with the write that replaces them, so the last row is it.
package raftlog
