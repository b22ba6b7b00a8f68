package tidy

import (
	"go/ast"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A comment on the package statement of a .proto file. The plugins copy it into
// generated code, but where Go does not see it.
var protoPackageDoc = regexp.MustCompile(`(?m)^//.*\npackage [\w.]+;`)

// packageDocs demands that each package says what it is for, in Go or in the
// .proto file beside it.
func packageDocs(tree fs.FS) ([]string, error) {
	documented := map[string]bool{}
	err := goFiles(tree, func(name string, _ []byte, file *ast.File, _ *token.FileSet) error {
		if strings.HasSuffix(file.Name.Name, "_test") {
			return nil
		}
		dir := path.Dir(name)
		documented[dir] = documented[dir] || strings.TrimSpace(file.Doc.Text()) != ""
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = files(tree, ".proto", func(name string, content []byte) error {
		if _, isGo := documented[path.Dir(name)]; isGo && protoPackageDoc.Match(content) {
			documented[path.Dir(name)] = true
		}
		return nil
	})
	var offences []string
	for dir, has := range documented {
		if !has {
			offences = append(offences, dir+": the package has no doc comment: say what it is for, and what it never does")
		}
	}
	slices.Sort(offences)
	return offences, err
}

func TestPackageDocs(t *testing.T) {
	keeps(t, packageDocs)
	breaks(t, packageDocs, []string{
		"good/a.go", "// Package good is good.\npackage good\n",
		"good/b.go", "package good\n",
		"bare/a.go", "// Detached.\n\npackage bare\n",
		"directive/a.go", "//go:build linux\npackage directive\n",
		"tests/a_test.go", "package tests\n",
		"tests/b_test.go", "// Package tests_test does not count.\npackage tests_test\n",
		"testdata/a.go", "package ignored\n",
		"proto/a.pb.go", "// From a.proto.\n\npackage a\n",
		"proto/a.proto", "syntax = \"proto3\";\n\n// Says what.\npackage x.a;\n",
		"silent/b.pb.go", "package b\n",
		"silent/b.proto", "// License.\n\npackage x.b;\n",
		"only/c.proto", "package x.c;\n",
	}, "bare: ", "directive: ", "silent: ", "tests: ")
}
