//go:build !linux

package transport

import (
	"net"
	"time"
)

// limitUnacked does nothing where the system has no such limit: the deadlines of
// writes notice a dead peer when the socket's buffer is full.
func limitUnacked(*net.TCPConn, time.Duration) error { return nil }
