package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// serverProcess is a running `skerry serve`, a process of its own. The client
// uses gRPC's standard codec, as foreign clients do.
type serverProcess struct {
	metastorev1.IndexServiceClient
	metastorev1.MetadataQueryServiceClient
	metastorev1.TenantServiceClient
	metastorev1.CompactionServiceClient
	admin adminv1.AdminServiceClient

	t       *testing.T
	command *exec.Cmd
	stderr  bytes.Buffer
	http    string
	exited  chan error
	conn    *grpc.ClientConn
}

var (
	grpcLine = regexp.MustCompile(`metastore\.v1 gRPC\s+(\S+)`)
	httpLine = regexp.MustCompile(`HTTP\s+(http://\S+)`)
)

func serveArgs(t *testing.T, dir string) []string {
	t.Helper()
	// Raft's port must be known beforehand.
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return []string{"serve", "-data-dir", dir, "-grpc.address", "127.0.0.1:0", "--http.address=127.0.0.1:0",
		"-node.address", "127.0.0.1:0", "-raft.address", listener.Addr().String(), "-raft.rtt", "5ms", "-store.memtable-bytes", "1MiB"}
}

// startServe returns when the server says that it is ready.
func startServe(t *testing.T, dir string, more ...string) *serverProcess {
	t.Helper()
	s := &serverProcess{t: t, exited: make(chan error, 1), command: exec.Command("skerry", append(serveArgs(t, dir), more...)...)}
	s.command.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=10")
	s.command.Stderr = &s.stderr
	stdout, err := s.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	var banner strings.Builder
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.Contains(lines.Text(), "Stop with Ctrl-C") {
		banner.WriteString(lines.Text() + "\n")
	}
	go func() {
		io.Copy(io.Discard, stdout) //nolint:errcheck // ends with the process
		s.exited <- s.command.Wait()
	}()
	api, web := grpcLine.FindStringSubmatch(banner.String()), httpLine.FindStringSubmatch(banner.String())
	if api == nil || web == nil {
		err := <-s.exited
		t.Fatalf("serve did not start: %v\n%s\n%s", err, banner.String(), s.stderr.String())
	}
	s.http = web[1]
	if err := s.dial(api[1]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.kill() })
	return s
}

// dial connects the clients.
func (s *serverProcess) dial(address string) (err error) {
	if s.conn, err = grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(200<<20), grpc.MaxCallRecvMsgSize(200<<20))); err != nil {
		return err
	}
	s.IndexServiceClient = metastorev1.NewIndexServiceClient(s.conn)
	s.MetadataQueryServiceClient = metastorev1.NewMetadataQueryServiceClient(s.conn)
	s.TenantServiceClient = metastorev1.NewTenantServiceClient(s.conn)
	s.CompactionServiceClient = metastorev1.NewCompactionServiceClient(s.conn)
	s.admin = adminv1.NewAdminServiceClient(s.conn)
	return nil
}

// stop asks the server to stop and waits for it.
func (s *serverProcess) stop() {
	s.t.Helper()
	s.conn.Close()
	s.terminate()
}

// terminate stops the server while its clients are still connected.
func (s *serverProcess) terminate() {
	s.t.Helper()
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	select {
	case err := <-s.exited:
		if err != nil {
			s.t.Errorf("stopped with %v\n%s", err, s.stderr.String())
		}
		s.exited <- nil // for kill
	case <-time.After(10 * time.Second):
		s.t.Errorf("did not stop within 10 s\n%s", s.stderr.String())
	}
}

func (s *serverProcess) kill() {
	s.conn.Close()
	if err := s.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
	<-s.exited
	s.exited <- nil // for a second call
}

func (s *serverProcess) add(block *metastorev1.BlockMeta) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := s.AddBlock(ctx, &metastorev1.AddBlockRequest{Block: block})
	return err
}

func (s *serverProcess) get(path string) (int, string) {
	s.t.Helper()
	response, err := http.Get(s.http + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// blocksHeld sums what the groups say they hold.
func (s *serverProcess) blocksHeld() uint64 {
	s.t.Helper()
	status, err := s.admin.Status(s.t.Context(), &adminv1.StatusRequest{})
	if err != nil {
		s.t.Fatal(err)
	}
	var held uint64
	for _, node := range status.GetNodes() {
		for _, replica := range node.GetReplicas() {
			held += replica.GetBlocks()
		}
	}
	return held
}

func TestServeHTTP(t *testing.T) {
	s := startServe(t, t.TempDir())
	if err := s.add(&metastorev1.BlockMeta{Id: "01J8E68YM0Z2RRKCY9SYGX3054"}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]string{
		"/healthz": {"ok"}, "/readyz": {"ready"}, "/ready": {"ready"}, "/": {"/metrics"},
		"/buildinfo":        {`"version"`, `"go"`},
		"/debug/pprof/heap": {""},
		"/metrics": {
			"go_build_info", "process_open_fds",
			`pyroscope_metastore_raft_state{state="Leader"} 1`,
			"pyroscope_metastore_raft_apply_command_duration_seconds_count",
			"pyroscope_metastore_raft_read_index_wait_duration_seconds_count",
			"pyroscope_metastore_fsm_apply_command_duration_seconds_count",
			`pyroscope_request_duration_seconds_count{method="gRPC",route="/metastore.v1.IndexService/AddBlock",status_code="success",ws="false"} 1`,
			"skerry_group_entry_commands_count", "dragonboat_raftnode_",
		},
	} {
		code, body := s.get(path)
		if code != http.StatusOK {
			t.Errorf("%s answers %d: %s", path, code, body)
		}
		for _, part := range want {
			if !strings.Contains(body, part) {
				t.Errorf("%s lacks %s", path, part)
			}
		}
	}
	s.stop()
	if strings.Contains(s.stderr.String(), "error") || strings.Contains(s.stderr.String(), "warn") {
		t.Errorf("the log of a healthy run is noisy:\n%s", s.stderr.String())
	}
}

// Starts that must be refused: one line on standard error, exit code 1, and
// nothing changed.
func TestServeRefusals(t *testing.T) {
	running := t.TempDir()
	s := startServe(t, running)
	newer, foreign, file := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "file")
	write := func(path, content string) {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(newer, "identity.json"), `{"format": 99}`)
	write(filepath.Join(foreign, "thesis.doc"), "years of work")
	write(file, "")
	port := strings.TrimPrefix(s.http, "http://")
	for name, test := range map[string]struct {
		dir  string
		more []string
		want string
	}{
		"gRPC port in use":         {t.TempDir(), []string{"-grpc.address", port}, "address " + port + " is in use: stop what listens there, or choose another with -grpc.address"},
		"HTTP port in use":         {t.TempDir(), []string{"-http.address", port}, "choose another with -http.address"},
		"Raft port in use":         {t.TempDir(), []string{"-raft.address", port}, "choose another with -raft.address"},
		"data directory in use":    {running, nil, "in use by another process"},
		"newer data directory":     {newer, nil, "run the release that wrote it, or a newer one"},
		"somebody's directory":     {foreign, nil, "choose an empty or a new directory"},
		"data directory is a file": {file, nil, "cannot use the data directory"},
		"address that is not ours": {t.TempDir(), []string{"-grpc.address", "192.0.2.1:1"}, "cannot listen on 192.0.2.1:1 (-grpc.address)"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var stderr bytes.Buffer
			command := exec.CommandContext(ctx, "skerry", append(serveArgs(t, test.dir), test.more...)...)
			command.Stderr = &stderr
			err := command.Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("ended with %v", err)
			}
			if text := stderr.String(); strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "skerry: ") || !strings.Contains(text, test.want) {
				t.Errorf("said %q", text)
			}
		})
	}
	if entries, err := os.ReadDir(foreign); err != nil || len(entries) != 1 {
		t.Errorf("somebody's directory now holds %v, %v", entries, err)
	}
	if code, _ := s.get("/readyz"); code != http.StatusOK {
		t.Errorf("the running server is disturbed: %d", code)
	}
}

// Clients that hold a connection without a word, or watch the health for ever,
// do not hold up a stop.
func TestServeStopsDespiteIdleClients(t *testing.T) {
	s := startServe(t, t.TempDir())
	silent, err := net.Dial("tcp", s.conn.Target())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	watch, err := healthv1.NewHealthClient(s.conn).Watch(t.Context(), &healthv1.HealthCheckRequest{Service: "pyroscope.metastore"})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := watch.Recv(); err != nil || first.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("health is %v, %v", first, err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := watch.Recv(); err != nil {
				ended <- err
				return
			}
		}
	}()
	s.terminate()
	if err := <-ended; status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}
}
