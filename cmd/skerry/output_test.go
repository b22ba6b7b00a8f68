package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestTexts(t *testing.T) {
	for _, c := range []struct{ name, got, want string }{
		{"size", sizeText(1023), "1023 B"},
		{"size", sizeText(1536), "1.5 KiB"},
		{"size", sizeText(1<<64 - 1), "16.0 EiB"},
		{"thousands", thousands(0), "0"},
		{"thousands", thousands(999), "999"},
		{"thousands", thousands(1000), "1,000"},
		{"thousands", thousands(1234567), "1,234,567"},
		{"printable", printable(""), "-"},
		{"printable", printable("é\nx"), "é\nx"},
		{"printable", printable("a\x1b[2J"), `"a\x1b[2J"`},
		{"one line", oneLine(" a\n\tb\x1b\u009bc "), "a  b??c"},
		{"code", codeName(codes.InvalidArgument), "INVALID_ARGUMENT"},
		{"code", codeName(codes.Canceled), "CANCELLED"},
		{"code", codeName(codes.Code(77)), "CODE(77)"},
		{"roughly", roughly(1234567 * time.Microsecond).String(), "1.2s"},
		{"roughly", roughly(85432 * time.Microsecond).String(), "85ms"},
		{"point", shortPoint("5555000000000000"), "5555"},
		{"point", shortPoint("5555000000000001"), "5555~"},
		{"short", short("abc"), "abc"},
		{"plural", plural(0, "block") + plural(1, "block"), "0 blocks1 block"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
}

func TestHints(t *testing.T) {
	for _, c := range []struct {
		code    codes.Code
		message string
		want    string
	}{
		{codes.Unavailable, "connection error: desc = \"refused\"", "start one with: skerry serve"},
		{codes.Unavailable, "group 3 has no leader", "; this may pass: try again"},
		{codes.DeadlineExceeded, "context deadline exceeded", "; no answer in 2s: "},
		{codes.Unimplemented, "unknown service", "is it a Skerry router?"},
		{codes.ResourceExhausted, "too large", "; ask for less"},
		{codes.NotFound, "no such block", "NOT_FOUND: no such block"},
	} {
		err := &callError{addr: "h:1", timeout: 2 * time.Second, status: status.New(c.code, c.message)}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %q, want %q in it", err, c.want)
		}
	}
}

func TestProgress(t *testing.T) {
	began := time.Unix(1000, 0)
	for _, terminal := range []bool{true, false} {
		var screen, out strings.Builder
		report := newAddReport(streams{err: &screen, terminal: terminal}, began)
		for i := range 1500 {
			report.note(sent{file: "f"}, began.Add(time.Duration(i)*time.Millisecond))
		}
		report.note(sent{file: "f", block: "b", err: errors.New("no")}, began.Add(1500*time.Millisecond))
		if err := report.finish(&out, formatTable, began.Add(1500*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if want := "added 1500 blocks in 1.5s (1,000/s), 1 failed\n"; out.String() != want {
			t.Errorf("summary %q, want %q", out.String(), want)
		}
		want := "skerry: f: block b: no\n"
		if terminal {
			// Drawn seven times in 1.5 s, then taken away for lines that stay.
			want = clearLine + want + clearLine
			if draws := strings.Count(screen.String(), "/s"); draws != 7 {
				t.Errorf("progress drawn %d times, want 7", draws)
			}
			if !strings.Contains(screen.String(), clearLine+"1001 blocks, 1,001/s") {
				t.Errorf("no progress in %q", screen.String())
			}
		}
		if !strings.HasSuffix(screen.String(), want) || !terminal && screen.String() != want {
			t.Errorf("terminal %v: screen %q, want %q at the end", terminal, screen.String(), want)
		}
	}
}
