package access

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/skerrydb/skerry/cmd/internal/certs"
	"github.com/skerrydb/skerry/cmd/internal/certs/certstest"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// backend answers a few methods and remembers who called.
type backend struct {
	adminv1.UnimplementedAdminServiceServer
	metastorev1.UnimplementedIndexServiceServer
	metastorev1.UnimplementedTenantServiceServer
	last atomic.Pointer[Identity]
}

func (b *backend) seen(ctx context.Context) {
	identity, _ := FromContext(ctx)
	b.last.Store(&identity)
}

func (b *backend) Status(ctx context.Context, _ *adminv1.StatusRequest) (*adminv1.StatusResponse, error) {
	b.seen(ctx)
	return &adminv1.StatusResponse{}, nil
}

func (b *backend) AddBlock(ctx context.Context, _ *metastorev1.AddBlockRequest) (*metastorev1.AddBlockResponse, error) {
	b.seen(ctx)
	return &metastorev1.AddBlockResponse{}, nil
}

func (b *backend) DeleteTenant(ctx context.Context, _ *metastorev1.DeleteTenantRequest) (*metastorev1.DeleteTenantResponse, error) {
	b.seen(ctx)
	return &metastorev1.DeleteTenantResponse{}, nil
}

type nodeBackend struct {
	nodev1.UnimplementedNodeServiceServer
	b *backend
}

func (n nodeBackend) WatchMap(_ *nodev1.WatchMapRequest, stream grpc.ServerStreamingServer[clusterv1.MapUpdate]) error {
	n.b.seen(stream.Context())
	return nil
}

// serve starts a server with a gate in front, over TLS if there are credentials.
func serve(t *testing.T, options []grpc.ServerOption, creds credentials.TransportCredentials) (*backend, string) {
	t.Helper()
	if creds != nil {
		options = append(options, grpc.Creds(creds))
	}
	b := &backend{}
	server := grpc.NewServer(options...)
	adminv1.RegisterAdminServiceServer(server, b)
	metastorev1.RegisterIndexServiceServer(server, b)
	metastorev1.RegisterTenantServiceServer(server, b)
	nodev1.RegisterNodeServiceServer(server, nodeBackend{b: b})
	healthv1.RegisterHealthServer(server, health.NewServer())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return b, listener.Addr().String()
}

func dial(t *testing.T, address string, client Client) *grpc.ClientConn {
	t.Helper()
	options, err := client.DialOptions()
	must(t, err)
	conn, err := grpc.NewClient("passthrough:///"+address, options...)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func gate(t *testing.T, content string) (*Gate, *prometheus.Registry, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	registry := prometheus.NewRegistry()
	g, err := New(Options{File: write(t, "access.yaml", content), ReloadInterval: -1}, zap.New(core), registry)
	must(t, err)
	t.Cleanup(g.Close)
	return g, registry, logs
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func bearer(ctx context.Context, values ...string) context.Context {
	for _, value := range values {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
	}
	return ctx
}

// calls makes one call for each role, and one that is open, and returns the codes
// by name.
func calls(ctx context.Context, conn *grpc.ClientConn) map[string]codes.Code {
	got := map[string]codes.Code{}
	_, err := adminv1.NewAdminServiceClient(conn).Status(ctx, &adminv1.StatusRequest{})
	got["read"] = status.Code(err)
	_, err = metastorev1.NewIndexServiceClient(conn).AddBlock(ctx, &metastorev1.AddBlockRequest{})
	got["write"] = status.Code(err)
	_, err = metastorev1.NewTenantServiceClient(conn).DeleteTenant(ctx, &metastorev1.DeleteTenantRequest{})
	got["operate"] = status.Code(err)
	stream, err := nodev1.NewNodeServiceClient(conn).WatchMap(ctx, &nodev1.WatchMapRequest{})
	if err == nil {
		if _, err = stream.Recv(); errors.Is(err, io.EOF) {
			err = nil
		}
	}
	got["node"] = status.Code(err)
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	got["open"] = status.Code(err)
	return got
}

// check demands that the named calls work and all others end with a code; open
// ones always work.
func check(t *testing.T, got map[string]codes.Code, other codes.Code, allowed ...string) {
	t.Helper()
	for name, code := range got {
		want := other
		for _, ok := range append(allowed, "open") {
			if name == ok {
				want = codes.OK
			}
		}
		if code != want {
			t.Errorf("%s: got %s, want %s", name, code, want)
		}
	}
	if len(got) != 5 {
		t.Errorf("%d calls", len(got))
	}
}

func tokenEntry(name, token, roles string) string {
	return fmt.Sprintf("- {name: %s, sha256: %s, roles: [%s]}\n", name, HashToken(token), roles)
}

func TestTokens(t *testing.T) {
	tokens := map[string]string{}
	content := "tokens:\n"
	for _, name := range []string{"read", "write", "operate", "node", "none"} {
		tokens[name], _ = NewToken()
		roles := name
		if name == "none" {
			roles = ""
		}
		content += tokenEntry(name, tokens[name], roles)
	}
	g, registry, logs := gate(t, content)
	b, address := serve(t, g.ServerOptions(), nil)
	conn, ctx := dial(t, address, Client{}), limited(t)
	for name, allowed := range map[string][]string{
		"read": {"read"}, "write": {"write"}, "operate": {"read", "operate"}, "node": {"node"}, "none": nil,
	} {
		t.Run(name, func(t *testing.T) {
			b.last.Store(&Identity{})
			check(t, calls(bearer(ctx, "Bearer "+tokens[name]), conn), codes.PermissionDenied, allowed...)
			if last := b.last.Load(); allowed != nil && (last.Name != name || last.How != ByToken) {
				t.Errorf("the handler saw %v", last)
			}
		})
	}
	check(t, calls(ctx, conn), codes.Unauthenticated)
	for name, headers := range map[string][]string{
		"wrong":     {"Bearer skerry_wrong"},
		"basic":     {"Basic " + tokens["read"]},
		"bare":      {tokens["read"]},
		"empty":     {""},
		"no token":  {"Bearer "},
		"hash":      {"Bearer " + HashToken(tokens["read"])},
		"two":       {"Bearer " + tokens["read"], "Bearer " + tokens["operate"]},
		"joined":    {"Bearer " + tokens["read"] + ",Bearer " + tokens["read"]},
		"name":      {"Bearer read"},
		"prefix":    {"Bearer " + tokens["read"][:20]},
		"too long":  {"Bearer " + strings.Repeat("x", 20_000)},
		"white":     {"Bearer  " + tokens["read"]},
		"uppercase": {"Bearer " + strings.ToUpper(tokens["read"])},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, calls(bearer(ctx, headers...), conn), codes.Unauthenticated)
		})
	}
	_, err := adminv1.NewAdminServiceClient(conn).Status(bearer(ctx, "Bearer "+strings.Repeat("x", tokenBytesMax+1)), &adminv1.StatusRequest{})
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "more than 512 bytes") {
		t.Errorf("a long token: %v", err)
	}
	for reason, least := range map[string]float64{reasonNoCredentials: 4, reasonMalformed: 20, reasonUnknownToken: 20, reasonNoRoles: 4, reasonMissingRole: 11} {
		if got := denied(t, registry, reason); got < least {
			t.Errorf("%s: %v denials, want %v at least", reason, got, least)
		}
	}
	for _, entry := range logs.All() {
		for _, token := range tokens {
			if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, token) || strings.Contains(text, HashToken(token)) {
				t.Errorf("logged: %s", text)
			}
		}
	}
	if n := logs.FilterMessage("call refused").Len(); n == 0 || n > 6 {
		t.Errorf("%d lines about some 80 denials", n)
	}
}

// A header that is larger than any of ours ends the call, not the server.
func TestHugeHeader(t *testing.T) {
	token, _ := NewToken()
	g, _, _ := gate(t, "tokens:\n"+tokenEntry("a", token, "read"))
	_, address := serve(t, g.ServerOptions(), nil)
	ctx := limited(t)
	for range 3 {
		conn := dial(t, address, Client{})
		if _, err := adminv1.NewAdminServiceClient(conn).Status(metadata.AppendToOutgoingContext(bearer(ctx, "Bearer "+token), "x-other", strings.Repeat("x", 1<<20)), &adminv1.StatusRequest{}); err == nil {
			t.Error("a megabyte of headers was taken")
		}
	}
	conn := dial(t, address, Client{})
	if _, err := adminv1.NewAdminServiceClient(conn).Status(bearer(ctx, "Bearer "+token), &adminv1.StatusRequest{}); err != nil {
		t.Error(err)
	}
}

// Strangers' messages are refused before they are read, and methods that nobody
// serves look the same as those that nobody may call.
func TestBeforeTheMessage(t *testing.T) {
	g, registry, _ := gate(t, "")
	_, address := serve(t, g.ServerOptions(), nil)
	conn, ctx := dial(t, address, Client{}), limited(t)
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, "/metastore.v1.IndexService/AddBlock")
	must(t, err)
	// Nothing is sent: the answer comes nevertheless.
	if err := stream.RecvMsg(&emptypb.Empty{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v", err)
	}
	for _, method := range []string{"/no.Service/Method", "/skerry.admin.v1.AdminService/", "/" + strings.Repeat("x", 3000) + "/y"} {
		if err := conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{}); method != "/skerry.admin.v1.AdminService/" && status.Code(err) != codes.PermissionDenied || err == nil {
			t.Errorf("%.40s: got %v", method, err)
		}
	}
	if got := denied(t, registry, reasonUnknownMethod); got < 2 {
		t.Errorf("%v denials", got)
	}
}

// The interceptors decide alone, too: on a server that was built without the tap.
func TestInterceptorsAlone(t *testing.T) {
	token, _ := NewToken()
	g, _, _ := gate(t, "tokens:\n"+tokenEntry("a", token, "read"))
	b, address := serve(t, []grpc.ServerOption{grpc.UnaryInterceptor(g.Unary), grpc.StreamInterceptor(g.Stream)}, nil)
	conn, ctx := dial(t, address, Client{}), limited(t)
	check(t, calls(ctx, conn), codes.Unauthenticated)
	check(t, calls(bearer(ctx, "Bearer "+token), conn), codes.PermissionDenied, "read")
	if b.last.Load().Name != "a" {
		t.Error("no identity")
	}
}

func TestCertificates(t *testing.T) {
	ca := certstest.NewCA(t)
	token, _ := NewToken()
	g, _, _ := gate(t, `
certificates:
- {name: writer-0, roles: [write]}
- {name: fallen, roles: []}
tokens:
`+tokenEntry("alice", token, "operate"))
	pair := ca.Issue(t, certstest.Leaf{CommonName: "server"})
	files := certstest.Write(t, t.TempDir(), pair, ca.PEM)
	creds := reloader(t, certs.Options{CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA})
	serverCreds, err := creds.GRPC(certs.Port{ClientCert: certs.IfGiven})
	must(t, err)
	b, address := serve(t, g.ServerOptions(), serverCreds)
	ctx := limited(t)
	connect := func(leaf certstest.Leaf) *grpc.ClientConn {
		files := certstest.Write(t, t.TempDir(), ca.Issue(t, leaf), ca.PEM)
		r := reloader(t, certs.Options{CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA})
		return dial(t, address, Client{TLS: r.ClientGRPC()})
	}
	for _, test := range []struct {
		leaf    certstest.Leaf
		allowed []string
		name    string
	}{
		{certstest.Leaf{CommonName: "writer-0"}, []string{"write"}, "writer-0"},
		{certstest.Leaf{CommonName: "frontend", OrganizationalUnits: []string{"skerry:read", "skerry:write", "finance"}}, []string{"read", "write"}, "frontend"},
		{certstest.Leaf{CommonName: "node-1", OrganizationalUnits: []string{"skerry:node"}}, []string{"node"}, "node-1"},
		// The file has the last word about a name.
		{certstest.Leaf{CommonName: "fallen", OrganizationalUnits: []string{"skerry:operate"}}, nil, ""},
		{certstest.Leaf{CommonName: "writer-0", OrganizationalUnits: []string{"skerry:operate"}}, []string{"write"}, "writer-0"},
		{certstest.Leaf{CommonName: "nobody"}, nil, ""},
		{certstest.Leaf{CommonName: "typo", OrganizationalUnits: []string{"skerry:root", "skerry:", "read", "Skerry:read", "skerry:read,write"}}, nil, ""},
		{certstest.Leaf{CommonName: "bad\nname\x1b[2J", OrganizationalUnits: []string{"skerry:read"}}, []string{"read"}, "serial "},
		{certstest.Leaf{CommonName: strings.Repeat("x", 10_000), OrganizationalUnits: []string{"skerry:read"}}, []string{"read"}, "serial "},
		{certstest.Leaf{OrganizationalUnits: []string{"skerry:read"}}, []string{"read"}, "serial "},
	} {
		t.Run(fmt.Sprintf("%.20q", test.leaf.CommonName), func(t *testing.T) {
			b.last.Store(&Identity{})
			check(t, calls(ctx, connect(test.leaf)), codes.PermissionDenied, test.allowed...)
			if last := b.last.Load(); test.allowed != nil && (!strings.HasPrefix(last.Name, test.name) || last.How != ByCertificate) {
				t.Errorf("the handler saw %v", last)
			}
		})
	}
	// A token goes before the certificate, also a wrong one.
	reader := connect(certstest.Leaf{CommonName: "frontend", OrganizationalUnits: []string{"skerry:write"}})
	check(t, calls(bearer(ctx, "Bearer "+token), reader), codes.PermissionDenied, "operate", "read")
	check(t, calls(bearer(ctx, "Bearer wrong"), reader), codes.Unauthenticated)

	for _, test := range []struct {
		leaf certstest.Leaf
		ok   bool
	}{
		{certstest.Leaf{CommonName: "n", OrganizationalUnits: []string{"skerry:node"}}, true},
		{certstest.Leaf{CommonName: "n", OrganizationalUnits: []string{"skerry:operate", "skerry:read", "skerry:write"}}, false},
		{certstest.Leaf{CommonName: "writer-0", OrganizationalUnits: []string{"skerry:node"}}, false},
	} {
		if err := g.CheckPeer(ca.Issue(t, test.leaf).Leaf(t)); (err == nil) != test.ok {
			t.Errorf("Raft from %v: %v", test.leaf, err)
		}
	}
}

func reloader(t *testing.T, options certs.Options) *certs.Reloader {
	t.Helper()
	r, err := certs.Open(options, nil, nil)
	must(t, err)
	t.Cleanup(r.Close)
	return r
}

func TestAnonymous(t *testing.T) {
	g, _, _ := gate(t, "anonymous: [read, write]")
	_, address := serve(t, g.ServerOptions(), nil)
	conn, ctx := dial(t, address, Client{}), limited(t)
	check(t, calls(ctx, conn), codes.Unauthenticated, "read", "write")
	// Who shows something wrong is told so.
	check(t, calls(bearer(ctx, "Bearer wrong"), conn), codes.Unauthenticated)
}

func TestOff(t *testing.T) {
	var g *Gate
	b, address := serve(t, g.ServerOptions(), nil)
	check(t, calls(limited(t), dial(t, address, Client{})), codes.OK, "read", "write", "operate", "node")
	if last := b.last.Load(); last.How != Anonymous {
		t.Errorf("saw %v", last)
	}
	must(t, g.CheckPeer(&x509.Certificate{}))
	must(t, g.Reload())
	g.Close()
}

// The file is followed while a client keeps calling: its token works throughout,
// a new one works soon, one that is taken away stops working, and a file that is
// wrong changes nothing.
func TestReload(t *testing.T) {
	stays, comes, goes := "stays-0123456789", "comes-0123456789", "goes-0123456789"
	path := write(t, "access.yaml", "tokens:\n"+tokenEntry("stays", stays, "read")+tokenEntry("goes", goes, "read"))
	registry := prometheus.NewRegistry()
	core, logs := observer.New(zapcore.InfoLevel)
	g, err := New(Options{File: path, ReloadInterval: time.Millisecond}, zap.New(core), registry)
	must(t, err)
	defer g.Close()
	_, address := serve(t, g.ServerOptions(), nil)
	client, ctx := adminv1.NewAdminServiceClient(dial(t, address, Client{})), limited(t)
	works := func(token string) bool {
		_, err := client.Status(bearer(ctx, "Bearer "+token), &adminv1.StatusRequest{})
		if code := status.Code(err); code != codes.OK && code != codes.Unauthenticated {
			t.Fatal(err)
		}
		return err == nil
	}
	until := func(what string, reached func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !reached(); {
			if !works(stays) {
				t.Fatal("a token that stays was refused")
			}
			if time.Now().After(deadline) {
				t.Fatalf("no end of waiting for %s", what)
			}
		}
	}
	replace := func(content string) {
		must(t, os.WriteFile(path+".new", []byte(content), 0o600))
		must(t, os.Rename(path+".new", path))
	}
	if !works(goes) || works(comes) {
		t.Fatal("the first file does not hold")
	}
	replace("tokens:\n" + tokenEntry("stays", stays, "read") + tokenEntry("comes", comes, "read"))
	until("the new token", func() bool { return works(comes) && !works(goes) })
	replace("tokens: [" + comes + "\n")
	until("the fault", func() bool { return metric(t, registry, "skerry_access_reloads_total", "failure") >= 3 })
	must(t, os.Remove(path))
	until("the other fault", func() bool { return logs.FilterMessageSnippet("not reloaded").Len() >= 2 })
	if !works(comes) || works(goes) {
		t.Error("a fault changed what holds")
	}
	if n := logs.FilterMessageSnippet("not reloaded").Len(); n != 2 {
		t.Errorf("%d lines about two faults", n)
	}
	for _, entry := range logs.All() {
		if strings.Contains(fmt.Sprint(entry.ContextMap()), comes) {
			t.Error("a token in the wrong place is logged")
		}
	}
	replace("tokens:\n" + tokenEntry("stays", stays, "read") + tokenEntry("goes", goes, "read"))
	until("the right file", func() bool { return works(goes) })
}

func TestFile(t *testing.T) {
	hash := HashToken("x")
	for name, test := range map[string]struct {
		content string
		want    []string
	}{
		"empty":             {"", nil},
		"JSON":              {`{"tokens": [{"name": "a", "sha256": "` + hash + `", "roles": ["read", "write"]}]}`, nil},
		"unknown key":       {"token: []", []string{"line 1"}},
		"not YAML":          {"\xff\xfe{{{", []string{"not the YAML"}},
		"a list":            {"- a", []string{"line 1"}},
		"two documents":     {"anonymous: []\n---\nanonymous: [read]", []string{"more than one"}},
		"token for hash":    {"tokens: [{name: a, sha256: secret-token, roles: [read]}]", []string{"sha256sum", `"a"`}},
		"short hash":        {"tokens: [{name: a, sha256: abcd, roles: [read]}]", []string{"64 hexadecimal"}},
		"empty token":       {"tokens: [{name: a, sha256: " + HashToken("") + ", roles: [read]}]", []string{"empty"}},
		"no name":           {"tokens: [{sha256: " + hash + "}]", []string{"name is missing"}},
		"twice":             {"tokens: [{name: a, sha256: " + hash + "}, {name: b, sha256: " + hash + "}, {name: a, sha256: " + HashToken("y") + "}]", []string{"has the token of", "twice"}},
		"unknown roles":     {"tokens: [{name: a, sha256: " + hash + ", roles: [root, Read]}]", []string{`"root"`, `"Read"`}},
		"many faults":       {"tokens: [{name: a, sha256: x, roles: [q]}]\ncertificates: [{name: '', roles: [z]}]", []string{"sha256", `"q"`, "missing", `"z"`}},
		"certificate twice": {"certificates: [{name: a}, {name: a, roles: [read]}]", []string{"twice"}},
		"anonymous operate": {"anonymous: [operate]", []string{"read and write at most"}},
		"anonymous node":    {"anonymous: [read, node]", []string{"read and write at most"}},
		"control character": {`certificates: [{name: "a\nb"}]`, []string{"unprintable"}},
		"long name":         {"certificates: [{name: " + strings.Repeat("x", 200) + "}]", []string{"128"}},
		"aliases":           {"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]", []string{"not the YAML"}},
		"huge":              {strings.Repeat("#", 5<<20), []string{"more than"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate(write(t, "access.yaml", test.content))
			if (err == nil) != (test.want == nil) {
				t.Fatalf("got %v", err)
			}
			for _, text := range test.want {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q lacks %q", err, text)
				}
			}
			if err != nil && strings.Contains(err.Error(), "secret-token") {
				t.Errorf("%q quotes a token", err)
			}
		})
	}
	if err := Validate("/nonexistent/file"); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("tokens: [{name: a, sha256: " + HashToken("x") + ", roles: [read]}]\nanonymous: [read]"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if p, err := parse(content); err == nil && p.anonymous&^(Read|Write) != 0 {
			t.Error("strangers may do more than read and write")
		}
	})
}

func TestHTTP(t *testing.T) {
	read, operate := "read-0123456789", "operate-0123456789"
	g, registry, _ := gate(t, "tokens:\n"+tokenEntry("r", read, "read")+tokenEntry("o", operate, "operate"))
	server := httptest.NewServer(g.HTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		identity, _ := FromContext(r.Context())
		io.WriteString(w, identity.Name)
	})))
	defer server.Close()
	for _, test := range []struct {
		path, token string
		want        int
		name        string
	}{
		{"/healthz", "", 200, ""}, {"/readyz", "", 200, ""}, {"/ready", "wrong", 200, ""},
		{"/metrics", "", 401, ""}, {"/metrics", "wrong", 401, ""}, {"/metrics", read, 200, "r"}, {"/metrics", operate, 200, "o"},
		{"/debug/pprof/", "", 401, ""}, {"/debug/pprof/", read, 403, ""}, {"/debug/pprof/heap", operate, 200, "o"},
		{"/healthz/../debug/pprof/heap", "", 401, ""}, {"//healthz", "", 401, ""}, {"/healthz/", read, 403, ""},
		{"/metrics%2f..%2fdebug", read, 403, ""}, {"/new", read, 403, ""}, {"/", read, 200, "r"},
	} {
		request, err := http.NewRequest("GET", server.URL+test.path, nil)
		must(t, err)
		if test.token != "" {
			request.Header.Set("Authorization", "Bearer "+test.token)
		}
		answer, err := http.DefaultTransport.RoundTrip(request)
		must(t, err)
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != test.want || answer.StatusCode == 200 && string(body) != test.name {
			t.Errorf("%s with %q: %d %s", test.path, test.token, answer.StatusCode, body)
		}
		if (answer.Header.Get("WWW-Authenticate") != "") != (test.want == 401) {
			t.Errorf("%s: asks for %q", test.path, answer.Header.Get("WWW-Authenticate"))
		}
		if bytes.Contains(body, []byte(operate)) {
			t.Errorf("%s: answers with a token", test.path)
		}
	}
	if got := denied(t, registry, reasonMissingRole); got != 4 {
		t.Errorf("%v denials", got)
	}
}

func denied(t *testing.T, registry *prometheus.Registry, reason string) float64 {
	t.Helper()
	return metric(t, registry, "skerry_access_denied_total", reason)
}

func metric(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == name && metric.GetLabel()[0].GetValue() == label {
				return metric.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s %s", name, label)
	return 0
}
