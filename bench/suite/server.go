package suite

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// server is a `skerry serve` of ours, with an empty data folder at first.
type server struct {
	executable string
	args       []string
	dir        string
	raft       string

	command *exec.Cmd
	address string
	exited  chan error
	stderr  *tailBuffer
}

var grpcLine = regexp.MustCompile(`metastore\.v1 gRPC\s+(\S+)`)

const (
	// The last line of what a server says when it is ready.
	readyLine   = "Stop with Ctrl-C"
	startLimit  = 5 * time.Minute
	stderrBytes = 4 << 10
)

// StopLimit is how long a server may take to stop.
const StopLimit = time.Minute

func newServer(executable, dir string, args []string) (*server, error) {
	// Raft's address is part of the data, so its port must be known beforehand.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	return &server{executable: executable, dir: dir, args: args, raft: listener.Addr().String()}, nil
}

func (s *server) commandLine() []string {
	return append([]string{
		"serve", "-data-dir", filepath.Join(s.dir, "data"), "-storage.filesystem.dir", filepath.Join(s.dir, "objects"),
		"-grpc.address", "127.0.0.1:0", "-http.address", "127.0.0.1:0", "-node.address", "127.0.0.1:0", "-raft.address", s.raft,
	}, s.args...)
}

// start returns when the server is ready.
func (s *server) start(ctx context.Context) error {
	s.command = exec.Command(s.executable, s.commandLine()...)
	s.stderr = &tailBuffer{}
	s.command.Stderr = s.stderr
	stdout, err := s.command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.executable, err)
	}
	s.exited = make(chan error, 1)
	ready := make(chan string, 1)
	go func() {
		var said strings.Builder
		lines := bufio.NewScanner(stdout)
		for lines.Scan() && !strings.Contains(lines.Text(), readyLine) {
			said.WriteString(lines.Text() + "\n")
		}
		if found := grpcLine.FindStringSubmatch(said.String()); found != nil {
			ready <- found[1]
		}
		_, _ = io.Copy(io.Discard, stdout) // ends with the process
		s.exited <- s.command.Wait()
	}()
	select {
	case s.address = <-ready:
		return nil
	case err := <-s.exited:
		s.command = nil
		return fmt.Errorf("the server ended before it was ready: %w: %s", errors.Join(err, errEarly), s.stderr.text())
	case <-ctx.Done():
		return errors.Join(ctx.Err(), s.kill())
	case <-time.After(startLimit):
		return errors.Join(fmt.Errorf("the server was not ready within %s: %s", startLimit, s.stderr.text()), s.kill())
	}
}

var errEarly = errors.New("no address was told")

// stop asks the server to stop; it is killed if it does not.
func (s *server) stop() error {
	if s.command == nil {
		return nil
	}
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return errors.Join(err, s.kill())
	}
	select {
	case err := <-s.exited:
		s.command = nil
		if err != nil {
			return fmt.Errorf("the server ended with %w: %s", err, s.stderr.text())
		}
		return nil
	case <-time.After(StopLimit):
		return errors.Join(fmt.Errorf("the server did not stop within %s", StopLimit), s.kill())
	}
}

func (s *server) kill() error {
	err := s.command.Process.Kill()
	if err == nil {
		<-s.exited
	}
	s.command = nil
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
