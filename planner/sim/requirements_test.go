package sim

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRequirementsAreTested demands that each requirement in the table of the design
// note is named in one of the tests beside it.
func TestRequirementsAreTested(t *testing.T) {
	note, err := os.ReadFile("../DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (R-[A-Z]+-)([0-9, ]+) \|[^|]*\| (.+) \|$`)
	file := regexp.MustCompile("`([^`]+)`")
	count := 0
	for _, cells := range row.FindAllStringSubmatch(string(note), -1) {
		var tests strings.Builder
		for _, name := range file.FindAllStringSubmatch(cells[3], -1) {
			content, err := os.ReadFile(filepath.Join("..", name[1]))
			if err != nil {
				t.Error(err)
			}
			tests.Write(content)
		}
		for _, number := range strings.Split(cells[2], ", ") {
			count++
			if !regexp.MustCompile(regexp.QuoteMeta(cells[1]+number) + `\b`).MatchString(tests.String()) {
				t.Errorf("%s%s is not named in %s", cells[1], number, cells[3])
			}
		}
	}
	if count < 60 {
		t.Errorf("only %d requirements found in the table", count)
	}
}
