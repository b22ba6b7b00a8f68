package clustertest

import (
	"os/exec"
	"runtime"
	"sync"
)

// Linux kills children with a death signal when the thread that made them ends,
// not the process. So one thread, which never ends, makes them all.
var pinned = sync.OnceValue(func() chan<- start {
	starts := make(chan start)
	go func() {
		runtime.LockOSThread()
		for s := range starts {
			s.done <- s.command.Start()
		}
	}()
	return starts
})

type start struct {
	command *exec.Cmd
	done    chan error
}

func startPinned(command *exec.Cmd) error {
	done := make(chan error)
	pinned() <- start{command, done}
	return <-done
}
