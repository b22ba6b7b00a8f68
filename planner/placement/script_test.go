package placement_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerrydb/skerry/planner/placement"
	"github.com/skerrydb/skerry/planner/placement/drawing"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

var rewrite = flag.Bool("rewrite", false, "write what the scripts print into them")

// TestScripts runs testdata/*.txt: paragraphs of a drawing, commands, "----", and
// what they print. Commands: plan; check NODE STATE; choose. The drawing's lines
// come first, and hold for the paragraph only.
func TestScripts(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(string(content))
			if *rewrite {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(content) {
				t.Errorf("run with -rewrite and look at the difference; got:\n%s", got)
			}
		})
	}
}

func runScript(content string) string {
	var out []string
	for paragraph := range strings.SplitSeq(strings.TrimSpace(content), "\n\n") {
		input, _, _ := strings.Cut(paragraph, "\n----")
		var lines, commands []string
		for line := range strings.SplitSeq(input, "\n") {
			switch word, _, _ := strings.Cut(line, " "); word {
			case "plan", "check", "choose":
				commands = append(commands, line)
			default:
				lines = append(lines, line)
			}
		}
		if len(commands) > 0 {
			input += "\n----\n" + strings.TrimSpace(runCommands(strings.Join(lines, "\n"), commands))
		}
		out = append(out, strings.TrimSpace(input))
	}
	return strings.Join(out, "\n\n") + "\n"
}

func runCommands(lines string, commands []string) string {
	d, err := drawing.Read(lines)
	if err != nil {
		return "error: " + err.Error()
	}
	var b strings.Builder
	each := func(prefix string, lines []string) {
		for _, line := range lines {
			fmt.Fprintf(&b, "%s%s\n", prefix, line)
		}
	}
	for _, command := range commands {
		words := strings.Fields(command)
		switch words[0] {
		case "plan":
			actions, notes := placement.Plan(d.Picture, placement.Defaults())
			for _, a := range actions {
				fmt.Fprintln(&b, a)
			}
			each("note: ", notes)
			if len(actions)+len(notes) == 0 {
				fmt.Fprintln(&b, "nothing to do")
			}
		case "check":
			to := clusterv1.NodeState(clusterv1.NodeState_value["NODE_STATE_"+strings.ToUpper(words[2])])
			v := placement.Check(d.Picture, placement.Defaults(), words[1], to)
			each("impossible: ", v.Impossible)
			each("obstacle: ", v.Obstacles)
			each("step: ", v.Steps)
		case "choose":
			nodes, err := placement.ChooseNodes(d.Picture, placement.Defaults())
			fmt.Fprintln(&b, nodes, err)
		}
	}
	return b.String()
}
