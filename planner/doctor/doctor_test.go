package doctor_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/planner/doctor"
	"github.com/skerrydb/skerry/planner/placement"
	"github.com/skerrydb/skerry/planner/placement/drawing"
)

var rewrite = flag.Bool("rewrite", false, "write the findings into testdata")

// TestFindings compares testdata/*.txt: drawings, "----", and what is found.
func TestFindings(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatal("no drawings", err)
	}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for paragraph := range strings.SplitSeq(strings.TrimSpace(string(content)), "\n\n") {
			input, _, _ := strings.Cut(paragraph, "\n----")
			out = append(out, input+"\n----\n"+strings.TrimSpace(diagnose(input)))
		}
		got := strings.Join(out, "\n\n") + "\n"
		if *rewrite {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got != string(content) {
			t.Errorf("%s: run with -rewrite and look at the difference; got:\n%s", name, got)
		}
	}
}

func diagnose(lines string) string {
	d, err := drawing.Read(lines)
	if err != nil {
		return "error: " + err.Error()
	}
	findings := doctor.Diagnose(d.Picture, d.Operations, placement.Defaults())
	if len(findings) == 0 {
		return "nothing"
	}
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%s %s: %s: %s\n  so: %s\n  do: %s\n", strings.TrimPrefix(f.Severity.String(), "SEVERITY_"), f.Code, f.Subject, f.Cause, f.Consequence, f.Command)
	}
	return b.String()
}

// TestCommandsExist: what findings tell people to run is there.
func TestCommandsExist(t *testing.T) {
	known := []string{"nodes", "groups", "ranges", "leaders", "drain", "decommission", "replace", "status", "doctor", "upgrade finalize"}
	named := regexp.MustCompile(`skerry ([a-z]+(?: finalize)?)`)
	names, _ := filepath.Glob("testdata/*.txt")
	found := 0
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(content), -1) {
			found++
			if !strings.Contains(" "+strings.Join(known, " , ")+" ", " "+m[1]+" ") {
				t.Errorf("%s: no command %q", name, m[0])
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d commands named", found)
	}
}

// TestEveryCode: each finding occurs, and is filled.
func TestEveryCode(t *testing.T) {
	sources, _ := filepath.Glob("*.go")
	code := regexp.MustCompile(`(?:info|warning|critical), "([a-z-]+)"`)
	var texts strings.Builder
	names, _ := filepath.Glob("testdata/*.txt")
	for _, name := range names {
		content, _ := os.ReadFile(name)
		texts.Write(content)
	}
	codes := 0
	for _, name := range sources {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range code.FindAllStringSubmatch(string(content), -1) {
			codes++
			if !strings.Contains(texts.String(), " "+m[1]+": ") {
				t.Errorf("%s is found in no drawing", m[1])
			}
		}
	}
	if codes < 20 {
		t.Errorf("only %d codes", codes)
	}
	if got := doctor.Diagnose(placement.Picture{}, nil, placement.Defaults()); len(got) != 0 {
		t.Error("findings without a map", got)
	}
}
