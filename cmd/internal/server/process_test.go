package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/certs/certstest"
	"github.com/skerrydb/skerry/cmd/internal/config"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/proto/wirecodec"
	"github.com/skerrydb/skerry/storage/objects"
)

func testSettings(t *testing.T, command config.Command) config.Server {
	settings := config.Default(command)
	settings.DataDir, settings.Groups, settings.RaftRTT = t.TempDir(), 1, 5*time.Millisecond
	settings.HTTPAddress, settings.NodeAddress, settings.RaftAddress = "127.0.0.1:0", "127.0.0.1:0", freeAddress(t)
	if command != config.CommandNode {
		settings.GRPCAddress = "127.0.0.1:0"
	}
	return settings
}

// startProcess runs a process until the test ends; it may not be ready yet.
func startProcess(t *testing.T, settings config.Server) *server {
	t.Helper()
	s := newServer(settings, zap.NewNop())
	if err := s.start(t.Context(), make(chan error, 8)); err != nil {
		t.Fatal(errors.Join(err, s.stop()))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.serve(ctx, io.Discard, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, s.stop()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no end of waiting for %s", what)
		}
	}
}

func dialTest(t *testing.T, address string, transport credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(transport), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wirecodec.Codec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func getTest(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// A router is unready, and says why, until a node answers; then it serves what
// the node has, over the node's port.
func TestRouterOfAnotherProcess(t *testing.T) {
	nodeAddress := freeAddress(t)
	settings := testSettings(t, config.CommandRouter)
	settings.Join = []string{nodeAddress}
	router := startProcess(t, settings)
	url := "http://" + router.ports.http.Addr().String() + "/readyz"
	if code, body := getTest(t, http.DefaultClient, url); code != http.StatusServiceUnavailable || !strings.Contains(body, "no node of -join answered with one ("+nodeAddress+")") {
		t.Errorf("%d %s", code, body)
	}
	conn := dialTest(t, router.ports.public.Addr().String(), insecure.NewCredentials())
	health := healthv1.NewHealthClient(conn)
	if answer, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health is %v, %v", answer, err)
	}
	settings = testSettings(t, config.CommandServe)
	settings.NodeAddress = nodeAddress
	node := startProcess(t, settings)
	eventually(t, "the router to be ready", func() bool { return router.ready() == nil && node.ready() == nil })
	eventually(t, "health to follow", func() bool {
		answer, err := health.Check(t.Context(), &healthv1.HealthCheckRequest{})
		return err == nil && answer.GetStatus() == healthv1.HealthCheckResponse_SERVING
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := metastorev1.NewIndexServiceClient(conn).AddBlock(ctx, &metastorev1.AddBlockRequest{Block: benchBlock(1)}); err != nil {
		t.Error(err)
	}
	direct := nodev1.NewNodeServiceClient(dialTest(t, node.ports.nodeAdvertised, insecure.NewCredentials()))
	if answer, err := direct.GroupStatus(ctx, &nodev1.GroupStatusRequest{}); err != nil || answer.GetNodeId() != node.node.ID() {
		t.Errorf("%v, %v", answer, err)
	}
}

// The admin API is where operators are, and nowhere else.
func TestWhereTheAdminAPIIs(t *testing.T) {
	const admin, public, node = "skerry.admin.v1.AdminService", "metastore.v1.IndexService", "skerry.node.v1.NodeService"
	for name, test := range map[string]struct {
		change func(*config.Server)
		want   map[string]string // API to the services asked about
	}{
		"on loopback": {func(*config.Server) {}, map[string]string{
			"the public API": public + " " + admin, "the node API": node + " " + admin}},
		"on all addresses": {func(s *config.Server) { s.GRPCAddress = ":0" }, map[string]string{
			"the public API": public, "the node API": node + " " + admin}},
		"a port of its own": {func(s *config.Server) { s.AdminAddress = "127.0.0.1:0" }, map[string]string{
			"the public API": public, "the node API": node, "the admin API": admin}},
		"roles": {func(s *config.Server) {
			s.GRPCAddress, s.AccessFile = ":0", filepath.Join(t.TempDir(), "access.yaml")
			if err := os.WriteFile(s.AccessFile, []byte("anonymous: [read]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, map[string]string{"the public API": public + " " + admin, "the node API": node + " " + admin}},
	} {
		t.Run(name, func(t *testing.T) {
			settings := testSettings(t, config.CommandServe)
			test.change(&settings)
			s := startProcess(t, settings)
			got := map[string]string{}
			for _, a := range s.apis {
				var has []string
				for _, service := range []string{public, node, admin} {
					if _, ok := a.server.GetServiceInfo()[service]; ok {
						has = append(has, service)
					}
				}
				if _, ok := a.server.GetServiceInfo()["grpc.health.v1.Health"]; !ok {
					t.Errorf("%s has no health", a.name)
				}
				got[a.name] = strings.Join(has, " ")
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// With TLS and an access file every port knows its callers.
func TestSecuredPorts(t *testing.T) {
	ca := certstest.NewCA(t)
	files := func(units ...string) certstest.Files {
		return certstest.Write(t, t.TempDir(), ca.Issue(t, certstest.Leaf{CommonName: "one", OrganizationalUnits: units}), ca.PEM)
	}
	secure := func(settings *config.Server) {
		f := files("skerry:node")
		settings.TLS = config.TLS{CertFile: f.Cert, KeyFile: f.Key, CAFile: f.CA}
		settings.AccessFile = filepath.Join(t.TempDir(), "access.yaml")
		settings.AuditFile = filepath.Join(t.TempDir(), "audit.log")
		if err := os.WriteFile(settings.AccessFile, []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings := testSettings(t, config.CommandServe)
	secure(&settings)
	node := startProcess(t, settings)
	settings = testSettings(t, config.CommandRouter)
	secure(&settings)
	settings.Join = []string{node.ports.nodeAdvertised}
	router := startProcess(t, settings)
	eventually(t, "the router to be ready", func() bool { return router.ready() == nil && node.ready() == nil })

	as := func(units ...string) credentials.TransportCredentials {
		config := &tls.Config{RootCAs: ca.Pool()}
		if units != nil {
			config.Certificates = []tls.Certificate{ca.Issue(t, certstest.Leaf{CommonName: "caller", OrganizationalUnits: units}).TLS(t)}
		}
		return credentials.NewTLS(config)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	add := func(transport credentials.TransportCredentials) codes.Code {
		_, err := metastorev1.NewIndexServiceClient(dialTest(t, router.ports.public.Addr().String(), transport)).AddBlock(ctx, &metastorev1.AddBlockRequest{Block: benchBlock(1)})
		return status.Code(err)
	}
	hello := func(transport credentials.TransportCredentials) codes.Code {
		_, err := nodev1.NewNodeServiceClient(dialTest(t, node.ports.nodeAdvertised, transport)).RangeMap(ctx, &nodev1.RangeMapRequest{})
		return status.Code(err)
	}
	operate := func(transport credentials.TransportCredentials) codes.Code {
		_, err := adminv1.NewAdminServiceClient(dialTest(t, node.ports.nodeAdvertised, transport)).Status(ctx, &adminv1.StatusRequest{})
		return status.Code(err)
	}
	for name, got := range map[string][2]codes.Code{
		"a writer adds":           {add(as("skerry:write")), codes.OK},
		"a reader adds":           {add(as("skerry:read")), codes.PermissionDenied},
		"nobody adds":             {add(as()), codes.Unauthenticated},
		"a node asks a node":      {hello(as("skerry:node")), codes.OK},
		"a writer asks a node":    {hello(as("skerry:write", "skerry:operate")), codes.PermissionDenied},
		"an operator looks":       {operate(as("skerry:operate")), codes.OK},
		"nobody looks":            {operate(as()), codes.Unauthenticated},
		"plaintext is turned off": {hello(insecure.NewCredentials()), codes.Unavailable},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %s, want %s", name, got[0], got[1])
		}
	}
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}}
	defer web.CloseIdleConnections()
	url := "https://" + node.ports.http.Addr().String()
	if code, _ := getTest(t, web, url+"/readyz"); code != http.StatusOK {
		t.Errorf("readyz answers %d", code)
	}
	if code, _ := getTest(t, web, url+"/metrics"); code != http.StatusUnauthorized {
		t.Errorf("metrics answer a stranger %d", code)
	}
}

// brokenNode is a node that fails or waits.
type brokenNode struct {
	nodev1.UnimplementedNodeServiceServer
	failed chan error
	ready  error
	closed bool
	drains int
}

func (n *brokenNode) Service() nodev1.NodeServiceServer                      { return n }
func (n *brokenNode) Ready() error                                           { return n.ready }
func (n *brokenNode) Drain(context.Context) error                            { n.drains++; return nil }
func (n *brokenNode) Failed() <-chan error                                   { return n.failed }
func (n *brokenNode) ClusterID() string                                      { return "" }
func (n *brokenNode) ID() string                                             { return "broken" }
func (n *brokenNode) RecoverDeadLetters(objects.Bucket, time.Duration) error { return nil }
func (n *brokenNode) Close() error                                           { n.closed = true; return nil }

func startBroken(t *testing.T, node *brokenNode) *server {
	t.Helper()
	s := newServer(testSettings(t, config.CommandNode), zap.NewNop())
	s.node = node
	err := s.ports.open(s.settings)
	if err == nil {
		err = s.serveHTTP(make(chan error, 1))
	}
	if err == nil {
		err = s.openPool()
	}
	if err == nil {
		err = s.openObjects()
	}
	if err == nil {
		err = s.startRouter()
	}
	if err == nil {
		err = s.serveAPIs(make(chan error, 8))
	}
	if err != nil {
		t.Fatal(err)
	}
	s.setPhase("")
	return s
}

// A fault of the node ends the process without waiting for anything.
func TestFaultEndsTheProcess(t *testing.T) {
	node := &brokenNode{failed: make(chan error, 1)}
	s := startBroken(t, node)
	cause := errors.New("the disk does not answer")
	node.failed <- cause
	err := s.serve(t.Context(), io.Discard, nil)
	var fault *FaultError
	if !errors.As(err, &fault) || !errors.Is(err, cause) || !strings.Contains(err.Error(), "the node gave up: the disk does not answer") {
		t.Errorf("got %v", err)
	}
	if s.ready() == nil || node.closed || node.drains > 0 {
		t.Error("the process went on")
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

// A node without a cluster answers others, and says what it waits for; leaders
// leave before it ends.
func TestNodeThatWaits(t *testing.T) {
	node := &brokenNode{ready: errors.New("waiting for skerry init")}
	s := startBroken(t, node)
	var said strings.Builder
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.serve(ctx, &said, nil) }()
	if code, body := getTest(t, http.DefaultClient, "http://"+s.ports.http.Addr().String()+"/readyz"); code != http.StatusServiceUnavailable || body != "waiting for skerry init\n" {
		t.Errorf("%d %q", code, body)
	}
	conn := dialTest(t, s.ports.nodeAdvertised, insecure.NewCredentials())
	if answer, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health is %v, %v", answer, err)
	}
	// A watch that its client never ends does not hold up the stop.
	watch, err := healthv1.NewHealthClient(conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	begun := time.Now()
	if err := errors.Join(<-ended, s.stop()); err != nil || node.drains != 1 || !node.closed {
		t.Errorf("%v, %d drains", err, node.drains)
	}
	if took := time.Since(begun); took > s.settings.ShutdownTimeout/8 {
		t.Errorf("the stop took %s", took)
	}
	if !strings.Contains(said.String(), "Skerry node broken.") || !strings.Contains(said.String(), "skerry init -nodes "+s.ports.nodeAdvertised+",...") || strings.Contains(said.String(), "Ready") {
		t.Errorf("said %q", said.String())
	}
}

func TestAdvertisedAddress(t *testing.T) {
	settings := testSettings(t, config.CommandNode)
	settings.NodeAddress = "localhost:0"
	var p ports
	if err := p.open(settings); err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if host, port, _ := strings.Cut(p.nodeAdvertised, ":"); host != "localhost" || port == "0" || port == "" {
		t.Errorf("others are told %s", p.nodeAdvertised)
	}
	if p.public != nil || p.admin != nil {
		t.Error("there are ports that were not asked for")
	}
	if all := (&listing{strings.Split("a,b,c,d,e,f", ",")}).String(); all != "a, b, c, d, e, …" {
		t.Error(all)
	}
}
