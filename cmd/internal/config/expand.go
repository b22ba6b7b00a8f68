package config

import (
	"errors"
	"fmt"
	"strings"
)

// expand replaces ${NAME} and ${NAME:default} by what env knows. $${ stands for
// a literal ${; any other dollar is literal. What is inserted is not expanded
// again, and it cannot change the structure of the YAML around it: values are
// expanded after parsing.
func expand(text string, env func(string) (string, bool)) (string, error) {
	var out strings.Builder
	for {
		at := strings.IndexByte(text, '$')
		if at < 0 {
			out.WriteString(text)
			return out.String(), nil
		}
		out.WriteString(text[:at])
		text = text[at:]
		switch {
		case strings.HasPrefix(text, "$${"):
			out.WriteString("${")
			text = text[3:]
		case strings.HasPrefix(text, "${"):
			reference, rest, closed := strings.Cut(text[2:], "}")
			if !closed {
				return "", errors.New("${ has no }; write $${ for a literal one")
			}
			inserted, err := lookUp(reference, env)
			if err != nil {
				return "", err
			}
			out.WriteString(inserted)
			text = rest
		default:
			out.WriteByte('$')
			text = text[1:]
		}
	}
}

func lookUp(reference string, env func(string) (string, bool)) (string, error) {
	name, fallback, hasFallback := strings.Cut(reference, ":")
	if !validName(name) {
		return "", fmt.Errorf("${%s}: %q is no name of an environment variable", reference, name)
	}
	if set, ok := env(name); ok {
		return set, nil
	}
	if !hasFallback {
		return "", fmt.Errorf("environment variable %s is not set; set it or write ${%s:default}", name, name)
	}
	return fallback, nil
}

func validName(name string) bool {
	for i, c := range name {
		letter := c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// escape is the inverse of expand.
func escape(text string) string { return strings.ReplaceAll(text, "${", "$${") }
