// Package local runs what is measured on this machine: a server of its own, or a cluster of nodes, as processes of
// the binary that measures. They are started, stopped, killed, and looked at from outside.
package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	startLimit  = 5 * time.Minute
	stderrBytes = 4 << 10
	readyPoll   = 2 * time.Millisecond
)

// StopLimit is how long a process may take to stop.
const StopLimit = time.Minute

// process is one that is started again and again.
type process struct {
	executable string
	args       []string
	// Of its HTTP server, which says whether it is ready.
	http string

	command *exec.Cmd
	exited  chan struct{} // closed once it ended
	end     error
	stderr  *tailBuffer
}

// start does not wait until the process is ready.
func (p *process) start() error {
	command := exec.Command(p.executable, p.args...)
	p.stderr = &tailBuffer{}
	command.Stderr = p.stderr
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.executable, err)
	}
	exited := make(chan struct{})
	p.command, p.exited, p.end = command, exited, nil
	go func() {
		p.end = command.Wait()
		close(exited)
	}()
	return nil
}

func (p *process) running() bool { return p.command != nil }

func (p *process) pid() int { return p.command.Process.Pid }

// ready waits until the process says that it is.
func (p *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not ready within %s", startLimit))
	defer cancel()
	for last := "no answer"; ; {
		ok, said := p.readyNow(ctx)
		if ok {
			return nil
		}
		if said != "" {
			last = said
		}
		select {
		case <-p.exited:
			p.command = nil
			return fmt.Errorf("it ended before it was ready: %w: %s", errors.Join(p.end, errEarly), p.stderr.text())
		case <-ctx.Done():
			return fmt.Errorf("%w: %s: %s", context.Cause(ctx), last, p.stderr.text())
		case <-time.After(readyPoll):
		}
	}
}

var errEarly = errors.New("nobody asked it to")

func (p *process) readyNow(ctx context.Context) (ok bool, said string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.http+"/readyz", nil)
	if err != nil {
		return false, err.Error()
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, ""
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return err == nil && response.StatusCode == http.StatusOK, string(body)
}

// stop asks the process to stop; it is killed if it does not.
func (p *process) stop() error {
	if !p.running() {
		return nil
	}
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(err, p.kill())
	}
	select {
	case <-p.exited:
		p.command = nil
		if p.end != nil {
			return fmt.Errorf("it ended with %w: %s", p.end, p.stderr.text())
		}
		return nil
	case <-time.After(StopLimit):
		return errors.Join(fmt.Errorf("it did not stop within %s", StopLimit), p.kill())
	}
}

// kill ends the process as kill -9 does.
func (p *process) kill() error {
	if !p.running() {
		return nil
	}
	err := p.command.Process.Kill()
	if err == nil || errors.Is(err, os.ErrProcessDone) {
		<-p.exited
		err = nil
	}
	p.command = nil
	return err
}

// tailBuffer keeps the end of what is written. It is safe for concurrent use.
type tailBuffer struct {
	mu      sync.Mutex
	content []byte
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.content = append(b.content, p...)
	if extra := len(b.content) - stderrBytes; extra > 0 {
		b.content = bytes.Clone(b.content[extra:])
	}
	return len(p), nil
}

func (b *tailBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.content)
}
