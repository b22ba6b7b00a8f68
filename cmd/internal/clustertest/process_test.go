package clustertest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell is a process that runs a script.
func shell(t *testing.T, script string) *Process {
	t.Helper()
	p := &Process{Name: "script", Path: "/bin/sh", Args: []string{"-c", script}, LogPath: filepath.Join(t.TempDir(), "logs", "script.log")}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *Process) wantStart(t *testing.T) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
}

// wantLog waits until the log has a text.
func (p *Process) wantLog(t *testing.T, text string) {
	t.Helper()
	soon(t, "the log has "+text, func() bool { return strings.Contains(p.Tail(100), text) })
}

func soon(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// state is the letter that the kernel has for what a process does.
func (p *Process) state(t *testing.T) string {
	t.Helper()
	output, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(p.command.Process.Pid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(output))
}

func TestProcessLives(t *testing.T) {
	p := shell(t, `trap 'echo "$GREETING bye"; exit 3' TERM; echo up; while :; do sleep 0.01; done`)
	p.Env = []string{"GREETING=well"}
	if p.Running() || p.Kill() != nil {
		t.Error("it runs before it was started")
	}
	p.wantStart(t)
	if err := p.Start(); err == nil {
		t.Error("it was started twice")
	}
	p.wantLog(t, "\nup")
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	soon(t, "it is stopped", func() bool { return p.state(t) == "T" })
	if err := p.Continue(); err != nil {
		t.Error(err)
	}
	soon(t, "it goes on", func() bool { return p.state(t) != "T" })
	if err := p.Terminate(10 * time.Second); err == nil || err.Error() != "exit status 3" {
		t.Errorf("it ended with %v", err)
	}
	p.wantLog(t, "well bye")
	if p.Running() {
		t.Error("it runs after its end")
	}
	p.wantStart(t)
	p.wantLog(t, "life 2")
	// Stopped processes can be killed.
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if err := p.Kill(); err != nil || p.Running() || p.Lives() != 2 || !strings.Contains(p.End().Error(), "killed") {
		t.Errorf("killed: %v, %v", err, p.End())
	}
	if err := p.Stop(); err == nil {
		t.Error("the dead can be stopped")
	}
}

func TestProcessThatIgnoresSIGTERM(t *testing.T) {
	p := shell(t, `trap '' TERM; echo up; while :; do sleep 0.01; done`)
	p.wantStart(t)
	p.wantLog(t, "\nup")
	if err := p.Terminate(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "did not end") {
		t.Errorf("ended with %v", err)
	}
}

func TestAwaitReady(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked < 3 {
			http.Error(w, "no leader", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	p := shell(t, "sleep 100")
	p.ReadyURL = server.URL
	p.wantStart(t)
	if err := p.AwaitReady(t.Context()); err != nil || asked != 3 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	asked = -1000
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.AwaitReady(ctx); err == nil || !strings.Contains(err.Error(), "no leader") {
		t.Errorf("got %v", err)
	}
	dead := shell(t, "echo last words; exit 1")
	dead.ReadyURL = "http://127.0.0.1:1"
	dead.wantStart(t)
	if err := dead.AwaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), "last words") {
		t.Errorf("got %v", err)
	}
}

func TestCrashes(t *testing.T) {
	p := shell(t, `echo 'a panic: in the middle'; echo 'panic: at the begin'; echo; echo 'goroutine 1'; for i in $(seq 100); do echo line $i; done; echo 'WARNING: DATA RACE'; echo x`)
	if crashes, err := p.Crashes(); crashes != nil || err != nil {
		t.Errorf("before it was started: %q, %v", crashes, err)
	}
	p.wantStart(t)
	<-p.Exited()
	crashes, err := p.Crashes()
	if err != nil || len(crashes) != 2 || !strings.HasPrefix(crashes[0], "script: panic: at the begin\n\ngoroutine 1\nline 1\n") ||
		strings.Contains(crashes[0], "line 50") || crashes[1] != "script: WARNING: DATA RACE\nx" {
		t.Errorf("crashes are %q, %v", crashes, err)
	}
}

// Processes end with the test, whatever becomes of it; not with the thread that
// happened to start them.
func TestProcessesDieWithTheirParent(t *testing.T) {
	if dir := os.Getenv("CLUSTERTEST_PARENT"); dir != "" {
		p := &Process{Name: "child", Path: "/bin/sh", Args: []string{"-c", "echo $$ > " + dir + "/pid; sleep 100"}, LogPath: dir + "/log"}
		p.wantStart(t)
		soon(t, "the child runs", func() bool { content, _ := os.ReadFile(dir + "/pid"); return len(content) > 1 })
		syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:errcheck // cannot fail
	}
	dir := t.TempDir()
	parent := exec.Command(os.Args[0], "-test.run", "^TestProcessesDieWithTheirParent$")
	parent.Env = append(os.Environ(), "CLUSTERTEST_PARENT="+dir)
	if err := parent.Run(); err == nil {
		t.Fatal("the parent was not killed")
	}
	content, err := os.ReadFile(dir + "/pid")
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "the child is gone", func() bool {
		_, err := os.Stat("/proc/" + strings.TrimSpace(string(content)))
		return os.IsNotExist(err)
	})
}
