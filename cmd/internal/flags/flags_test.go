package flags

import (
	"errors"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type parsed struct {
	From    string
	Stats   bool
	Tenants List
	Timeout time.Duration
	Output  string
	Rest    []string
}

func parse(args ...string) (parsed, error) {
	var p parsed
	set := New("test")
	set.StringVar(&p.From, "from", "-1h", "`TIME` to start at")
	set.BoolVar(&p.Stats, "stats", false, "with statistics")
	set.Var(&p.Tenants, "tenant", "`TENANT` to ask for")
	set.DurationVar(&p.Timeout, "timeout", time.Second, "limit of a call")
	output := NewChoice("table", "json")
	set.Var(output, "o", "`FORMAT` of the output")
	var err error
	p.Rest, err = Parse(set, args)
	p.Output = output.Value
	return p, err
}

func TestParse(t *testing.T) {
	defaults := func(change func(*parsed)) parsed {
		p := parsed{From: "-1h", Timeout: time.Second, Output: "table"}
		change(&p)
		return p
	}
	for _, c := range []struct {
		name string
		args []string
		want parsed
	}{
		{"nothing", nil, defaults(func(*parsed) {})},
		{"one dash and two", []string{"-stats", "--from=now"}, defaults(func(p *parsed) { p.Stats, p.From = true, "now" })},
		{"value begins with a dash", []string{"--from", "-2h", "x"}, defaults(func(p *parsed) { p.From, p.Rest = "-2h", []string{"x"} })},
		{"value is two dashes", []string{"-from", "--", "x", "-stats"}, defaults(func(p *parsed) { p.From, p.Stats, p.Rest = "--", true, []string{"x"} })},
		{"interspersed", []string{"a", "-stats", "b", "-o", "json", "c"}, defaults(func(p *parsed) { p.Stats, p.Output, p.Rest = true, "json", []string{"a", "b", "c"} })},
		{"two dashes end the flags", []string{"a", "--", "-stats", "--"}, defaults(func(p *parsed) { p.Rest = []string{"a", "-stats", "--"} })},
		{"a dash is positional", []string{"-", "-stats"}, defaults(func(p *parsed) { p.Stats, p.Rest = true, []string{"-"} })},
		{"an empty argument is positional", []string{"", "-stats"}, defaults(func(p *parsed) { p.Stats, p.Rest = true, []string{""} })},
		{"boolean with value", []string{"-stats=false", "x"}, defaults(func(p *parsed) { p.Rest = []string{"x"} })},
		{"repeated and comma separated", []string{"-tenant", "a, b", "--tenant=c,"}, defaults(func(p *parsed) { p.Tenants = List{"a", "b", "c"} })},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parse(c.args...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"-nope":          "not defined: -nope",
		"x --nope=1":     "not defined: -nope",
		"-from":          "needs an argument: -from",
		"-timeout soon":  "-timeout",
		"-o yaml":        "want table, json",
		"-stats=perhaps": "-stats",
		"---from now":    "bad flag syntax",
	} {
		_, err := parse(strings.Fields(args)...)
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a usage error with %q", args, err, want)
		}
	}
	for _, args := range []string{"-help", "x --help", "-h"} {
		if _, err := parse(strings.Fields(args)...); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s: got %v, want flag.ErrHelp", args, err)
		}
	}
}

func TestShard(t *testing.T) {
	var s Shard
	for _, bad := range []string{"", "-1", "4294967296", "x"} {
		if s.Set(bad) == nil || s.IsSet {
			t.Errorf("%q is a shard", bad)
		}
	}
	if err := s.Set("4294967295"); err != nil || s.String() != "4294967295" {
		t.Errorf("got %v, %v", s, err)
	}
}

func TestWriteHelp(t *testing.T) {
	set := New("test")
	set.String("from", "-1h", "`TIME` to search from")
	set.Bool("stats", false, "with statistics")
	var text strings.Builder
	if err := WriteHelp(&text, set); err != nil {
		t.Fatal(err)
	}
	want := "  -from TIME\n        to search from (default -1h)\n  -stats\n        with statistics\n"
	if text.String() != want {
		t.Errorf("got %q", text.String())
	}
}
