//go:build !linux

package kv

import "testing"

// dropFromPageCache is known for Linux only.
func dropFromPageCache(b *testing.B, _ string) { b.Skip("cannot empty the page cache") }
