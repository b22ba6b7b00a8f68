package shardgroup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/lni/dragonboat/v4/raftpb"
)

func writeRaftDir(t *testing.T, host string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, host, "1"), 0o755); err != nil {
		t.Fatal(err)
	}
	encoded, err := (&raftpb.RaftDataStatus{Hostname: host, Address: "a:1", LogdbShardCount: 4, DeploymentId: 7}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, raftStatusFile), append(raftStatusSum(encoded), encoded...), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func wantHost(t *testing.T, dir, host string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, host, "1")); err != nil {
		t.Error(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, raftStatusFile))
	if err != nil {
		t.Fatal(err)
	}
	var status raftpb.RaftDataStatus
	if err := status.Unmarshal(content[raftStatusHash:]); err != nil || status.Hostname != host || status.LogdbShardCount != 4 {
		t.Errorf("%+v, %v", status, err)
	}
}

func TestRaftLogFollowsTheHostname(t *testing.T) {
	if err := followHostname(filepath.Join(t.TempDir(), "none"), "a", 7); err != nil {
		t.Errorf("first start: %v", err)
	}
	dir := writeRaftDir(t, "a")
	for _, host := range []string{"a", "b", "c.example"} {
		if err := followHostname(dir, host, 7); err != nil {
			t.Fatal(err)
		}
		wantHost(t, dir, host)
	}
	// A crash after the folder was renamed.
	if err := os.Rename(filepath.Join(dir, "c.example"), filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	if err := followHostname(dir, "d", 7); err != nil {
		t.Fatal(err)
	}
	wantHost(t, dir, "d")
}

func TestRaftLogsOfTwoHostsAreRefused(t *testing.T) {
	dir := writeRaftDir(t, "a")
	if err := os.Mkdir(filepath.Join(dir, "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := followHostname(dir, "a", 7); !errors.Is(err, ErrDataDir) {
		t.Error(err)
	}
}

func TestDamagedRaftStatusIsRefused(t *testing.T) {
	dir := writeRaftDir(t, "a")
	path := filepath.Join(dir, raftStatusFile)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := followHostname(dir, "a", 7); !errors.Is(err, ErrDataDir) {
		t.Error(err)
	}
}

func TestRaftLogOfAnotherClusterIsRefused(t *testing.T) {
	dir := writeRaftDir(t, "a")
	if err := followHostname(dir, "a", 8); !errors.Is(err, ErrDataDir) {
		t.Error(err)
	}
}
