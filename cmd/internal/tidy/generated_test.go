package tidy

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// All files of the generator end so: *_grpc.pb.go and *_vtproto.pb.go, too.
const generatedSuffix = ".pb.go"

// current demands that the generated files of a tree are, byte for byte, those
// of a fresh run: none missing, none left over.
func current(fresh fs.FS) rule {
	return func(tree fs.FS) ([]string, error) {
		want := map[string][]byte{}
		if err := files(fresh, generatedSuffix, func(name string, content []byte) error {
			want[name] = content
			return nil
		}); err != nil {
			return nil, err
		}
		var offences []string
		err := files(tree, generatedSuffix, func(name string, content []byte) error {
			expected, made := want[name]
			delete(want, name)
			if !made {
				offences = append(offences, name+": left over: the generator does not make it any more")
			} else if !bytes.Equal(expected, content) {
				offences = append(offences, name+": not current: run go generate ./proto")
			}
			return nil
		})
		for name := range want {
			offences = append(offences, name+": missing: run go generate ./proto")
		}
		slices.Sort(offences)
		return offences, err
	}
}

func TestGeneratedCodeIsCurrent(t *testing.T) {
	dir, out := root(t), t.TempDir()
	generate := exec.CommandContext(t.Context(), "go", "run", "./proto/internal/generate", "-out", out, "proto")
	generate.Dir = dir
	if output, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	fresh, tree := os.DirFS(out), os.DirFS(dir)
	made := 0
	if err := files(fresh, generatedSuffix, func(string, []byte) error { made++; return nil }); err != nil || made == 0 {
		t.Fatalf("the generator made %d files, %v", made, err)
	}
	sub, err := fs.Sub(tree, "proto")
	if err != nil {
		t.Fatal(err)
	}
	offences, err := current(fresh)(sub)
	if err != nil {
		t.Fatal(err)
	}
	for _, offence := range offences {
		t.Error("proto/" + offence)
	}
	// Elsewhere there is none: it would not be compared.
	if err := files(tree, generatedSuffix, func(name string, _ []byte) error {
		if !strings.HasPrefix(name, "proto/") {
			t.Errorf("%s: generated code lives in proto", name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestCurrent(t *testing.T) {
	fresh := tree("a/same.pb.go", "1", "a/changed.pb.go", "2", "a/new_grpc.pb.go", "3")
	breaks(t, current(fresh), []string{
		"a/same.pb.go", "1", "a/changed.pb.go", "1", "a/old_vtproto.pb.go", "4", "a/mine.go", "5",
	}, "a/changed.pb.go: not current", "a/new_grpc.pb.go: missing", "a/old_vtproto.pb.go: left over")
}
