package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// inspect runs the command in this process.
func inspect(args ...string) (int, string) {
	var out bytes.Buffer
	code := run(context.Background(), streams{out: &out, err: &out, env: os.LookupEnv}, append([]string{"inspect"}, args...))
	return code, out.String()
}

func TestInspect(t *testing.T) {
	dir := t.TempDir()
	s := startServe(t, dir)
	blocks := readBlocks(t, "../../proto/testdata/blocks/L0.pb")
	for _, block := range blocks[:5] {
		if err := s.add(block); err != nil {
			t.Fatal(err)
		}
	}
	if code, out := inspect("tree", "-data-dir", dir); code != exitFailure || !strings.Contains(out, "is running: stop it first") {
		t.Errorf("a running node: %d, %s", code, out)
	}
	s.stop()

	code, tree := inspect("tree", "-data-dir", dir)
	if code != exitOK || !strings.Contains(tree, "directory/groups") || !strings.Contains(tree, "partition 2026-11-22T00Z, shard ") {
		t.Errorf("tree: %d\n%s", code, tree)
	}
	group, bucket := findShard(t, tree)
	for _, test := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"check"}, exitOK, []string{"group 0: ok", "group 1: ok", "group 2: ok"}},
		{[]string{"hash"}, exitOK, []string{"GROUP", "APPLIED", "STATE", "DATA"}},
		{[]string{"hash", "-o", "json"}, exitOK, []string{`"group": 1,`, `"applied": `}},
		{[]string{"hash", "extra"}, exitUsage, []string{`unexpected argument "extra"`}},
		{[]string{"scan", "-group", group, "-bucket", bucket}, exitOK, []string{"block " + blocks[0].Id, "strings from 1", "record"}},
		{[]string{"scan", "-group", group, "-bucket", bucket, "-limit", "1"}, exitOK, []string{"more rows: -from 0x62"}},
		{[]string{"scan", "-group", group, "-bucket", bucket, "-from", "r"}, exitOK, []string{"record"}},
		{[]string{"get", "r", "-group", group, "-bucket", bucket}, exitOK, []string{"object bytes"}},
		{[]string{"get", "state", "-bucket", "meta", "--group=" + group}, exitOK, []string{"group " + group + ", applied "}},
		{[]string{"scan", "-bucket", "directory/nodes"}, exitOK, []string{`"apiAddress"`}},
		{[]string{"scan", "-bucket", "directory"}, exitOK, []string{"groups/  a bucket", `"clusterId"`}},
		{[]string{"get", "nothing", "-bucket", "meta"}, exitFailure, []string{"there is no key nothing in bucket meta"}},
		{[]string{"scan", "-bucket", "no/where"}, exitFailure, []string{"there is no bucket no/where"}},
		{[]string{"scan"}, exitUsage, []string{"-bucket is needed"}},
		{[]string{"get", "-bucket", "meta"}, exitUsage, []string{"0 keys are given"}},
		{[]string{"get", "0xabc", "-bucket", "meta"}, exitUsage, []string{"hexadecimal"}},
		{[]string{"tree", "extra"}, exitUsage, []string{`unexpected argument "extra"`}},
	} {
		code, out := inspect(append(test.args, "-data-dir", dir)...)
		if code != test.code {
			t.Errorf("%v: exit code %d, want %d", test.args, code, test.code)
		}
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v lacks %q:\n%s", test.args, want, out)
			}
		}
	}
	if code, out := inspect("tree", "-data-dir", filepath.Join(dir, "nowhere")); code != exitFailure {
		t.Errorf("no directory: %d, %s", code, out)
	}
	// A copy without its lock file is read and told of.
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(copied, "store", "LOCK")); err != nil {
		t.Fatal(err)
	}
	if code, out := inspect("check", "-data-dir", copied); code != exitOK || !strings.Contains(out, "note: the store is not locked") {
		t.Errorf("a copy: %d, %s", code, out)
	}
	if _, err := os.Stat(filepath.Join(copied, "store", "LOCK")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("looking made a lock file: %v", err)
	}
	// Looking changed nothing.
	s = startServe(t, dir)
	compareAll(t, s, blocks[:5])
	s.stop()
}

// findShard returns the group and the bucket that hold the first segments.
func findShard(t *testing.T, tree string) (group, bucket string) {
	t.Helper()
	for line := range strings.Lines(tree) {
		if rest, ok := strings.CutPrefix(line, "group "); ok {
			group, _, _ = strings.Cut(rest, ":")
		}
		if strings.HasPrefix(line, "stream/0x") {
			bucket, _, _ = strings.Cut(line, " ")
			return group, bucket
		}
	}
	t.Fatalf("no segments in\n%s", tree)
	return "", ""
}

func TestBytesText(t *testing.T) {
	for _, name := range []string{"", "plain", "0x", "0xab", "a/b", "a b", "\x00\xff", "é"} {
		got, err := parseBytes(bytesText([]byte(name)))
		if err != nil || string(got) != name {
			t.Errorf("%q is written as %s and read as %q, %v", name, bytesText([]byte(name)), got, err)
		}
	}
}
