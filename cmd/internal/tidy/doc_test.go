// Package tidy holds the rules that the whole repository keeps, as tests:
//
//	go test ./cmd/internal/tidy
//
// Each rule is a function over a file tree that returns what is wrong. It is
// applied to the repository, and to small made-up trees that break it: a rule
// that cannot fail is none. Debt has lists that must shrink.
package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// rule returns one line for each offence, beginning with the file.
type rule func(fs.FS) ([]string, error)

// root is the folder of go.mod, above the tests' working directory.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = parent
	}
}

// keeps demands that the repository keeps a rule.
func keeps(t *testing.T, check rule) {
	t.Helper()
	offences, err := check(os.DirFS(root(t)))
	if err != nil {
		t.Fatal(err)
	}
	for _, offence := range offences {
		t.Error(offence)
	}
}

// breaks demands that a rule finds exactly the named offences in a made-up tree:
// each is the begin of a line, in sorted order.
func breaks(t *testing.T, check rule, namesAndContents []string, want ...string) {
	t.Helper()
	got, err := check(tree(namesAndContents...))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("found %q, want %q", got, want)
	}
	slices.Sort(got)
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("found %q, want %q", got[i], want[i])
		}
	}
}

// tree makes a file tree of names and contents, in turn.
func tree(namesAndContents ...string) fs.FS {
	made := fstest.MapFS{}
	for i := 0; i+1 < len(namesAndContents); i += 2 {
		made[namesAndContents[i]] = &fstest.MapFile{Data: []byte(namesAndContents[i+1])}
	}
	return made
}

// files calls visit for each file with the suffix, in order. Folders that the go
// command ignores, and the git-ignored data folder, are left out.
func files(tree fs.FS, suffix string, visit func(name string, content []byte) error) error {
	return fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != "." && (strings.ContainsAny(entry.Name()[:1], "._") || entry.Name() == "testdata" || name == "data") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, suffix) {
			return nil
		}
		content, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		return visit(name, content)
	})
}

// goFiles is files for Go, parsed.
func goFiles(tree fs.FS, visit func(name string, content []byte, file *ast.File, positions *token.FileSet) error) error {
	return files(tree, ".go", func(name string, content []byte) error {
		positions := token.NewFileSet()
		file, err := parser.ParseFile(positions, name, content, parser.ParseComments)
		if err != nil {
			return fmt.Errorf("parse: %w", err)
		}
		return visit(name, content, file, positions)
	})
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

// inFolder tells whether a file lies in a folder or below.
func inFolder(name, folder string) bool { return strings.HasPrefix(path.Dir(name)+"/", folder+"/") }
