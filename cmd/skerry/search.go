package main

import (
	"flag"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	"github.com/skerrydb/skerry/cmd/internal/timearg"
)

// search holds the flags of commands that look for blocks of tenants in time.
type search struct {
	tenants  flags.List
	from, to string
}

const timesHelp = `Times are now, an offset (-1h, now-2d; units ms, s, m, h, d, w), RFC 3339, or
Unix seconds or milliseconds.
`

func searchFlags(set *flag.FlagSet) *search {
	s := new(search)
	set.Var(&s.tenants, "tenant", "`TENANT` tenant to search; repeat the flag or separate several with commas")
	set.StringVar(&s.from, "from", "-1h", "`TIME` begin of the search, inclusive")
	set.StringVar(&s.to, "to", "now", "`TIME` end of the search, inclusive")
	return s
}

// span returns the times in Unix milliseconds.
func (s *search) span(now time.Time) (from, to int64, err error) {
	if len(s.tenants) == 0 {
		return 0, 0, flags.Usagef("-tenant is needed")
	}
	begin, err := timearg.Parse(s.from, now)
	if err != nil {
		return 0, 0, flags.Usagef("-from: %w", err)
	}
	end, err := timearg.Parse(s.to, now)
	if err != nil {
		return 0, 0, flags.Usagef("-to: %w", err)
	}
	if end.Before(begin) {
		return 0, 0, flags.Usagef("-from %s is after -to %s", s.from, s.to)
	}
	return begin.UnixMilli(), end.UnixMilli(), nil
}
