package server

import (
	"net"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/skerrydb/skerry/cmd/internal/config"
)

// Nothing waits for S3: it is logged and counted that it cannot be reached.
func TestUnreachableS3IsSaidAndWaitedForByNobody(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	settings := testSettings(t, config.CommandNode)
	settings.Backend, settings.ObjectsAttempts = config.BackendS3, 2
	settings.S3 = config.S3{
		Endpoint: closed.Addr().String(), Bucket: "b", Region: "r", Insecure: true,
		Lookup: "path-style", AccessKeyID: "id", SecretAccessKey: "secret",
	}
	core, logged := observer.New(zap.ErrorLevel)
	s := newServer(settings, zap.New(core))
	defer s.endStreams()
	if err := s.openObjects(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for logged.FilterMessageSnippet("-storage.s3.endpoint").Len() == 0 {
		if time.Now().After(deadline) {
			t.Fatal("nobody was told")
		}
		time.Sleep(10 * time.Millisecond)
	}
	counted := map[string]float64{}
	families, err := s.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				counted[family.GetName()+" "+label.GetValue()] = metric.GetCounter().GetValue()
			}
		}
	}
	for name, want := range map[string]float64{"skerry_objects_operation_failures_total check": 1, "skerry_objects_retries_total put": 1} {
		if counted[name] != want {
			t.Errorf("%s is %v, want %v", name, counted[name], want)
		}
	}
}

func TestFolderOfOneNodeIsWarnedOf(t *testing.T) {
	for _, c := range []struct {
		command config.Command
		folder  string
		want    int
	}{{config.CommandNode, "", 1}, {config.CommandNode, t.TempDir(), 0}, {config.CommandServe, "", 0}} {
		settings := testSettings(t, c.command)
		settings.ObjectsDir = c.folder
		core, logged := observer.New(zap.WarnLevel)
		s := newServer(settings, zap.New(core))
		if err := s.openObjects(); err != nil {
			t.Fatal(err)
		}
		if got := logged.FilterMessageSnippet("-storage.backend s3").Len(); got != c.want {
			t.Errorf("%s, folder %q: %d warnings, want %d", c.command, c.folder, got, c.want)
		}
	}
}
