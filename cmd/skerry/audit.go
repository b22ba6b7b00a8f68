package main

import (
	"context"
	"flag"
	"io"
	"path"
	"strings"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/audit"
	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// Actions that are listed at most.
const auditLimitMax = 1_000_000

func auditCommand() command {
	return command{
		name: "audit", args: "FILE", summary: "show what operators did, from the audit log of a process",
		detail: `FILE is what -audit.file names where a router or node runs; files that it was rotated
into are read, too. Each process has a log of its own: of what was asked of it. An
action is one row, oldest first. One that is unfinished may have taken effect, unless
it is under way. The JSON output has the lines of the log.
`,
		setup: setUpAudit,
	}
}

func setUpAudit(set *flag.FlagSet) action {
	format := flags.NewChoice(formatTable, formatJSON)
	set.Var(format, "o", "`FORMAT` output: table, json")
	limit := set.Uint("limit", 1000, "`N` how many lines of the log, the youngest ones")
	who := set.String("who", "", "`NAME` only what this caller did")
	return func(_ context.Context, std streams, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return flags.Usagef("give one audit log, the file that -audit.file names")
		}
		if *limit < 1 || *limit > auditLimitMax {
			return flags.Usagef("-limit is %d: want 1 to %d", *limit, auditLimitMax)
		}
		records, err := audit.Read(args[0], int(*limit))
		if err != nil {
			return err
		}
		if *who != "" {
			records = ofCaller(records, *who)
		}
		document := struct {
			Records []audit.Record `json:"records"`
		}{append([]audit.Record{}, records...)}
		return show(std, &client{format: format}, document, func(w io.Writer) error { return writeAudit(w, records) }, nil)
	}
}

func ofCaller(records []audit.Record, who string) []audit.Record {
	var found []audit.Record
	for _, record := range records {
		if record.Who == who {
			found = append(found, record)
		}
	}
	return found
}

// deed is an action of the log.
type deed struct {
	audit.Record
	result string
	took   string
}

// joinDeeds puts outcomes with their attempts.
func joinDeeds(records []audit.Record) []*deed {
	var deeds []*deed
	open := map[string]*deed{}
	for _, record := range records {
		switch record.Phase {
		case audit.Attempt:
			d := &deed{Record: record, result: "unfinished"}
			deeds = append(deeds, d)
			open[record.RequestID] = d
			continue
		case audit.Outcome:
			d := open[record.RequestID]
			if d == nil || record.RequestID == "" {
				// The attempt is further back than the limit.
				d = &deed{Record: record}
				deeds = append(deeds, d)
			}
			delete(open, record.RequestID)
			d.result = strings.TrimSuffix(record.Code+": "+record.Message, ": ")
			d.took = roughly(time.Duration(record.DurationSeconds * float64(time.Second))).String()
		case audit.Denied:
			result := "denied: " + record.Reason
			if record.Suppressed > 0 {
				result += ", and " + plural(record.Suppressed, "denial") + " before"
			}
			deeds = append(deeds, &deed{Record: record, result: result})
		default:
			deeds = append(deeds, &deed{Record: record, result: "unreadable line " + record.Message})
		}
	}
	return deeds
}

func writeAudit(w io.Writer, records []audit.Record) error {
	table := newGrid("TIME", "WHO", "HOW", "FROM", "ACTION", "RESULT", "TOOK", "REQUEST")
	for _, d := range joinDeeds(records) {
		at := ""
		if !d.Time.IsZero() {
			at = d.Time.UTC().Format(time.RFC3339)
		}
		what := path.Base(d.Method)
		if d.Method == "" {
			what = ""
		}
		if d.DryRun {
			what += " (dry run)"
		}
		table.row(at, oneLine(d.Who), oneLine(d.How), oneLine(d.Peer), oneLine(what), oneLine(d.result), d.took, oneLine(string(d.Request)))
	}
	if len(table.rows) == 0 {
		_, err := io.WriteString(w, "actions: none\n")
		return err
	}
	return table.write(w)
}
