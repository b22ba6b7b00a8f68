package figures

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/skerrydb/skerry/cmd/internal/clustertest"
)

var (
	enabled    = flag.Bool("figures", false, "measure; without it there is nothing to see")
	folder     = flag.String("figures.dir", "", "folder for data, logs, profiles and tables; all but data stays; empty for one that is removed")
	binaryPath = flag.String("figures.binary", "", "command to measure; empty builds it, with hooks for faults that nobody uses")
	moreArgs   = flag.String("figures.args", "", "more arguments of each process, divided by spaces")
)

// built returns the command, built once, into a folder that the test run removes.
var built func() (string, error)

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "skerry-figures-")
	if err != nil {
		panic(err)
	}
	built = sync.OnceValues(func() (string, error) {
		if *binaryPath != "" {
			return *binaryPath, nil
		}
		return clustertest.Build(context.Background(), dir)
	})
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// measures skips the test unless figures are wanted, and returns the command and
// an empty folder.
func measures(t *testing.T) (binary, dir string) {
	t.Helper()
	if !*enabled {
		t.Skip("measures only with -figures")
	}
	binary, err := built()
	must(t, err)
	if *folder == "" {
		return binary, t.TempDir()
	}
	dir, err = filepath.Abs(filepath.Join(*folder, t.Name()))
	must(t, err, os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
	return binary, dir
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// numbers is a flag of numbers divided by commas.
type numbers []int

func numbersFlag(name string, def numbers, usage string) *numbers {
	flag.Var(&def, name, usage)
	return &def
}

func (n *numbers) String() string {
	var texts []string
	for _, number := range *n {
		texts = append(texts, strconv.Itoa(number))
	}
	return strings.Join(texts, ",")
}

func (n *numbers) Set(text string) error {
	*n = nil
	for _, part := range strings.Split(text, ",") {
		number, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil {
			return fmt.Errorf("%q: want numbers divided by commas", text)
		}
		*n = append(*n, number)
	}
	return nil
}

// table is printed in Markdown, and kept beside the data.
type table struct {
	title   string
	columns []string
	rows    [][]string
	notes   []string
}

func (b *table) row(cells ...any) {
	var texts []string
	for _, cell := range cells {
		texts = append(texts, fmt.Sprint(cell))
	}
	b.rows = append(b.rows, texts)
	fmt.Println("measured:", strings.Join(texts, ", ")) // the table comes at the end of what may be a long run
}

func (b *table) note(format string, args ...any) {
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}

func (b *table) String() string {
	var text strings.Builder
	line := func(cells []string) { fmt.Fprintf(&text, "| %s |\n", strings.Join(cells, " | ")) }
	fmt.Fprintf(&text, "\n### %s\n\n", b.title)
	line(b.columns)
	text.WriteString("|" + strings.Repeat("---|", len(b.columns)) + "\n")
	for _, row := range b.rows {
		line(row)
	}
	if len(b.notes) > 0 {
		text.WriteString("\n")
	}
	for _, note := range b.notes {
		fmt.Fprintf(&text, "* %s\n", note)
	}
	return text.String()
}

func (b *table) print(t *testing.T, dir string) {
	t.Helper()
	fmt.Print(b.String())
	file, err := os.OpenFile(filepath.Join(dir, "figures.md"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	must(t, err)
	_, err = file.WriteString(b.String())
	must(t, err, file.Close())
}

func mebibytes(bytes float64) string { return fmt.Sprintf("%.1f MiB", bytes/(1<<20)) }
