package selector

import (
	"fmt"
	"regexp/syntax"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/strutil"
)

// A few bytes of a regular expression can compile to hundreds of megabytes:
// repeats multiply what they repeat, and a class such as \pL has a thousand
// ranges. So expressions are measured before anything compiles them.
const (
	// Instructions of all expressions of a selector together. Without repeats it
	// cannot have that many.
	maxInstructions = 100_000
	// Unicode classes of all expressions of a selector together.
	maxClasses = 256
)

// checkExpressions refuses a selector whose expressions would take too much
// memory. It leaves all other faults to the parser.
func checkExpressions(text string) error {
	lexer := parser.Lex(text)
	var instructions uint64
	classes, regexp := 0, false
	for {
		var item parser.Item
		lexer.NextItem(&item)
		switch item.Typ {
		case parser.EOF, parser.ERROR:
			return nil
		case parser.STRING:
			if !regexp {
				continue
			}
			expression, err := strutil.Unquote(item.Val)
			if err != nil {
				return nil
			}
			if classes += strings.Count(expression, `\p`) + strings.Count(expression, `\P`); classes > maxClasses {
				return fmt.Errorf("the regular expressions have more than %d Unicode classes", maxClasses)
			}
			tree, err := syntax.Parse(expression, syntax.Perl|syntax.DotNL)
			if err != nil {
				return nil
			}
			if instructions += programSize(tree); instructions > maxInstructions {
				return fmt.Errorf("the regular expressions are too large: their repeats multiply to %d steps, at most %d are allowed", instructions, maxInstructions)
			}
		}
		regexp = item.Typ == parser.EQL_REGEX || item.Typ == parser.NEQ_REGEX
	}
}

// programSize estimates the instructions that an expression compiles to. The
// syntax allows a depth and repeats that keep the result far below 2^64.
func programSize(tree *syntax.Regexp) uint64 {
	size := uint64(1)
	switch tree.Op {
	case syntax.OpLiteral:
		size += uint64(len(tree.Rune))
	case syntax.OpCharClass:
		// A class refers to its ranges; large ones are bounded by maxClasses.
		size += uint64(len(tree.Rune)) / 32
	}
	for _, sub := range tree.Sub {
		size += programSize(sub)
	}
	if tree.Op == syntax.OpRepeat {
		size *= uint64(max(1, tree.Min, tree.Max))
	}
	return size
}
