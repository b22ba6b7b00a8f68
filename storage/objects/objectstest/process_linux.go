package objectstest

import "syscall"

// endWithParent lets no server outlive a test that was killed.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
