package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerrydb/skerry/planner/retention"
	"github.com/skerrydb/skerry/planner/schedule"
)

func TestValidateReportsEveryFault(t *testing.T) {
	bad := Server{
		Command: CommandServe,
		Process: Process{HTTPAddress: "h:65536", LogLevel: "loud", LogFormat: "xml", AdminAddress: "here", TLS: TLS{KeyFile: "k", RequireClientCert: true}},
		Router:  Router{GRPCAddress: "nowhere", SlowQuery: -time.Second},
		Node: Node{
			NodeAddress: ":9097", RaftAddress: ":9099", RaftAdvertiseAddress: "", NodeAdvertiseAddress: "", Zone: "a b",
			CacheBytes: 1, MemtableBytes: 2 << 30, RaftRTT: 1500 * time.Microsecond, AnswersBytesMax: 1 << 20,
			Disk:       Disk{LowBytes: -1, FullBytes: -1, StallTimeout: time.Millisecond},
			Compaction: Compaction{JobLease: time.Millisecond, FailuresMax: 17, JobsMax: -1},
			Retention:  Retention{Period: -time.Hour, Interval: time.Second, Grace: -1, OverridesReload: time.Hour},
		},
		Founding: Founding{StreamGroups: 2},
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`data-dir is "": must not be empty`,
		`grpc.address is "nowhere": want HOST:PORT`,
		`http.address is "h:65536": want a port`,
		`raft.address is ":9099": want a host and a port`,
		`node.address is ":9097": this means all addresses of the machine: say with node.advertise-address`,
		`admin.address is "here": want HOST:PORT`,
		`zone is "a b": want up to 64`,
		`disk.low-bytes is "-1": want 0 to`,
		`disk.full-bytes is "-1": want 0 to`,
		`disk.stall-timeout is "1ms": want 1s to`,
		`tls.cert-file and tls.key-file belong together`,
		`tls.require-client-cert needs tls.ca-file`,
		`groups is "0": want 1 to 1024`,
		`streams.groups is "2": want 0 to 0`,
		`log.level is "loud": want one of`,
		`log.format is "xml": want one of`,
		`shutdown.timeout is "0s": want 1ms to 1h0m0s`,
		`store.cache-bytes is "1": want 1MiB to`,
		`store.memtable-bytes is "2GiB": want 1MiB to 1GiB`,
		`raft.rtt is "1.5ms": want whole milliseconds`,
		`limits.max-inflight-requests is "0": want 1 to`,
		`limits.max-reads is "0": want 1 to`,
		`limits.max-answers-bytes is "1MiB": want 100MiB to`,
		`limits.query-timeout is "0s": want 1ms to`,
		`storage.backend is "": want one of`,
		`storage.s3.bucket-lookup-type is "": want one of`,
		`objects.timeout is "0s": want 100ms to`,
		`objects.max-attempts is "0": want 1 to`,
		`log.slow-query is "-1s": want 0s to`,
		`store.index-cache-bytes is "0": want 1MiB to`,
		`metastore.compaction-job-lease-duration is "1ms": want 1s to`,
		`metastore.compaction-max-failures is "17": want 0 to 16`,
		`metastore.compaction-max-job-queue-size is "-1": want 0 to`,
		`retention-period is "-1h0m0s": want 0s to`,
		`metastore.index.cleanup-interval is "1s": want 0s, or 10s to`,
		`metastore.index.cleanup-grace-period is "-1ns": want 0s to`,
		`runtime-config.reload-period is "1h0m0s": want 1s to 10m0s`,
		`adaptive-placement.enabled is "": want one of`,
		`adaptive-placement.placement-rules-update-interval is "0s": want 1s to`,
		`adaptive-placement.placement-rules-retention-period is "0s": want 1s to`,
		`adaptive-placement.stats-retention-period is "0s": want 1s to`,
		`adaptive-placement.std-dev is "": want one of`,
		`adaptive-placement.load-balancing is "": want one of`,
		`adaptive-placement.max-dataset-shards is "0": want 1 to`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	if faults := strings.Count(err.Error(), ";") + 1; faults != 44 {
		t.Errorf("%d faults, want 44: %v", faults, err)
	}
}

// Tokens are not taken in the clear from other machines.
func TestTokensNeedTLS(t *testing.T) {
	const text = "would send tokens over the network in the clear"
	for name, test := range map[string]struct {
		command Command
		change  func(*Server)
		want    []string
	}{
		"on loopback":        {CommandServe, func(s *Server) { s.AccessFile = "f" }, nil},
		"without tokens":     {CommandServe, func(s *Server) { s.GRPCAddress = ":9095" }, nil},
		"with TLS":           {CommandServe, func(s *Server) { s.AccessFile, s.GRPCAddress, s.TLS = "f", ":9095", TLS{"c", "k", "a", false} }, nil},
		"public":             {CommandServe, func(s *Server) { s.AccessFile, s.GRPCAddress = "f", ":9095" }, []string{`auth.file with grpc.address ":9095"`}},
		"a name":             {CommandServe, func(s *Server) { s.AccessFile, s.HTTPAddress = "f", "box:9096" }, []string{`auth.file with http.address "box:9096"`}},
		"inner":              {CommandNode, func(s *Server) { s.TokenFile, s.NodeAddress, s.AdminAddress = "f", "10.0.0.1:1", "10.0.0.1:2" }, []string{"auth.token-file with node.address", "auth.token-file with admin.address"}},
		"Raft has no tokens": {CommandNode, func(s *Server) { s.AccessFile, s.RaftAddress = "f", "10.0.0.1:1" }, nil},
		"a router's own":     {CommandRouter, func(s *Server) { s.AccessFile, s.Join, s.NodeAddress = "f", []string{"a:1"}, "10.0.0.1:1" }, nil},
	} {
		s := Default(test.command)
		test.change(&s)
		err := s.Validate()
		got := ""
		if err != nil {
			got = err.Error()
		}
		if strings.Count(got, text) != len(test.want) {
			t.Errorf("%s: %q", name, got)
		}
		for _, want := range test.want {
			if !strings.Contains(got, want) || !strings.Contains(got, "set tls.cert-file") {
				t.Errorf("%s: %q lacks %q", name, got, want)
			}
		}
	}
}

func TestAddressesDiffer(t *testing.T) {
	same := with(func(s *Server) { s.HTTPAddress, s.RaftAddress = s.GRPCAddress, s.GRPCAddress })
	if err := same.Validate(); err == nil || !strings.Contains(err.Error(), "grpc.address and http.address and raft.address are all") {
		t.Errorf("got %v", err)
	}
	free := with(func(s *Server) { s.HTTPAddress, s.GRPCAddress = "127.0.0.1:0", "127.0.0.1:0" })
	if err := free.Validate(); err != nil {
		t.Error(err)
	}
}

func TestDerivedSettings(t *testing.T) {
	s := with(func(s *Server) { s.DataDir = "/d" })
	if s.ObjectsPath() != "/d/objects" || s.StreamGroupCount() != 2 {
		t.Errorf("got %s, %d", s.ObjectsPath(), s.StreamGroupCount())
	}
	s.ObjectsDir, s.Groups = "/o", 1
	if s.ObjectsPath() != "/o" || s.StreamGroupCount() != 1 {
		t.Errorf("got %s, %d", s.ObjectsPath(), s.StreamGroupCount())
	}
	if s.StreamGroups = 5; s.StreamGroupCount() != 5 {
		t.Errorf("got %d", s.StreamGroupCount())
	}
}

func TestPeriods(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"31d": 31 * day, "0": 0, "0s": 0, "1y": 365 * day, "2w": 14 * day, "1w1d": 8 * day, "1d12h30m": 36*time.Hour + 30*time.Minute,
		"744h": 31 * day, "90m": 90 * time.Minute, "-1h": -time.Hour, "500ms": 500 * time.Millisecond,
	} {
		var got period
		if err := got.Set(text); err != nil || time.Duration(got) != want {
			t.Errorf("%q: got %v, %v; want %v", text, time.Duration(got), err, want)
		}
		var again period
		if err := again.Set(got.String()); err != nil || again != got {
			t.Errorf("%q: written as %s", text, got.String())
		}
	}
	for _, text := range []string{"", "d", "31", "31 d", "1.5d", "-1d", "1d1w", "1d2d", "300y", "99999999999999999999d", "1h1d"} {
		var got period
		if err := got.Set(text); err == nil {
			t.Errorf("%q: got %v", text, time.Duration(got))
		}
	}
	serve := Default(CommandServe)
	if text := serve.settings().find("retention-period").value.String(); text != "31d" {
		t.Errorf("the default is written as %s", text)
	}
}

// The defaults are the planner's, and what is set reaches it.
func TestPlannersSettings(t *testing.T) {
	if diff := cmp.Diff(schedule.Defaults(), Default(CommandServe).Compaction.Schedule()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(retention.Defaults(), Default(CommandServe).Retention.Plan()); diff != "" {
		t.Error(diff)
	}
	c := Compaction{JobLease: time.Minute, FailuresMax: 7, JobsMax: 5}.Schedule()
	if c.Lease != time.Minute || c.FailuresMax != 7 || c.Compaction.JobsMax != 5 || c.Validate() != nil {
		t.Errorf("got %+v, %v", c, c.Validate())
	}
	r := Retention{Period: time.Hour, Grace: time.Minute}.Plan()
	if r.Periods.Default != time.Hour || r.Grace != time.Minute || r.Validate() != nil {
		t.Errorf("got %+v, %v", r, r.Validate())
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "512": 512, "1B": 1, "64MiB": 64 << 20, "64 mib": 64 << 20, "1KB": 1000, "2kib": 2048,
		"3GB": 3e9, "1GiB": 1 << 30, "1TB": 1e12, " 7MB ": 7e6, "8388607TiB": 8388607 << 40,
	} {
		got, err := parseBytes(text)
		if err != nil || got != want {
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
		if again, err := parseBytes(formatBytes(want)); err != nil || again != want {
			t.Errorf("%q: formatted as %s", text, formatBytes(want))
		}
	}
	for _, text := range []string{"", "MiB", "-1", "-1MiB", "1.5GiB", "1XB", "8388608TiB", "9223372036854775808", "1 2"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("%q: got %d", text, got)
		}
	}
}

func FuzzExpandUndoesEscape(f *testing.F) {
	for _, seed := range []string{"", "plain", "${A}", "$${A}", "$$${", "$", "a$b${", "${A:b}c"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := expand(escape(text), func(string) (string, bool) { return "", false })
		if err != nil || got != text {
			t.Errorf("got %q, %v; want %q", got, err, text)
		}
	})
}
