package main

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/cmd/internal/config"
)

// TestTable holds for every command, also those to come: one way to run, help
// that says something, no name that hides another.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range commands() {
		if (c.setup == nil) == (c.run == nil) {
			t.Errorf("%s: want either setup or run", c.name)
		}
		if c.summary == "" || strings.HasSuffix(c.summary, ".") || strings.ToLower(c.summary[:1]) != c.summary[:1] {
			t.Errorf("%s: summary %q: want lower case, no full stop", c.name, c.summary)
		}
		if c.detail != "" && !strings.HasSuffix(c.detail, "\n") {
			t.Errorf("%s: detail does not end its line", c.name)
		}
		if words := len(strings.Fields(c.name)); words < 1 || words > 2 || seen[c.name] {
			t.Errorf("%q: want one or two words, once", c.name)
		}
		seen[c.name] = true
		var out, problems strings.Builder
		code := run(t.Context(), streams{out: &out, err: &problems, env: noEnv}, append(strings.Fields(c.name), "-help"))
		if code != exitOK || problems.Len() > 0 || !strings.HasPrefix(out.String(), "usage: skerry "+c.name) {
			t.Errorf("%s -help: code %d, %q, %q", c.name, code, out.String(), problems.String())
		}
	}
}

func noEnv(string) (string, bool) { return "", false }

// Commands that parse for themselves get the rest of the line untouched.
func TestCommandThatRunsItself(t *testing.T) {
	var got []string
	result := error(nil)
	table := []command{{name: "serve", summary: "x", run: func(_ context.Context, _ streams, args []string) error {
		got = args
		return result
	}}}
	if err := dispatch(t.Context(), streams{}, table, []string{"serve", "-help", "--", "x"}); err != nil || strings.Join(got, " ") != "-help -- x" {
		t.Errorf("got %v, %v", got, err)
	}
	for _, result = range []error{config.ErrPrinted, errors.New("cannot listen")} {
		if err := dispatch(t.Context(), streams{}, table, []string{"serve"}); !errors.Is(err, result) {
			t.Errorf("got %v, want %v", err, result)
		}
	}
	var out strings.Builder
	if err := help(&out, table, []string{"serve"}); err == nil || strings.Join(got, " ") != "-help" {
		t.Errorf("help passed %v, %v", got, err)
	}
}
