package tidy

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"testing"
)

// This file names the words, so it is not searched.
const wordsFile = "cmd/internal/tidy/words_test.go"

var deferring = regexp.MustCompile(`\b(TODO|FIXME|XXX)\b`)

// finished refuses notes of work left undone, in code and in tests.
func finished(tree fs.FS) ([]string, error) {
	var offences []string
	err := files(tree, ".go", func(name string, content []byte) error {
		if name == wordsFile {
			return nil
		}
		for _, at := range deferring.FindAllIndex(content, -1) {
			line := 1 + bytes.Count(content[:at[0]], []byte("\n"))
			offences = append(offences, fmt.Sprintf("%s:%d: %s: do it or leave it; notes of undone work rot", name, line, content[at[0]:at[1]]))
		}
		return nil
	})
	return offences, err
}

func TestFinished(t *testing.T) {
	keeps(t, finished)
	breaks(t, finished, []string{
		"a/a.go", "package a\n\n// TODO: more\nvar x = \"FIXME\" // XXX",
		"a/a_test.go", "package a\n\nvar ctx = context.TODO()\n",
		"a/good.go", "package a\n\nvar todo, TODOs, XXXX, XXX_a int\n",
		"a/notes.txt", "TODO\n",
		wordsFile, "// TODO\n",
	}, "a/a.go:3: TODO", "a/a.go:4: FIXME", "a/a.go:4: XXX", "a/a_test.go:3: TODO")
}
