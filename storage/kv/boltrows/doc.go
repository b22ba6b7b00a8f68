// Package boltrows keeps the rows of package kv in bbolt: one file per namespace, with all rows in one bucket.
// It is there to compare the engine of a node with the one that metastores use elsewhere, over the same state
// machine, and to hold the tests of package kv against a second store. Nobody serves from it.
package boltrows
