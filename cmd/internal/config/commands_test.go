package config

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// Each command has defaults that are valid, prints them, reads them again, and
// says the same.
func TestEveryCommandsConfig(t *testing.T) {
	for command, needs := range map[Command][]string{
		CommandServe: nil, CommandNode: nil, CommandRouter: {"-join", "a:1, b:2"},
	} {
		t.Run(string(command), func(t *testing.T) {
			want, err := Parse(command, needs, environment(), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			var printed strings.Builder
			if _, err := Parse(command, append(needs, "-print-config"), environment(), &printed); !errors.Is(err, ErrPrinted) {
				t.Fatal(err)
			}
			got, err := Parse(command, []string{"-config.file", writeFile(t, printed.String())}, environment(), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			var help strings.Builder
			if _, err := Parse(command, []string{"-help"}, environment(), &help); !errors.Is(err, ErrPrinted) || !strings.HasPrefix(help.String(), "usage: skerry "+string(command)+" [flags]\n") {
				t.Errorf("%v, help is %q", err, help.String())
			}
		})
	}
}

// A command has no settings that would mean nothing to it.
func TestCommandsDiffer(t *testing.T) {
	for flag, only := range map[string][]Command{
		"-groups=3":             {CommandServe},
		"-join=a:1":             {CommandNode, CommandRouter},
		"-data-dir=x":           {CommandServe, CommandNode},
		"-retention-period=1d":  {CommandServe, CommandNode},
		"-zone=z":               {CommandServe, CommandNode},
		"-admin.address=:1":     {CommandServe, CommandNode, CommandRouter},
		"-tenants.allow-delete": {CommandServe, CommandNode, CommandRouter},
	} {
		for _, command := range []Command{CommandServe, CommandNode, CommandRouter} {
			has := false
			for _, c := range only {
				has = has || c == command
			}
			args := []string{flag}
			if command == CommandRouter && !strings.HasPrefix(flag, "-join") {
				args = append(args, "-join", "a:1")
			}
			_, err := Parse(command, args, environment(), io.Discard)
			if (err == nil) != has {
				t.Errorf("%s %s: %v", command, flag, err)
			}
		}
	}
	if s := Default(CommandNode); s.HasRouter() || !s.HasNode() {
		t.Error("a node serves the public API unasked")
	}
	if s := Default(CommandRouter); !s.HasRouter() || s.HasNode() {
		t.Error("a router is no router")
	}
}

func TestClusterAddresses(t *testing.T) {
	for args, want := range map[string]string{
		"-node.address 0.0.0.0:9097":   `node.address is "0.0.0.0:9097": this means all addresses`,
		"-raft.address [::]:9099":      `raft.address is "[::]:9099": this means all addresses`,
		"-raft.address h:0":            "want a host and a port",
		"-node.advertise-address :1":   `node.advertise-address is ":1": want a host and a port`,
		"-join a:1,,b:2":               "empty part between the commas",
		"-join a:1,b:2,a:1":            `"a:1" is there twice`,
		"-join a":                      `"a": want HOST:PORT of a node`,
		"-node.address 127.0.0.1:9099": "node.address and raft.address are all",
		"-raft.address :9099 -raft.advertise-address n1:9099":         "",
		"-node.address 0.0.0.0:9097 -node.advertise-address n1:9097":  "",
		"-node.address 127.0.0.1:0 -http.address :0 -grpc.address :0": "",
		"-tls.cert-file c": "belong together",
		"-tls.ca-file c":   "TLS needs tls.cert-file and tls.key-file",
		"-tls.cert-file c -tls.key-file k -tls.require-client-cert":                    "needs tls.ca-file",
		"-tls.cert-file c -tls.key-file k -tls.ca-file a -join a:1":                    "",
		"-tls.cert-file c -tls.key-file k":                                             "nodes need tls.ca-file",
		"-dial.local-ip here":                                                          "want an IP address",
		"-dial.local-ip 0.0.0.0":                                                       "want an IP address",
		"-dial.local-ip 127.0.0.2":                                                     "",
		"-disk.low-bytes 1GiB -disk.full-bytes 1GiB":                                   "want less than disk.low-bytes",
		"-disk.low-bytes 0 -disk.full-bytes 1GiB -disk.stall-timeout 1s":               "",
		"-zone " + "0123456789012345678901234567890123456789012345678901234567890123x": "want up to 64 printable",
	} {
		_, err := Parse(CommandNode, strings.Fields(args), environment(), io.Discard)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", args, err)
			}
			continue
		}
		var usage *flags.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want a usage error with %q", args, err, want)
		}
	}
	if _, err := Parse(CommandRouter, nil, environment(), io.Discard); err == nil || !strings.Contains(err.Error(), "the address of one node at least") {
		t.Errorf("a router without nodes: %v", err)
	}
	s := Default(CommandNode)
	if s.RaftAdvertised() != s.RaftAddress {
		t.Error(s.RaftAdvertised())
	}
	if s.RaftAdvertiseAddress = "n1:1"; s.RaftAdvertised() != "n1:1" {
		t.Error(s.RaftAdvertised())
	}
}
