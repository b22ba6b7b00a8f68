//go:build !skerry_next

package clusterv1

// MaxFormat is the newest data format of this build.
const MaxFormat = FirstFormat
