package shardgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentityIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	first, err := loadIdentity(dir, Options{Found: true}.founding())
	if err != nil {
		t.Fatal(err)
	}
	second, err := loadIdentity(dir, Options{Found: true}.founding())
	if err != nil || second != first {
		t.Errorf("%+v, %v, want %+v", second, err, first)
	}
	other, err := loadIdentity(t.TempDir(), Options{Found: true}.founding())
	if err != nil || other.ClusterID == first.ClusterID || other.NodeID == first.NodeID {
		t.Errorf("two clusters share an identity: %+v, %v", other, err)
	}
}

func TestIdentityRefusals(t *testing.T) {
	format := func(n int) string { return fmt.Sprintf(`"format":%d`, n) }
	known := format(identityFormatAlone)
	good := `{` + known + `,"cluster_id":"781759dd-31df-4f24-9cb7-a9d7db00a9ef","node_id":"ebb89aca-41bc-48f3-b0fd-217d7692dd8e"}`
	for name, test := range map[string]struct{ file, content, want string }{
		"newer format":  {identityFile, strings.Replace(good, known, format(identityFormat+1)+`,"more":{}`, 1), "run the release that wrote it"},
		"identity lost": {"store", "", "is missing beside the data: restore it"},
		"foreign files": {"photos.zip", "", "choose an empty or a new directory"},
		"empty":         {identityFile, "", "restore the file from a backup"},
		"no JSON":       {identityFile, "{", "restore the file from a backup"},
		"unknown field": {identityFile, strings.Replace(good, "node_id", "node", 1), "restore the file from a backup"},
		"no cluster":    {identityFile, `{` + known + `,"node_id":"ebb89aca-41bc-48f3-b0fd-217d7692dd8e"}`, "restore the file from a backup"},
		"older format":  {identityFile, strings.Replace(good, known, format(identityFormatFirst-1), 1), "start with an empty directory"},
		"no format":     {identityFile, strings.Replace(good, known, format(0), 1), "restore the file from a backup"},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, test.file)
		if err := os.WriteFile(path, []byte(test.content), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := loadIdentity(dir, Options{Found: true}.founding())
		if !errors.Is(err, ErrDataDir) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != test.content {
			t.Errorf("%s: the file was changed", name)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("%s: files were added", name)
		}
	}
}

// A crash while the first identity was being written leaves a usable directory.
func TestIdentityAfterCrash(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, temporaryPrefix+identityFile), []byte(`{"form`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := loadIdentity(dir, Options{Found: true}.founding()); err != nil {
		t.Error(err)
	}
}

func TestNewFileSystemIsEmpty(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := loadIdentity(dir, Options{Found: true}.founding()); err != nil {
		t.Error(err)
	}
}
