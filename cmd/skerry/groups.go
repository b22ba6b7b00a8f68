package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// groupsHelp follows in the help of commands that ask groups.
const groupsHelp = `The answering router asks all groups, or those of -group. One that does not answer
is listed with the reason, and the exit code is 1: the rest is still shown.
`

// groupFlags are those of commands that ask groups.
type groupFlags struct {
	names flags.List
	limit uint
}

func groupIDs(set *flag.FlagSet) *groupFlags {
	g := &groupFlags{}
	set.Var(&g.names, "group", "`ID` ask only this group; may be repeated or comma separated")
	return g
}

func groupLists(set *flag.FlagSet) *groupFlags {
	g := groupIDs(set)
	set.UintVar(&g.limit, "limit", 100, "`N` how much each group may list, 1 to 10000")
	return g
}

func (g *groupFlags) ids() ([]uint64, error) {
	var ids []uint64
	for _, name := range g.names {
		id, err := strconv.ParseUint(name, 10, 64)
		if err != nil || id == 0 {
			return nil, flags.Usagef("-group is %q: want the number of a group; see: skerry status", name)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (g *groupFlags) check() error {
	if g.limit < 1 || g.limit > 10_000 {
		return flags.Usagef("-limit is %d: want 1 to 10000", g.limit)
	}
	return nil
}

// silence is what groups that did not answer leave: a table, and an error that
// tells that the answer is not whole.
type silence struct {
	asked int
	table *grid
}

func newSilence() *silence { return &silence{table: newGrid("GROUP", "ERROR")} }

// heard counts a group, and tells whether it answered.
func (s *silence) heard(group uint64, fault string) bool {
	s.asked++
	if fault != "" {
		s.table.row(group, oneLine(fault))
	}
	return fault == ""
}

func (s *silence) write(w io.Writer) error {
	if len(s.table.rows) == 0 {
		return nil
	}
	if _, err := fmt.Fprint(w, "\ndid not answer:\n\n"); err != nil {
		return err
	}
	return s.table.write(w)
}

// err is nil if all groups answered.
func (s *silence) err() error {
	if len(s.table.rows) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %s did not answer: what is shown is not all; see: skerry status", len(s.table.rows), plural(uint64(s.asked), "group"))
}

// cut lists the groups that have more than they listed.
type cut []string

func (c *cut) note(group uint64, truncated bool) {
	if truncated {
		*c = append(*c, strconv.FormatUint(group, 10))
	}
}

func (c cut) write(w io.Writer, limit uint) error {
	if len(c) == 0 {
		return nil
	}
	remedy := "the rest cannot be listed"
	if limit < 10_000 {
		remedy = fmt.Sprintf("see more with: -limit %d -group %s", min(10*limit, 10_000), strings.Join(c, ","))
	}
	_, err := fmt.Fprintf(w, "\nNot all is listed of %s; %s\n", plural(uint64(len(c)), "group"), remedy)
	return err
}

// writeAll writes parts of a table output, one after the other, up to the first
// error.
func writeAll(w io.Writer, parts ...func(io.Writer) error) error {
	for _, part := range parts {
		if err := part(w); err != nil {
			return err
		}
	}
	return nil
}

// titled is a table under a line that names it; an empty one is that line alone.
func titled(title string, table *grid) func(io.Writer) error {
	return func(w io.Writer) error {
		if len(table.rows) == 0 {
			_, err := fmt.Fprintf(w, "\n%s: none\n", title)
			return err
		}
		if _, err := fmt.Fprintf(w, "\n%s:\n\n", title); err != nil {
			return err
		}
		return table.write(w)
	}
}

// age writes how long ago a moment was, both in Unix nanoseconds; 0 is none.
func age(now, at int64) string {
	if at == 0 {
		return ""
	}
	if now == 0 {
		now = time.Now().UnixNano()
	}
	return span(time.Duration(max(0, now-at)))
}

// span writes a duration with two units at most.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	default:
		return fmt.Sprintf("%ds", d/time.Second)
	}
}

// moment writes Unix nanoseconds; 0 is none.
func moment(at int64) string {
	if at == 0 {
		return ""
	}
	return time.Unix(0, at).UTC().Format(time.RFC3339Nano)
}

// show writes a document as JSON or as text; either way the error of groups that
// did not answer follows.
func show(std streams, c *client, document any, text func(io.Writer) error, incomplete error) error {
	var err error
	if c.format.Value == formatJSON {
		err = writeJSON(std.out, document)
	} else {
		err = text(std.out)
	}
	return errors.Join(err, incomplete)
}
