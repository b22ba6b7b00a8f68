// Package selector parses the label selectors of queries: Prometheus metric
// selectors, with the answers' own rules for absent labels (see Matches).
package selector

import (
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// MaxBytes bounds the text of a selector: compiled regular expressions cost a
// multiple of their text.
const MaxBytes = 64 << 10

// ErrInvalid is wrapped by every error of Parse.
var ErrInvalid = errors.New("failed to parse label matcher")

// Parse parses a metric selector such as {a="b",c=~"d|e"}. {} selects
// everything; the empty text is an error. Matchers with an empty name are
// dropped: they constrain nothing.
func Parse(text string) ([]*labels.Matcher, error) {
	if len(text) > MaxBytes {
		return nil, fmt.Errorf("%w: the selector has %d bytes, at most %d are allowed", ErrInvalid, len(text), MaxBytes)
	}
	if err := checkExpressions(text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	parsed, err := parser.NewParser(parser.Options{}).ParseMetricSelector(text)
	if err != nil {
		// The parser's text repeats what it was given.
		return nil, fmt.Errorf("%w: %.500s", ErrInvalid, err.Error())
	}
	matchers := make([]*labels.Matcher, 0, len(parsed))
	for _, matcher := range parsed {
		if matcher.Name != "" {
			matchers = append(matchers, matcher)
		}
	}
	return matchers, nil
}

// NeedsPresence tells whether a matcher wants the label to be present: = and
// =~ do, whatever they match; != and !~ pass where the label is absent. This
// is Pyroscope's rule and differs from Prometheus.
func NeedsPresence(matcher *labels.Matcher) bool {
	return matcher.Type == labels.MatchEqual || matcher.Type == labels.MatchRegexp
}
