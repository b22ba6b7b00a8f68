package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readYAML applies a file to the settings. Keys are nested, dotted or both. An
// unknown key, a key given twice and a bad value are faults that name the line;
// all are reported.
func (all settings) readYAML(source []byte, env func(string) (string, bool)) []error {
	decoder := yaml.NewDecoder(bytes.NewReader(source))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return []error{err}
	}
	var second yaml.Node
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return []error{fmt.Errorf("line %d: a second document; want one", second.Line)}
	}
	reader := yamlReader{all: all, env: env, seen: map[string]int{}}
	reader.section("", document.Content[0])
	return reader.faults
}

type yamlReader struct {
	all    settings
	env    func(string) (string, bool)
	seen   map[string]int // setting to the line that gave it
	faults []error
}

func (r *yamlReader) fault(node *yaml.Node, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("line %d: %w", node.Line, fmt.Errorf(format, args...)))
}

func (r *yamlReader) section(prefix string, node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return
	}
	if node.Kind != yaml.MappingNode {
		r.fault(node, "%s is not a map of settings", orFile(prefix))
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, child := node.Content[i], node.Content[i+1]
		name := key.Value
		if prefix != "" {
			name = prefix + "." + key.Value
		}
		if s := r.all.find(name); s != nil {
			r.set(s, key, child)
		} else if r.all.hasSection(name) {
			r.section(name, child)
		} else {
			r.fault(key, "unknown key %q", name)
		}
	}
}

func orFile(prefix string) string {
	if prefix == "" {
		return "the file"
	}
	return prefix
}

func (r *yamlReader) set(s *setting, key, node *yaml.Node) {
	if line, twice := r.seen[s.name]; twice {
		r.fault(key, "%s was given on line %d before", s.name, line)
		return
	}
	r.seen[s.name] = key.Line
	// Aliases are not followed: no setting needs them, and they can explode.
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		r.fault(node, "%s: want one value (\"\" is the empty one)", s.name)
		return
	}
	expanded, err := expand(node.Value, r.env)
	if err != nil {
		r.fault(node, "%s: %w", s.name, err)
		return
	}
	if err := s.value.Set(expanded); err != nil {
		r.fault(node, "%s is %q: %w", s.name, expanded, err)
	}
}

func (all settings) hasSection(name string) bool {
	for _, s := range all {
		if strings.HasPrefix(s.name, name+".") {
			return true
		}
	}
	return false
}

// writeYAML writes every setting, nested and documented, such that readYAML
// restores it.
func (all settings) writeYAML(w io.Writer) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, s := range all {
		section := root
		parts := strings.Split(s.name, ".")
		for _, part := range parts[:len(parts)-1] {
			section = childSection(section, part)
		}
		section.Content = append(section.Content,
			&yaml.Node{Kind: yaml.ScalarNode, Value: parts[len(parts)-1], HeadComment: s.doc},
			&yaml.Node{Kind: yaml.ScalarNode, Value: escape(s.value.String()), Tag: s.value.yamlTag()})
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return encoder.Close()
}

// childSection returns the map under a key, which it adds if missing.
func childSection(section *yaml.Node, key string) *yaml.Node {
	for i := 0; i < len(section.Content); i += 2 {
		if section.Content[i].Value == key {
			return section.Content[i+1]
		}
	}
	child := &yaml.Node{Kind: yaml.MappingNode}
	section.Content = append(section.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, child)
	return child
}
