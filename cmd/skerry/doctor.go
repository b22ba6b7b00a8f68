package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func doctorCommand() command {
	return command{
		name: "doctor", summary: "tell what is wrong with the cluster, what follows, and what to do",
		detail: `What the directory's leader found, and what can be seen from here: a router that does
not answer, nodes that the router does not reach, copies of the map that are behind,
several releases at once. Codes of findings are stable.

Exit codes: 0 nothing critical; 1 something is, or, with -strict, something that
warns; 2 wrong usage.
`,
		setup: setUpDoctor,
	}
}

func setUpDoctor(set *flag.FlagSet) action {
	c := clientFlags(set)
	strict := set.Bool("strict", false, "fail on warnings, too")
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		d := &doctor{asker: asker{ctx, c, conn}, again: 2 * time.Second}
		if err := d.examine(); err != nil {
			return err
		}
		view := d.view()
		return show(std, c, view, func(w io.Writer) error { return writeDiagnosis(w, view) }, view.verdict(*strict))
	}
}

// doctorView is a diagnosis in the order of fields that JSON output promises.
type doctorView struct {
	ClusterID  string        `json:"cluster_id"`
	NodesAlive int           `json:"nodes_alive"`
	Nodes      int           `json:"nodes"`
	Critical   int           `json:"critical"`
	Warnings   int           `json:"warnings"`
	Infos      int           `json:"infos"`
	Findings   []findingView `json:"findings"`
	Plan       []string      `json:"plan"`
	// The directory told what it knows: the numbers of nodes are true.
	Whole bool `json:"directory_answered"`
}

type findingView struct {
	Severity    string `json:"severity"`
	Code        string `json:"code"`
	Subject     string `json:"subject"`
	Cause       string `json:"cause"`
	Consequence string `json:"consequence"`
	Command     string `json:"command"`
}

func (d *doctor) view() doctorView {
	view := doctorView{
		ClusterID: cmp.Or(d.state.GetMap().GetCluster().GetClusterId(), d.status.GetMap().GetCluster().GetClusterId()),
		Findings:  []findingView{}, Plan: append([]string{}, d.state.GetPlan()...), Whole: d.state.whole(),
	}
	if view.Whole {
		for _, node := range present(d.state) {
			view.Nodes++
			if d.state.live(node.GetNodeId()).GetAlive() {
				view.NodesAlive++
			}
		}
	}
	findings := slices.Clone(d.findings)
	slices.SortStableFunc(findings, func(a, b *nodev1.Finding) int {
		return cmp.Or(cmp.Compare(b.GetSeverity(), a.GetSeverity()), strings.Compare(a.GetCode(), b.GetCode()), strings.Compare(a.GetSubject(), b.GetSubject()))
	})
	for _, f := range findings {
		switch f.GetSeverity() {
		case nodev1.Finding_SEVERITY_CRITICAL:
			view.Critical++
		case nodev1.Finding_SEVERITY_WARNING:
			view.Warnings++
		default:
			view.Infos++
		}
		view.Findings = append(view.Findings, findingView{
			enumName(f.GetSeverity().String(), "SEVERITY_"), f.GetCode(), f.GetSubject(), f.GetCause(), f.GetConsequence(), f.GetCommand(),
		})
	}
	return view
}

// verdict is the error that becomes the exit code.
func (v doctorView) verdict(strict bool) error {
	switch {
	case v.Critical > 0:
		return fmt.Errorf("%s", plural(uint64(v.Critical), "critical finding"))
	case strict && v.Warnings > 0:
		return fmt.Errorf("%s", plural(uint64(v.Warnings), "warning"))
	}
	return nil
}

func writeDiagnosis(w io.Writer, view doctorView) error {
	for _, f := range view.Findings {
		if _, err := fmt.Fprintf(w, "%s: %s: %s\n", strings.ToUpper(f.Severity), printable(oneLine(f.Subject)), printable(oneLine(f.Code))); err != nil {
			return err
		}
		for _, part := range []struct{ name, text string }{{"cause", f.Cause}, {"consequence", f.Consequence}, {"do", f.Command}} {
			if part.text == "" {
				continue
			}
			if _, err := fmt.Fprintf(w, "  %-12s %s\n", part.name, oneLine(part.text)); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
	}
	if err := writePlan(w, "", view.Plan, "\n"); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w, view.summary())
	return err
}

func (v doctorView) summary() string {
	found := "nothing found"
	if len(v.Findings) > 0 {
		found = fmt.Sprintf("%d critical, %s, %d for information", v.Critical, plural(uint64(v.Warnings), "warning"), v.Infos)
	}
	if !v.Whole {
		return found + "; the directory did not say what it knows"
	}
	return fmt.Sprintf("cluster %s: %s; %d of %s alive", printable(v.ClusterID), found, v.NodesAlive, plural(uint64(v.Nodes), "node"))
}
