// Command skerry is a metadata store for profiling blocks, and the tool to
// operate it: one binary whose first words choose what it does.
//
// This package parses, wires, runs and exits; what it finds goes to standard
// output, what went wrong to standard error, one line each. It exits with 0, 1
// for a failure, 2 for wrong usage, and 3 when a node gave up because it must not
// go on, as when its disk fails, or when a change was accepted and waited for, but
// is not complete yet.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/skerrydb/skerry/cmd/internal/config"
	"github.com/skerrydb/skerry/cmd/internal/flags"
	"github.com/skerrydb/skerry/cmd/internal/server"
)

const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitFault   = 3
	// A command that waits has waited long enough.
	exitPending = 3
)

// streams is the world as a command sees it.
type streams struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) (string, bool)
	// Whether err is a terminal: only then is progress shown.
	terminal bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process, should the first one take too long.
	context.AfterFunc(ctx, stop)
	code := run(ctx, streams{os.Stdin, os.Stdout, os.Stderr, os.LookupEnv, isTerminal(os.Stderr)}, os.Args[1:])
	os.Exit(code)
}

func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// run executes a command line and returns the exit code.
func run(ctx context.Context, std streams, args []string) int {
	err := dispatch(ctx, std, commands(), args)
	if err == nil || errors.Is(err, config.ErrPrinted) {
		return exitOK
	}
	fmt.Fprintln(std.err, "skerry:", oneLine(err.Error()))
	var usage *flags.UsageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	var fault *server.FaultError
	if errors.As(err, &fault) {
		return exitFault
	}
	var pending *pendingError
	if errors.As(err, &pending) {
		return exitPending
	}
	return exitFailure
}

// oneLine keeps what others wrote, servers too, from spoiling the terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			return '?'
		}
		return r
	}, strings.TrimSpace(text))
}
