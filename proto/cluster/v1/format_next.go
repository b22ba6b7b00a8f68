//go:build skerry_next

package clusterv1

// MaxFormat is one above that of the release: the build tag skerry_next makes a
// stand-in for the next release, which tests of upgrades run beside this one.
const MaxFormat = FirstFormat + 1
