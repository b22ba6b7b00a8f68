// Package delivery decides what a group's leader sends from the outboxes of its
// streams to the groups of their tenants, and what it may forget then.
//
//	outbox ─► Plan ─► batches ─► (sent by the caller) ─► Delivered, Failed
//	            ▲                                             │ accepted up to
//	            │   acks ◄── Plan ◄───────────────────────────┘
//	            └── rows go ◄── (proposed by the caller) ─► AckEnded
//
// It is level-triggered: what the outbox holds decides, and what is remembered
// here only saves work. A loop that begins anew, as after a change of leader, sends
// again what was accepted already; the destination knows it by its number.
//
// There are no goroutines, clocks or locks in it: a Loop belongs to one goroutine.
package delivery
