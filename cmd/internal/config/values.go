package config

import (
	"errors"
	"strconv"
	"time"
)

type text string

func (v *text) Set(s string) error { *v = text(s); return nil }
func (v *text) String() string     { return string(*v) }
func (v *text) yamlTag() string    { return "!!str" }

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
