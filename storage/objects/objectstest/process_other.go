//go:build !linux

package objectstest

import "syscall"

func endWithParent() *syscall.SysProcAttr { return nil }
