// Package faultproxy is the network between processes of one machine, with
// faults: it listens on the addresses that processes advertise, passes
// connections on to where they really listen, and holds, delays, slows or cuts
// what flows.
//
//	caller 127.0.0.11 ──► advertised address of 12 ──► where 12 listens
//	                        │ out:  11 → 12 ──► queue ──► rule ──►
//	                        └ back: 11 ◄── rule ◄── queue ◄── 12 → 11
//
// Who calls is told by the source address, so each process dials from an address
// of its own. Rules are about bytes from one host to another, whoever dialled,
// and apply at once to what is open.
//
// A dropped flow is what TCP makes of a dead wire: nobody learns that it is
// dead, the sender may write until buffers are full, closing is not seen, and
// once the rule goes everything arrives, late and in order. Bytes are never lost
// inside a connection: no real network does that to TCP.
//
// It never looks into what it passes on, and is used by tests only.
package faultproxy
