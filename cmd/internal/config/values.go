package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

type text string

func (v *text) Set(s string) error { *v = text(s); return nil }
func (v *text) String() string     { return string(*v) }
func (v *text) yamlTag() string    { return "!!str" }

// list is several texts, with commas between them.
type list []string

func (v *list) Set(s string) error {
	*v = nil
	if strings.TrimSpace(s) == "" {
		return nil
	}
	for _, part := range strings.Split(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			return errors.New("there is an empty part between the commas")
		}
		*v = append(*v, part)
	}
	return nil
}

func (v *list) String() string  { return strings.Join(*v, ",") }
func (v *list) yamlTag() string { return "!!str" }

type number int

func (v *number) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return errors.New("want a whole number")
	}
	*v = number(n)
	return nil
}

func (v *number) String() string  { return strconv.Itoa(int(*v)) }
func (v *number) yamlTag() string { return "!!int" }

type toggle bool

func (v *toggle) Set(s string) error {
	on, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("want true or false")
	}
	*v = toggle(on)
	return nil
}

func (v *toggle) String() string  { return strconv.FormatBool(bool(*v)) }
func (v *toggle) yamlTag() string { return "!!bool" }

// IsBoolFlag lets the flag stand without a value.
func (v *toggle) IsBoolFlag() bool { return true }

type duration time.Duration

func (v *duration) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("want a duration with its unit, such as 10s or 1m30s")
	}
	*v = duration(d)
	return nil
}

func (v *duration) String() string  { return time.Duration(*v).String() }
func (v *duration) yamlTag() string { return "!!str" }

type byteCount int64

func (v *byteCount) Set(s string) error {
	n, err := parseBytes(s)
	if err != nil {
		return err
	}
	*v = byteCount(n)
	return nil
}

func (v *byteCount) String() string  { return formatBytes(int64(*v)) }
func (v *byteCount) yamlTag() string { return "!!str" }

// period is a duration that may be long: it also knows years of 365 days, weeks
// and days, in this order, before the units of duration.
type period time.Duration

var longUnits = []struct {
	suffix byte
	size   time.Duration
}{{'y', 365 * 24 * time.Hour}, {'w', 7 * 24 * time.Hour}, {'d', 24 * time.Hour}}

func (v *period) Set(s string) error {
	fault := errors.New("want a period with its unit, such as 31d, 2w or 36h")
	if s == "" {
		return fault
	}
	var total time.Duration
	rest := s
	for _, unit := range longUnits {
		at := strings.IndexByte(rest, unit.suffix)
		if at < 0 {
			continue
		}
		n, err := strconv.ParseUint(rest[:at], 10, 32)
		if err != nil {
			return fault
		}
		if n > uint64((math.MaxInt64-total)/unit.size) {
			return errors.New("more than 290 years")
		}
		total, rest = total+time.Duration(n)*unit.size, rest[at+1:]
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || rest != s && d < 0 || d > math.MaxInt64-total {
			return fault
		}
		total += d
	}
	*v = period(total)
	return nil
}

func (v *period) String() string {
	const day = 24 * time.Hour
	if d := time.Duration(*v); d > 0 && d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	return time.Duration(*v).String()
}

func (v *period) yamlTag() string { return "!!str" }
