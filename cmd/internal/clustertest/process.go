package clustertest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a command that is started again and again. Its standard error of all
// its lives is in one file. Methods may be called concurrently, but for starts.
type Process struct {
	Name string
	// The binary, arguments, and variables added to the environment.
	Path string
	Args []string
	Env  []string
	// Where standard output and error go.
	LogPath string
	// Answers 200 once the process is ready; empty if it never says.
	ReadyURL string

	mu      sync.Mutex
	command *exec.Cmd
	exited  chan struct{} // closed after the end of the current life
	end     error         // of the last life
	lives   int
}

// Start begins a life. It does not wait until the process is ready.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running() {
		return fmt.Errorf("%s runs already", p.Name)
	}
	if err := os.MkdirAll(filepath.Dir(p.LogPath), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(p.LogPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	p.lives++
	fmt.Fprintf(log, "=== %s, life %d, %s: %s\n", p.Name, p.lives, time.Now().UTC().Format(time.RFC3339Nano), strings.Join(p.Args, " "))
	command := exec.Command(p.Path, p.Args...)
	command.Env = append(os.Environ(), p.Env...)
	command.Stdout, command.Stderr = log, log
	// It must not outlive whoever started it, however that ends.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := startPinned(command); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	exited := make(chan struct{})
	p.command, p.exited, p.end = command, exited, nil
	go func() {
		err := command.Wait()
		p.mu.Lock()
		p.end = err
		p.mu.Unlock()
		close(exited)
	}()
	return nil
}

// running tells whether the process lives. The lock is held.
func (p *Process) running() bool {
	if p.exited == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Running tells whether the process lives, stopped or not.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running()
}

// Lives is the number of starts.
func (p *Process) Lives() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lives
}

// signal sends a signal, if the process lives.
func (p *Process) signal(s syscall.Signal) (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running() {
		return p.exited, os.ErrProcessDone
	}
	if err := p.command.Process.Signal(s); err != nil {
		return p.exited, fmt.Errorf("signal %s with %v: %w", p.Name, s, err)
	}
	return p.exited, nil
}

// Kill ends the process as kill -9 does, and waits for its end. One that has ended
// already is no error.
func (p *Process) Kill() error {
	exited, err := p.signal(syscall.SIGKILL)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err == nil {
		<-exited
	}
	return err
}

// Stop suspends the process, by SIGSTOP.
func (p *Process) Stop() error {
	_, err := p.signal(syscall.SIGSTOP)
	return err
}

// Continue resumes a stopped process.
func (p *Process) Continue() error {
	_, err := p.signal(syscall.SIGCONT)
	return err
}

// Terminate asks the process to end, by SIGTERM, and returns how it did.
func (p *Process) Terminate(patience time.Duration) error {
	exited, err := p.signal(syscall.SIGTERM)
	if err != nil {
		return err
	}
	select {
	case <-exited:
		return p.End()
	case <-time.After(patience):
		return fmt.Errorf("%s did not end within %v of SIGTERM", p.Name, patience)
	}
}

// End is how the last life ended: nil if well, or if it goes on.
func (p *Process) End() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end
}

// Exited is closed when the current life ends; nil if there was none.
func (p *Process) Exited() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}

// readyPoll is the time between two looks at whether a process is ready.
const readyPoll = 20 * time.Millisecond

// AwaitReady waits until the process says that it is ready, ends, or the context
// does.
func (p *Process) AwaitReady(ctx context.Context) error {
	last := "never answered"
	for {
		answer, err := p.ready(ctx)
		if err == nil && answer == "" {
			return nil
		}
		if ctx.Err() == nil {
			last = answer
			if err != nil {
				last = err.Error()
			}
		}
		select {
		case <-p.Exited():
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p.Name, p.End(), p.Tail(20))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (%s)", p.Name, ctx.Err(), last)
		case <-time.After(readyPoll):
		}
	}
}

// ready returns why the process is not ready, empty if it is.
func (p *Process) ready(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.ReadyURL, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil || response.StatusCode == http.StatusOK {
		return "", err
	}
	return fmt.Sprintf("%d: %s", response.StatusCode, body), nil
}

// Tail is the last lines of the log.
func (p *Process) Tail(lines int) string {
	content, err := os.ReadFile(p.LogPath)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Lines that only a crash writes.
var crashes = []string{"panic: ", "fatal error: ", "WARNING: DATA RACE", "unexpected fault address", "SIGSEGV", "[signal SIG"}

// crashLines bounds what is quoted of a crash.
const crashLines = 30

// Crashes returns the traces of panics and the like in the log, the first line of
// each with some that follow.
func (p *Process) Crashes() ([]string, error) {
	file, err := os.Open(p.LogPath)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var found []string
	quoted := crashLines
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case quoted < crashLines:
			quoted++
			found[len(found)-1] += "\n" + line
		case isCrash(line):
			quoted = 1
			found = append(found, p.Name+": "+line)
		}
	}
	return found, lines.Err()
}

func isCrash(line string) bool {
	for _, begin := range crashes {
		if strings.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}
