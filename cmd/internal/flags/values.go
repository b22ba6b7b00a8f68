package flags

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// List is a flag that may be repeated and whose values may be comma separated.
// Empty elements are dropped.
type List []string

// Set appends.
func (l *List) Set(value string) error {
	for element := range strings.SplitSeq(value, ",") {
		if element = strings.TrimSpace(element); element != "" {
			*l = append(*l, element)
		}
	}
	return nil
}

func (l *List) String() string { return strings.Join(*l, ",") }

// Choice is a flag with a fixed set of values.
type Choice struct {
	Value string
	among []string
}

// NewChoice makes a choice whose default is the first value.
func NewChoice(values ...string) *Choice { return &Choice{values[0], values} }

// Set accepts only the choice's values.
func (c *Choice) Set(value string) error {
	if !slices.Contains(c.among, value) {
		return fmt.Errorf("want %s", strings.Join(c.among, ", "))
	}
	c.Value = value
	return nil
}

func (c *Choice) String() string { return c.Value }

// Shard is a flag for a data shard number; IsSet tells 0 from nothing.
type Shard struct {
	Value uint32
	IsSet bool
}

// Set accepts a whole number of 32 bits.
func (s *Shard) Set(value string) error {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return fmt.Errorf("want a whole number from 0 to %d", uint32(math.MaxUint32))
	}
	s.Value, s.IsSet = uint32(n), true
	return nil
}

func (s *Shard) String() string {
	if !s.IsSet {
		return ""
	}
	return strconv.FormatUint(uint64(s.Value), 10)
}
