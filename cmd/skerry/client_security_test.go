package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/skerrydb/skerry/cmd/internal/access"
	"github.com/skerrydb/skerry/cmd/internal/certs"
	"github.com/skerrydb/skerry/cmd/internal/certs/certstest"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	"github.com/skerrydb/skerry/proto/wirecodec"
)

// Flags or the environment say whom a command trusts and who it is.
func TestClientSecurity(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token, hash := access.NewToken()
	gate, err := access.New(access.Options{File: write("access.yaml", "tokens:\n  - name: alice\n    sha256: "+hash+"\n    roles: [read]\n")}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	ca := certstest.NewCA(t)
	files := certstest.Write(t, dir, ca.Issue(t, certstest.Leaf{}), ca.PEM)
	served, err := certs.Open(certs.Options{CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer served.Close()
	transport, err := served.GRPC(certs.Port{ClientCert: certs.IfGiven})
	if err != nil {
		t.Fatal(err)
	}
	addr := serveSecurely(t, gate, transport)
	tokenFile := write("token", token+"\n")
	environment := map[string]string{"SKERRY_ADDR": addr, "SKERRY_TLS_CA": files.CA, "SKERRY_TOKEN_FILE": tokenFile}
	for name, c := range map[string]struct {
		line string
		env  map[string]string
		code int
		want string
	}{
		"flags":             {"settings -addr " + addr + " -tls-ca " + files.CA + " -token-file " + tokenFile, nil, exitOK, ""},
		"environment":       {"settings", environment, exitOK, ""},
		"flags come last":   {"settings -token-file " + write("other", "nonsense"), environment, exitFailure, "UNAUTHENTICATED: the token is not known"},
		"no token":          {"settings -token-file=", environment, exitFailure, "say who you are with -token-file"},
		"no TLS":            {"settings -tls-ca=", environment, exitFailure, "UNAVAILABLE"},
		"another name":      {"settings -tls-server-name elsewhere", environment, exitFailure, "elsewhere"},
		"half a pair":       {"settings -tls-cert " + files.Cert, environment, exitFailure, "has no key: name the key's file too"},
		"no such token":     {"settings -token-file " + filepath.Join(dir, "none"), environment, exitFailure, "-token-file: "},
		"other environment": {"audit " + write("audit.log", ""), map[string]string{"SKERRY_TLS_CA": "/none"}, exitOK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out, problems strings.Builder
			std := streams{out: &out, err: &problems, env: func(name string) (string, bool) { value, ok := c.env[name]; return value, ok }}
			if code := run(t.Context(), std, strings.Fields(c.line)); code != c.code || !strings.Contains(problems.String(), c.want) {
				t.Errorf("code %d, %q; want %d, %q", code, problems.String(), c.code, c.want)
			}
		})
	}
}

func serveSecurely(t *testing.T, gate *access.Gate, transport credentials.TransportCredentials) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(gate.ServerOptions(), grpc.Creds(transport), grpc.ForceServerCodecV2(wirecodec.Codec{}))...)
	adminv1.RegisterAdminServiceServer(server, &fakeRouter{fakeCluster: newFakeCluster()})
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}
