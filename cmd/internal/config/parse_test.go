package config

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerrydb/skerry/cmd/internal/flags"
)

func environment(pairs ...string) func(string) (string, bool) {
	values := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "skerry.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func with(change func(*Server)) Server {
	s := Default(CommandServe)
	change(&s)
	return s
}

func TestDefaultsAreValid(t *testing.T) {
	got, err := Parse(CommandServe, nil, environment(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(CommandServe), got); diff != "" {
		t.Error(diff)
	}
}

func TestPrecedence(t *testing.T) {
	for _, c := range []struct {
		name, file string
		args       []string
		want       Server
	}{
		{"flag, one dash and two", "", []string{"-groups", "8", "--grpc.address=:1"},
			with(func(s *Server) { s.Groups, s.GRPCAddress = 8, ":1" })},
		{"file, nested", "grpc:\n  address: :1\nraft:\n  rtt: 20ms\n  address: h:2\n", nil,
			with(func(s *Server) { s.GRPCAddress, s.RaftRTT, s.RaftAddress = ":1", 20*time.Millisecond, "h:2" })},
		{"file, dotted", "grpc.address: :1\nstore: {cache-bytes: 1GiB}\nstore.memtable-bytes: 33554432\n", nil,
			with(func(s *Server) { s.GRPCAddress, s.CacheBytes, s.MemtableBytes = ":1", 1<<30, 32<<20 })},
		{"flag over file over default", "groups: 7\nlog: {level: warn}\n", []string{"-groups=9"},
			with(func(s *Server) { s.Groups, s.LogLevel = 9, "warn" })},
		{"flag of the default's value over file", "groups: 7\n", []string{"-groups=4"}, with(func(*Server) {})},
		{"environment", "data-dir: ${HOME}/skerry\ngroups: ${GROUPS:6}\nstorage.filesystem.dir: $${x}$$\nlog.level: ${LEVEL:}${B}\n", nil,
			with(func(s *Server) { s.DataDir, s.Groups, s.ObjectsDir, s.LogLevel = "/h/skerry", 6, "${x}$$", "debug" })},
		{"empty file", "", []string{"-groups", "2"}, with(func(s *Server) { s.Groups = 2 })},
		{"only comments", "# nothing\n", nil, with(func(*Server) {})},
		{"empty section", "grpc:\nlog:\n  level: error\n", nil, with(func(s *Server) { s.LogLevel = "error" })},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"-config.file", writeFile(t, c.file)}, c.args...)
			got, err := Parse(CommandServe, args, environment("HOME", "/h", "B", "debug"), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFileFaults(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"unknown keys", "groups: 4\ngruops: 4\ngrpc:\n  adress: :1\n", []string{`line 2: unknown key "gruops"`, `line 4: unknown key "grpc.adress"`}},
		{"flags that are no settings", "config.file: x\n", []string{`line 1: unknown key "config.file"`}},
		{"given twice", "grpc.address: :1\ngrpc:\n  address: :2\n", []string{"line 3: grpc.address was given on line 1"}},
		{"bad values", "groups: many\nraft:\n  rtt: 50\nstore.cache-bytes: 1XB\n", []string{`line 1: groups is "many": want a whole number`, `line 3: raft.rtt is "50": want a duration`, `line 4: store.cache-bytes is "1XB": want bytes`}},
		{"not a value", "groups: [1]\nlog:\n  level: {a: b}\n  format:\n", []string{"line 1: groups: want one value", "line 3: log.level: want one value", "line 4: log.format: want one value"}},
		{"alias", "data-dir: &a x\nstorage.filesystem.dir: *a\n", []string{"line 2: storage.filesystem.dir: want one value"}},
		{"not a map", "- groups\n", []string{"line 1: the file is not a map"}},
		{"section is no map", "grpc: :1\n", []string{"line 1: grpc is not a map"}},
		{"two documents", "groups: 1\n---\ngroups: 2\n", []string{"line 2: a second document"}},
		{"not YAML", "groups: 'x\n", []string{"yaml:"}},
		{"unset variable", "log:\n  level: ${NOPE}\n", []string{"line 2: log.level: environment variable NOPE is not set"}},
		{"bad variables", "storage.filesystem.dir: ${A-B}\ndata-dir: ${X\n", []string{`line 1: storage.filesystem.dir: ${A-B}: "A-B" is no name`, "line 2: data-dir: ${ has no }"}},
		{"faults of both kinds", "gruops: 1\ngroups: 0\n", []string{"unknown key", `groups is "0": want 1 to 1024`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := writeFile(t, c.file)
			_, err := Parse(CommandServe, []string{"-config.file", name}, environment(), io.Discard)
			var usage *flags.UsageError
			if !errors.As(err, &usage) {
				t.Fatalf("got %v, want a usage error", err)
			}
			for _, want := range append(c.want, name) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nlacks %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	large := writeFile(t, strings.Repeat("#", fileBytesMax+1))
	for name, want := range map[string]string{
		filepath.Join(t.TempDir(), "none.yaml"): "no such file",
		large:                                   "larger than 1MiB",
	} {
		_, err := Parse(CommandServe, []string{"-config.file", name}, environment(), io.Discard)
		var usage *flags.UsageError
		if err == nil || errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q that is not about usage", err, want)
		}
	}
}

func TestCommandLineFaults(t *testing.T) {
	for args, want := range map[string]string{
		"extra":           `unexpected argument "extra"`,
		"-nope":           "not defined: -nope",
		"-groups x":       "want a whole number",
		"-groups":         "needs an argument",
		"-log.level loud": `log.level is "loud": want one of debug`,
	} {
		_, err := Parse(CommandServe, strings.Fields(args), environment(), io.Discard)
		var usage *flags.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a usage error with %q", args, err, want)
		}
	}
}

func TestPrintConfigRoundTrip(t *testing.T) {
	odd := with(func(s *Server) {
		s.DataDir, s.ObjectsDir = "/a b: ${HOME} $${x}", "yes"
		s.GRPCAddress, s.HTTPAddress, s.RaftAddress = "[::1]:0", ":0", "node-1:65535"
		s.Groups, s.StreamGroups = 9, 3
		s.LogLevel, s.LogFormat = "warn", "json"
		s.ShutdownTimeout, s.RaftRTT = 90*time.Second, 7*time.Millisecond
		s.CacheBytes, s.MemtableBytes, s.InflightRequestsMax = 1<<20+1, 3<<20, 12
		s.IndexCacheBytes = 5 << 20
		s.Compaction = Compaction{JobLease: 20 * time.Second, FailuresMax: 0, JobsMax: 7}
		s.Retention = Retention{Period: 36 * time.Hour, Interval: 0, Grace: time.Minute, OverridesFile: "/o.yaml", OverridesReload: 3 * time.Second}
	})
	for name, want := range map[string]Server{"defaults": Default(CommandServe), "odd": odd} {
		t.Run(name, func(t *testing.T) {
			var source strings.Builder
			if err := want.settings().writeYAML(&source); err != nil {
				t.Fatal(err)
			}
			file := writeFile(t, source.String())
			got, err := Parse(CommandServe, []string{"-config.file", file}, environment("HOME", "wrong"), io.Discard)
			if err != nil {
				t.Fatalf("%v in\n%s", err, source.String())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			var again strings.Builder
			if _, err := Parse(CommandServe, []string{"-config.file", file, "-print-config"}, environment(), &again); !errors.Is(err, ErrPrinted) {
				t.Fatalf("got %v, want ErrPrinted", err)
			}
			if diff := cmp.Diff(source.String(), again.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestHelpTellsEverySetting(t *testing.T) {
	var help strings.Builder
	if _, err := Parse(CommandServe, []string{"--help"}, environment(), &help); !errors.Is(err, ErrPrinted) {
		t.Fatalf("got %v, want ErrPrinted", err)
	}
	serve := Default(CommandServe)
	for _, s := range serve.settings() {
		want := "  -" + s.name + " " + s.unit + "\n        " + s.doc
		if value := s.value.String(); value != "" && value != "false" {
			want += " (default " + value + ")"
		}
		if !strings.Contains(help.String(), want+"\n") {
			t.Errorf("help lacks %q", want)
		}
	}
	for _, want := range []string{"-config.file FILE", "-print-config\n", "default 256MiB", "default 50ms"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("help lacks %q", want)
		}
	}
}
