//go:build !skerry_faults

package server

import "time"

// clock is what log time follows; nil for the system's.
func clock() func() time.Time { return nil }
