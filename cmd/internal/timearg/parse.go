// Package timearg reads the times that people write on a command line. It never
// asks the clock: now is an argument.
package timearg

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Whole numbers from here up are milliseconds: as seconds they would lie after
// the year 5138, as milliseconds they begin in 1973.
const unixMillisecondsMin = 100_000_000_000

// From here up not even milliseconds make sense: somebody gave nanoseconds.
const unixMillisecondsMax = 100_000_000_000_000

const want = "want now, -1h, now-2d, 2026-01-31T12:00:00Z, or Unix seconds or milliseconds"

var units = []struct {
	name string
	size time.Duration
}{
	// ms comes before m: the longer name wins.
	{"ms", time.Millisecond},
	{"s", time.Second},
	{"m", time.Minute},
	{"h", time.Hour},
	{"d", 24 * time.Hour},
	{"w", 7 * 24 * time.Hour},
}

// Parse understands now, an offset (-1h, now-1d12h, now+5m; units ms, s, m, h,
// d, w), RFC 3339, and Unix seconds or milliseconds.
func Parse(text string, now time.Time) (time.Time, error) {
	offset, relative := strings.CutPrefix(text, "now")
	if relative && offset == "" {
		return now, nil
	}
	if strings.HasPrefix(offset, "-") || strings.HasPrefix(offset, "+") {
		d, err := parseOffset(offset)
		if err != nil {
			return time.Time{}, fmt.Errorf("time %.64q: %w; %s", text, err, want)
		}
		return now.Add(d), nil
	}
	if number, err := strconv.ParseInt(text, 10, 64); err == nil {
		return fromUnix(text, number)
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %.64q: %s", text, want)
	}
	return t, nil
}

func fromUnix(text string, number int64) (time.Time, error) {
	switch {
	case number >= unixMillisecondsMax:
		return time.Time{}, fmt.Errorf("time %.64q is too large for milliseconds; %s", text, want)
	case number >= unixMillisecondsMin:
		return time.UnixMilli(number), nil
	default:
		return time.Unix(number, 0), nil
	}
}

// parseOffset reads a sign and one or more numbers with units.
func parseOffset(text string) (time.Duration, error) {
	sign, rest := time.Duration(1), text[1:]
	if text[0] == '-' {
		sign = -1
	}
	if rest == "" {
		return 0, fmt.Errorf("no duration after %q", text)
	}
	var total time.Duration
	for rest != "" {
		end := 0
		for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
			end++
		}
		number, err := strconv.ParseInt(rest[:end], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("no number at %q", rest)
		}
		rest = rest[end:]
		unit, size := unitOf(rest)
		if size == 0 {
			return 0, fmt.Errorf("number %d has no unit (ms, s, m, h, d, w)", number)
		}
		rest = rest[len(unit):]
		if number > int64((math.MaxInt64-total)/size) {
			return 0, fmt.Errorf("more than %d years", math.MaxInt64/(365*24*time.Hour))
		}
		total += time.Duration(number) * size
	}
	return sign * total, nil
}

func unitOf(text string) (string, time.Duration) {
	for _, unit := range units {
		if strings.HasPrefix(text, unit.name) {
			return unit.name, unit.size
		}
	}
	return "", 0
}
