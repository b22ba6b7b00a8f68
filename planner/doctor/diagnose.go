package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/skerrydb/skerry/planner/placement"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	info     = nodev1.Finding_SEVERITY_INFO
	warning  = nodev1.Finding_SEVERITY_WARNING
	critical = nodev1.Finding_SEVERITY_CRITICAL
)

// Bounds after which something is worth a word.
const (
	forgottenAfter = time.Hour
	stuckAfter     = 10 * time.Minute
	skewMax        = 10 * time.Second
)

// Diagnose returns what an operator should know: the worst first, then by code and
// subject. Operations are those of the directory; finished ones are ignored.
func Diagnose(p placement.Picture, operations []*clusterv1.Operation, c placement.Config) []*nodev1.Finding {
	if p.Map.GetCluster() == nil {
		return nil
	}
	d := &diagnosis{picture: p, Judgement: placement.Judge(p, c), c: c, together: map[string]*common{}}
	d.nodes()
	d.groups()
	d.operations(operations)
	d.formats()
	d.leaders()
	d.join()
	slices.SortStableFunc(d.findings, func(a, b *nodev1.Finding) int {
		return cmp.Or(-cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Code, b.Code))
	})
	return d.findings
}

type diagnosis struct {
	picture placement.Picture
	placement.Judgement
	c        placement.Config
	findings []*nodev1.Finding
	together map[string]*common
	order    []string
}

// common is one finding about several groups.
type common struct {
	finding *nodev1.Finding
	groups  []uint64
}

func (d *diagnosis) find(severity nodev1.Finding_Severity, code, subject, cause, consequence, command string) {
	d.findings = append(d.findings, &nodev1.Finding{
		Severity: severity, Code: code, Subject: subject, Cause: cause, Consequence: consequence, Command: command,
	})
}

// findTogether joins findings about groups that are alike.
func (d *diagnosis) findTogether(group uint64, severity nodev1.Finding_Severity, code, cause, consequence, command string) {
	key := code + "\x00" + cause
	if d.together[key] == nil {
		d.together[key] = &common{finding: &nodev1.Finding{Severity: severity, Code: code, Cause: cause, Consequence: consequence, Command: command}}
		d.order = append(d.order, key)
	}
	d.together[key].groups = append(d.together[key].groups, group)
}

// Groups that one finding names.
const namesMax = 10

func (d *diagnosis) join() {
	for _, key := range d.order {
		about := d.together[key]
		subject := "group"
		if len(about.groups) > 1 {
			subject = "groups"
		}
		for i, id := range about.groups {
			if i == namesMax {
				subject += fmt.Sprintf(" and %d more", len(about.groups)-i)
				break
			}
			if i > 0 {
				subject += ","
			}
			subject += fmt.Sprintf(" %d", id)
		}
		about.finding.Subject = subject
		d.findings = append(d.findings, about.finding)
	}
}

func (d *diagnosis) row(id string) *clusterv1.Node {
	for _, n := range d.picture.Map.GetNodes() {
		if n.GetNodeId() == id {
			return n
		}
	}
	return nil
}

// since is the time from a moment that somebody wrote down.
func (d *diagnosis) since(at int64) time.Duration {
	if at == 0 {
		return 0
	}
	return time.Duration(int64(d.picture.Now) - at)
}

// span is a length of time for people.
func span(t time.Duration) string {
	switch {
	case t >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(t.Hours()), int(t.Minutes())%60)
	case t >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(t.Minutes()), int(t.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(t.Seconds()))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
