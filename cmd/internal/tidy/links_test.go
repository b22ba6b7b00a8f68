package tidy

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"
)

var (
	inlineLink    = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	referenceLink = regexp.MustCompile(`(?m)^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)>?`)
	inlineCode    = regexp.MustCompile("`[^`\n]*`")
)

// links demands that relative links in Markdown lead to a file or folder of the
// tree.
func links(tree fs.FS) ([]string, error) {
	var offences []string
	err := files(tree, ".md", func(name string, content []byte) error {
		text := inlineCode.ReplaceAllString(withoutFences(string(content)), "")
		matches := append(inlineLink.FindAllStringSubmatch(text, -1), referenceLink.FindAllStringSubmatch(text, -1)...)
		for _, match := range matches {
			fault, err := checkLink(tree, name, match[1])
			if err != nil {
				return err
			}
			if fault != "" {
				offences = append(offences, fmt.Sprintf("%s: link %s: %s", name, match[1], fault))
			}
		}
		return nil
	})
	return offences, err
}

func checkLink(tree fs.FS, from, link string) (fault string, err error) {
	target, err := url.Parse(link)
	if err != nil {
		return "not a link", nil
	}
	if target.Scheme != "" || target.Host != "" || target.Path == "" {
		return "", nil
	}
	if path.IsAbs(target.Path) {
		return "absolute: make it relative to the file", nil
	}
	name := path.Join(path.Dir(from), target.Path)
	if !fs.ValidPath(name) {
		return "leaves the repository", nil
	}
	_, err = fs.Stat(tree, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "no such file", nil
	}
	return "", err
}

// withoutFences drops blocks of code.
func withoutFences(text string) string {
	var kept []string
	fence := ""
	for line := range strings.SplitSeq(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case fence == "" && (strings.HasPrefix(trimmed, "```") || strings.HasPrefix(trimmed, "~~~")):
			fence = trimmed[:3]
		case fence != "" && strings.HasPrefix(trimmed, fence):
			fence = ""
		case fence == "":
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

func TestLinks(t *testing.T) {
	keeps(t, links)
	breaks(t, links, []string{
		"README.md", "[a](docs/a.md) [b](docs/a.md#part \"title\") ![c](none.png) [d](https://x.y/z) [e](#part)\n[ref]: gone.md\n[ok]: <docs/a.md>\n",
		"docs/a.md", "[up](../README.md) [out](../../x) [abs](/README.md) [dir](../docs) `[code](none)`\n```\n[code](none)\n```\n~~~\n[code](none)\n~~~\n[mail](mailto:a@b.c) [gone](b%20c.md) [there](d%20e.md)\n",
		"docs/d e.md", "nothing\n",
	}, "README.md: link gone.md: no such", "README.md: link none.png: no such", "docs/a.md: link ../../x: leaves", "docs/a.md: link /README.md: absolute", "docs/a.md: link b%20c.md: no such")
}
