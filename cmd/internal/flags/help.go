package flags

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

// WriteHelp lists a set's flags, each with its placeholder, what it means, and
// its default. The placeholder is a word in back quotes that the usage begins
// with; switches have none.
func WriteHelp(w io.Writer, set *flag.FlagSet) error {
	var text strings.Builder
	set.VisitAll(func(f *flag.Flag) {
		placeholder, usage := splitUsage(f.Usage)
		fmt.Fprintf(&text, "  -%s", f.Name)
		if placeholder != "" {
			fmt.Fprintf(&text, " %s", placeholder)
		}
		fmt.Fprintf(&text, "\n        %s", usage)
		if f.DefValue != "" && f.DefValue != "false" {
			fmt.Fprintf(&text, " (default %s)", f.DefValue)
		}
		text.WriteByte('\n')
	})
	_, err := io.WriteString(w, text.String())
	return err
}

func splitUsage(text string) (placeholder, usage string) {
	if rest, quoted := strings.CutPrefix(text, "`"); quoted {
		if placeholder, usage, closed := strings.Cut(rest, "` "); closed {
			return placeholder, usage
		}
	}
	return "", text
}
