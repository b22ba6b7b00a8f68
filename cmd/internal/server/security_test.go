package server

import (
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/skerrydb/skerry/cmd/internal/certs/certstest"
	"github.com/skerrydb/skerry/cmd/internal/config"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// An operation is of who is known to want it, whatever the client says; who is not
// known is believed. A certificate tells who calls even where nothing is decided by it.
func TestActorOfOperations(t *testing.T) {
	ca := certstest.NewCA(t)
	leaf := certstest.Leaf{CommonName: "alice", OrganizationalUnits: []string{"skerry:operate"}}
	secure := func(s *config.Server) {
		f := certstest.Write(t, t.TempDir(), ca.Issue(t, certstest.Leaf{CommonName: "one", OrganizationalUnits: []string{"skerry:node"}}), ca.PEM)
		s.TLS = config.TLS{CertFile: f.Cert, KeyFile: f.Key, CAFile: f.CA}
	}
	for name, test := range map[string]struct {
		change func(*config.Server)
		tls    bool
		want   string
	}{
		"roles": {func(s *config.Server) {
			secure(s)
			s.AccessFile = filepath.Join(t.TempDir(), "access.yaml")
			if err := os.WriteFile(s.AccessFile, []byte("{}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, true, "alice"},
		"certificates": {secure, true, "alice"},
		"neither":      {func(*config.Server) {}, false, "mallory"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := testSettings(t, config.CommandServe)
			test.change(&settings)
			s := startProcess(t, settings)
			transport := insecure.NewCredentials()
			if test.tls {
				transport = credentials.NewTLS(&tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{ca.Issue(t, leaf).TLS(t)}})
			}
			admin := adminv1.NewAdminServiceClient(dialTest(t, s.ports.nodeAdvertised, transport))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			state, err := admin.ClusterState(ctx, &adminv1.ClusterStateRequest{})
			if err != nil {
				t.Fatal(err)
			}
			split := &nodev1.OperateRequest{
				Actor: "mallory", RequestId: make([]byte, 16),
				Action: &nodev1.OperateRequest_Split{Split: &nodev1.SplitAction{RangeId: state.GetState().GetMap().GetRanges()[0].GetRangeId()}},
			}
			if _, err := admin.Operate(ctx, &adminv1.OperateRequest{Operation: split}); err != nil {
				t.Fatal(err)
			}
			state, err = admin.ClusterState(ctx, &adminv1.ClusterStateRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if got := state.GetState().GetOperations(); len(got) != 1 || got[0].GetActor() != test.want {
				t.Errorf("operations %v, want one of %s", got, test.want)
			}
		})
	}
}

// The log names each port that strangers may use. Tokens do not secure Raft.
func TestOpenPortsAreTold(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	settings := testSettings(t, config.CommandNode)
	settings.RaftAddress = "10.0.0.1:1"
	s := newServer(settings, zap.New(core))
	s.warnOfOpenPorts()
	if got := logs.FilterField(zap.String("setting", "raft.address")).Len(); got != 1 {
		t.Errorf("%d warnings about Raft: %v", got, logs.All())
	}
	logs.TakeAll()
	s.settings.RaftAddress = "127.0.0.1:1"
	s.warnOfOpenPorts()
	s.settings = testSettings(t, config.CommandRouter)
	s.settings.RaftAddress = "10.0.0.1:1"
	s.warnOfOpenPorts()
	if got := logs.All(); len(got) != 0 {
		t.Errorf("warnings: %v", got)
	}
}
