package timearg

import (
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"now":                       "2026-03-01T12:00:00Z",
		"-1h":                       "2026-03-01T11:00:00Z",
		"now-1h":                    "2026-03-01T11:00:00Z",
		"now+5m":                    "2026-03-01T12:05:00Z",
		"+5m":                       "2026-03-01T12:05:00Z",
		"-1d":                       "2026-02-28T12:00:00Z",
		"-2w":                       "2026-02-15T12:00:00Z",
		"-1d12h30m":                 "2026-02-27T23:30:00Z",
		"-1500ms":                   "2026-03-01T11:59:58.5Z",
		"2026-01-31T12:00:00Z":      "2026-01-31T12:00:00Z",
		"2026-01-31T12:00:00+02:00": "2026-01-31T10:00:00Z",
		"2026-01-31T12:00:00.125Z":  "2026-01-31T12:00:00.125Z",
		"0":                         "1970-01-01T00:00:00Z",
		"1735787040":                "2025-01-02T03:04:00Z",
		"1735787040125":             "2025-01-02T03:04:00.125Z",
	} {
		got, err := Parse(text, now)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s: got %v, want %s", text, got.UTC(), want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "want now",
		"1h":                     "want now",
		"yesterday":              "want now",
		"2026-01-31":             "want now",
		"-":                      "no duration",
		"now-":                   "no duration",
		"-5":                     "no unit",
		"-5y":                    "no unit",
		"-h":                     "no number",
		"-1h-1m":                 "no number",
		"nowish":                 "want now",
		"1735787040000000000":    "too large",
		"-99999999999999999w":    "years",
		"-99999999999999999999w": "no number",
		"-106751d23h48m":         "years",
	} {
		if got, err := Parse(text, now); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v; want an error with %q", text, got, err, want)
		}
	}
}
