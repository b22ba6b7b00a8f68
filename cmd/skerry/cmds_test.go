package main

import (
	"errors"
	"os/exec"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// exits runs a program that must end with the given exit code.
//
//	exits CODE PROGRAM [args...]
func exits(script *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		script.Fatalf("usage: exits CODE PROGRAM [args...]")
	}
	want, err := strconv.Atoi(args[0])
	if err != nil {
		script.Fatalf("exits: %v", err)
	}
	got := 0
	var exit *exec.ExitError
	switch err := script.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		script.Fatalf("exits: %v", err)
	}
	if got != want {
		script.Fatalf("exit code %d, want %d", got, want)
	}
}
