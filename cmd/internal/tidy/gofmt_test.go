package tidy

import (
	"bytes"
	"fmt"
	"go/format"
	"io/fs"
	"testing"
)

// formatted demands what gofmt would write.
func formatted(tree fs.FS) ([]string, error) {
	var offences []string
	err := files(tree, ".go", func(name string, content []byte) error {
		want, err := format.Source(content)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if !bytes.Equal(want, content) {
			offences = append(offences, name+": not formatted: run gofmt -w "+name)
		}
		return nil
	})
	return offences, err
}

func TestFormatted(t *testing.T) {
	keeps(t, formatted)
	breaks(t, formatted, []string{
		"a/good.go", "package a\n\nvar x = 1\n",
		"a/space.go", "package a\n\nvar x  = 1\n",
		"a/test_test.go", "package a\nvar x = 1\n",
	}, "a/space.go: ", "a/test_test.go: ")
}
