package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/certs/certstest"
)

// process is a server command as a process of its own, with addresses that are
// chosen beforehand, so that it can start again where it was.
type process struct {
	t       *testing.T
	args    []string
	node    string // node API; empty for a router
	grpc    string // public API; empty for none
	http    string
	command *exec.Cmd
	exited  chan error
	output  lockedBuffer
}

type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func freeOn(t *testing.T, ip string) string {
	t.Helper()
	listener, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// newNode prepares a node on an address of its own.
func newNode(t *testing.T, dir string, host int, more ...string) *process {
	ip := fmt.Sprintf("127.0.0.%d", host)
	p := &process{t: t, node: freeOn(t, ip), grpc: freeOn(t, ip), http: freeOn(t, ip)}
	p.args = append([]string{"node", "-data-dir", dir, "-node.address", p.node, "-grpc.address", p.grpc, "-http.address", p.http,
		"-raft.address", freeOn(t, ip), "-dial.local-ip", ip, "-zone", fmt.Sprintf("zone-%d", host),
		"-raft.rtt", "10ms", "-store.memtable-bytes", "1MiB"}, more...)
	return p
}

func newRouter(t *testing.T, host int, join ...string) *process {
	ip := fmt.Sprintf("127.0.0.%d", host)
	p := &process{t: t, grpc: freeOn(t, ip), http: freeOn(t, ip)}
	p.args = []string{"router", "-grpc.address", p.grpc, "-http.address", p.http, "-join", strings.Join(join, ","), "-dial.local-ip", ip}
	return p
}

func (p *process) start() {
	p.t.Helper()
	p.command, p.exited = exec.Command("skerry", p.args...), make(chan error, 1)
	p.command.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=10")
	p.command.Stdout, p.command.Stderr = &p.output, &p.output
	if err := p.command.Start(); err != nil {
		p.t.Fatal(err)
	}
	command, exited := p.command, p.exited
	go func() { exited <- command.Wait() }()
	p.t.Cleanup(func() {
		p.kill()
		if p.t.Failed() {
			p.t.Logf("skerry %s\n%s", strings.Join(p.args, " "), p.output.String())
		}
	})
}

func (p *process) kill() {
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Error(err)
	}
	p.exited <- <-p.exited
}

func (p *process) stop() {
	p.t.Helper()
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case err := <-p.exited:
		if err != nil {
			p.t.Errorf("stopped with %v", err)
		}
		p.exited <- err
	case <-time.After(20 * time.Second):
		p.t.Fatal("did not stop within 20 s")
	}
}

// readyz returns what the process says; -1 if it does not answer.
func (p *process) readyz() (int, string) {
	response, err := http.Get("http://" + p.http + "/readyz")
	if err != nil {
		return -1, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return -1, err.Error()
	}
	return response.StatusCode, strings.TrimSpace(string(body))
}

// nodeID is what a node calls itself.
func (p *process) nodeID() string {
	p.t.Helper()
	id := regexp.MustCompile(`Skerry node (\S+)\.`).FindStringSubmatch(p.output.String())
	if id == nil {
		p.t.Fatal("does not say who it is")
	}
	return id[1]
}

func (p *process) await(what string, is func(code int, body string) bool) {
	p.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		code, body := p.readyz()
		if is(code, body) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("no end of waiting for %s: last seen %d %s", what, code, body)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (p *process) awaitReady() {
	p.t.Helper()
	p.await(p.args[0]+" to be ready", func(code int, _ string) bool { return code == http.StatusOK })
}

// skerry runs a command and returns its exit code and all that it said.
func skerry(t *testing.T, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "skerry", args...)
	command.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=10")
	said, err := command.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), string(said)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, string(said)
}

// eventuallySaid repeats a command until it says something.
func eventuallySaid(t *testing.T, want string, args ...string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		said := mustSkerry(t, args...)
		if strings.Contains(said, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("skerry %s does not say %q: %s", strings.Join(args, " "), want, said)
		}
	}
}

func mustSkerry(t *testing.T, args ...string) string {
	t.Helper()
	code, said := skerry(t, args...)
	if code != 0 {
		t.Fatalf("skerry %s: exit %d\n%s", strings.Join(args, " "), code, said)
	}
	return said
}

// addBlock adds one block by a router, with the command.
func addBlock(t *testing.T, router string) {
	t.Helper()
	mustSkerry(t, "block", "add", "../../proto/testdata/blocks/L0.pb", "-addr", router)
}

// Three nodes wait, become a cluster, serve with two of them, take one back, and
// let a fourth in; whoever belongs elsewhere is refused.
func TestClusterOfProcesses(t *testing.T) {
	dirs := t.TempDir()
	dir := func(name string) string { return filepath.Join(dirs, name) }
	nodes := make([]*process, 3)
	for i := range nodes {
		nodes[i] = newNode(t, dir(fmt.Sprint(i)), 11+i)
		nodes[i].start()
	}
	addresses := []string{nodes[0].node, nodes[1].node, nodes[2].node}
	nodes[0].await("a node that waits", func(code int, body string) bool {
		return code == http.StatusServiceUnavailable && strings.Contains(body, "skerry init")
	})
	routers := []*process{newRouter(t, 21, addresses...), newRouter(t, 22, addresses[2])}
	for _, r := range routers {
		r.start()
	}

	said := mustSkerry(t, "init", "-nodes", strings.Join(addresses, ","), "-groups", "2")
	for _, want := range []string{"in zone zone-12", "3 nodes, 2 data groups of 3 replicas", addresses[2] + " serves", "Next:"} {
		if !strings.Contains(said, want) {
			t.Errorf("init said %s\nlacks %q", said, want)
		}
	}
	for _, p := range append(routers, nodes...) {
		p.awaitReady()
	}
	addBlock(t, routers[0].grpc)
	count := func(router *process) string {
		t.Helper()
		return mustSkerry(t, "query", "{}", "--tenant", "tenant-0", "--from", "2025-01-01T00:00:00Z", "-addr", router.grpc)
	}
	want := count(routers[1])
	if !strings.Contains(want, "01M80EAH225R5Y4ZNKMGP4K3G1") {
		t.Fatalf("the other router finds %s", want)
	}

	if code, said := skerry(t, "init", "-nodes", strings.Join(addresses, ",")); code != 0 || !strings.Contains(said, "already cluster") {
		t.Errorf("a second init: exit %d, %s", code, said)
	}
	if code, said := skerry(t, "init", "-nodes", addresses[0]); code != 1 || !strings.Contains(said, "founded with more nodes") {
		t.Errorf("an init of one of them: exit %d, %s", code, said)
	}

	nodes[0].kill()
	for _, r := range routers {
		if got := count(r); got != want {
			t.Errorf("with a node down a router finds %s, want %s", got, want)
		}
		addBlock(t, r.grpc)
	}
	for _, p := range append(routers, nodes[1:]...) {
		if code, body := p.readyz(); code != http.StatusOK {
			t.Errorf("unready since another is down: %d %s", code, body)
		}
	}
	nodes[0].start()
	nodes[0].awaitReady()
	nodes[1].stop()
	if got := count(nodes[0]); got != want {
		t.Errorf("the node that came back finds %s, want %s", got, want)
	}
	nodes[1].start()
	nodes[1].awaitReady()

	fourth := newNode(t, dir("3"), 14, "-join", strings.Join(addresses, ","))
	fourth.start()
	fourth.awaitReady()
	// Its node port serves operators, and the routers hear of it.
	id := fourth.nodeID()
	for _, address := range []string{fourth.node, routers[1].grpc} {
		eventuallySaid(t, id, "status", "-addr", address)
	}
	if code, said := skerry(t, "init", "-nodes", strings.Join(append(addresses, fourth.node, freeOn(t, "127.0.0.1")), ","), "-timeout", "1s"); code != 1 {
		t.Errorf("an init with more nodes: exit %d, %s", code, said)
	}
	for _, p := range append(routers, append(nodes, fourth)...) {
		p.stop()
	}
}

// A node that has a cluster does not enter another one.
func TestNodeOfAnotherCluster(t *testing.T) {
	one := newNode(t, t.TempDir(), 31)
	one.start()
	two := newNode(t, t.TempDir(), 32)
	two.start()
	for _, p := range []*process{one, two} {
		mustSkerry(t, "init", "-nodes", p.node, "-groups", "1")
	}
	two.stop()
	if code, said := skerry(t, "init", "-nodes", one.node); code != 0 || !strings.Contains(said, "already cluster") {
		t.Errorf("exit %d, %s", code, said)
	}
	two.args = append(two.args, "-join", one.node)
	two.start()
	// What answers at an address says nothing about the node: it goes on with its own.
	two.awaitReady()
	if code, said := skerry(t, "init", "-nodes", strings.Join([]string{one.node, two.node}, ","), "-timeout", "1s"); code == 0 {
		t.Errorf("two clusters became one: %s", said)
	}
	one.awaitReady()
}

// A serve, once grown, is a node like others.
func TestServeGrows(t *testing.T) {
	first := newNode(t, t.TempDir(), 41)
	first.args[0] = "serve"
	first.args = append(first.args, "-groups", "1")
	first.start()
	first.awaitReady()
	addBlock(t, first.grpc)
	want := mustSkerry(t, "query", "{}", "--tenant", "tenant-0", "--from", "2025-01-01T00:00:00Z", "-addr", first.grpc)
	var others []*process
	for i := range 2 {
		p := newNode(t, t.TempDir(), 42+i, "-join", first.node)
		p.start()
		others = append(others, p)
	}
	for _, p := range others {
		p.awaitReady()
	}
	got := mustSkerry(t, "query", "{}", "--tenant", "tenant-0", "--from", "2025-01-01T00:00:00Z", "-addr", others[1].grpc)
	if got != want {
		t.Errorf("the newcomer finds %s, want %s", got, want)
	}
}

// A cluster whose every connection is secured, and whose callers have roles: it
// is founded by whoever may speak for nodes, and used by whoever may write.
func TestSecuredCluster(t *testing.T) {
	ca := certstest.NewCA(t)
	issue := func(name string, roles ...string) certstest.Files {
		leaf := certstest.Leaf{CommonName: name, OrganizationalUnits: roles, DNSNames: []string{name}}
		for host := range 10 {
			leaf.IPs = append(leaf.IPs, net.IPv4(127, 0, 0, byte(50+host)))
		}
		return certstest.Write(t, t.TempDir(), ca.Issue(t, leaf), ca.PEM)
	}
	access := filepath.Join(t.TempDir(), "access.yaml")
	if err := os.WriteFile(access, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secured := func(name string, roles ...string) []string {
		files := issue(name, roles...)
		return []string{"-tls.cert-file", files.Cert, "-tls.key-file", files.Key, "-tls.ca-file", files.CA, "-tls.require-client-cert", "-auth.file", access}
	}
	as := func(roles ...string) []string {
		files := issue("caller", roles...)
		return []string{"-tls-cert", files.Cert, "-tls-key", files.Key, "-tls-ca", files.CA}
	}
	var addresses []string
	var nodes []*process
	for i := range 3 {
		p := newNode(t, t.TempDir(), 51+i, secured(fmt.Sprintf("node-%d", i), "skerry:node")...)
		p.start()
		nodes, addresses = append(nodes, p), append(addresses, p.node)
	}
	router := newRouter(t, 55, addresses...)
	router.args = append(router.args, secured("router", "skerry:node")...)
	router.start()
	init := []string{"init", "-groups", "1", "-nodes", strings.Join(addresses, ",")}
	if code, said := skerry(t, append(init, as("skerry:operate")...)...); code != exitFailure || !strings.Contains(said, "refuses Hello: PERMISSION_DENIED") {
		t.Errorf("an operator: exit %d, %s", code, said)
	}
	mustSkerry(t, append(init, as("skerry:node")...)...)
	add := []string{"block", "add", "../../proto/testdata/blocks/L0.pb", "-addr", router.grpc}
	if code, said := skerry(t, append(add, as("skerry:read")...)...); code != exitFailure || !strings.Contains(said, "PERMISSION_DENIED") {
		t.Errorf("a reader: exit %d, %s", code, said)
	}
	mustSkerry(t, append(add, as("skerry:write")...)...)
	// A node with a certificate of another sort does not get in.
	stranger := newNode(t, t.TempDir(), 56, secured("stranger", "skerry:operate")...)
	stranger.args = append(stranger.args, "-join", strings.Join(addresses, ","))
	stranger.start()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if slices.ContainsFunc(nodes, func(p *process) bool {
			return strings.Contains(p.output.String(), "call refused") && strings.Contains(p.output.String(), "stranger")
		}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody refused the stranger")
		}
	}
	if said := mustSkerry(t, append([]string{"status", "-addr", router.grpc}, as("skerry:read")...)...); strings.Contains(said, stranger.nodeID()) || !strings.Contains(said, nodes[0].nodeID()) {
		t.Errorf("a stranger is a member: %s", said)
	}
}
