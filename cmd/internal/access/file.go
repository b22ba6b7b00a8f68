package access

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

const (
	fileBytesMax = 4 << 20
	nameBytesMax = 128
	// tokenBytesMax bounds what is hashed for a caller that is not known yet.
	tokenBytesMax = 512
)

// policy is what an access file says. It is never changed.
type policy struct {
	// By secret hash of the token's hash; see tokenKey.
	tokens map[[sha256.Size]byte]tokenHolder
	secret [sha256.Size]byte
	// By common name. A name that is not here has the roles of its certificate.
	certificates map[string]Roles
	// Of callers that show nothing.
	anonymous Roles
}

type tokenHolder struct {
	name  string
	hash  [sha256.Size]byte
	roles Roles
}

// fileContent is the file as written.
type fileContent struct {
	Tokens []struct {
		Name   string   `yaml:"name"`
		SHA256 string   `yaml:"sha256"`
		Roles  []string `yaml:"roles"`
	} `yaml:"tokens"`
	Certificates []struct {
		Name  string   `yaml:"name"`
		Roles []string `yaml:"roles"`
	} `yaml:"certificates"`
	Anonymous []string `yaml:"anonymous"`
}

// Validate reads an access file and reports every fault.
func Validate(path string) error {
	content, err := readFile(path)
	if err != nil {
		return err
	}
	_, err = parse(content)
	return err
}

// NewToken makes a token and what an access file keeps of it.
func NewToken() (token, sha256Hex string) {
	var random [32]byte
	rand.Read(random[:]) // never fails
	token = "skerry_" + base64.RawURLEncoding.EncodeToString(random[:])
	return token, HashToken(token)
}

// HashToken returns what an access file keeps of a token.
func HashToken(token string) string {
	hash := sha256.Sum256([]byte(token))
	return hex.EncodeToString(hash[:])
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("access file cannot be read: %w: check that the path is right and that this user may read it", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, fileBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("access file cannot be read: %w", err)
	}
	if len(content) > fileBytesMax {
		return nil, fmt.Errorf("access file %s has more than %d bytes: use fewer tokens", path, fileBytesMax)
	}
	return content, nil
}

// parse understands a file and reports every fault. It never quotes a hash: who
// wrote a token in its place would find it in the log.
func parse(content []byte) (*policy, error) {
	var file fileContent
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New("access file: not the YAML that is wanted: lists tokens (name, sha256, roles), certificates (name, roles) and anonymous (roles)" + yamlLine(err))
	}
	if err := decoder.Decode(new(fileContent)); !errors.Is(err, io.EOF) {
		return nil, errors.New("access file: more than one YAML document")
	}
	p := &policy{tokens: map[[sha256.Size]byte]tokenHolder{}, certificates: map[string]Roles{}}
	rand.Read(p.secret[:]) // never fails
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("access file: "+format, args...))
	}
	names := map[string]bool{}
	for i, entry := range file.Tokens {
		where := fmt.Sprintf("token %d (%.60q)", i+1, entry.Name)
		if err := checkName(entry.Name); err != nil {
			fault("%s: %w", where, err)
		} else if names[entry.Name] {
			fault("%s: the name is there twice: one name for each token tells who did what", where)
		}
		names[entry.Name] = true
		roles, err := parseRoles(entry.Roles)
		if err != nil {
			fault("%s: %w", where, err)
		}
		hash, err := hex.DecodeString(entry.SHA256)
		if err != nil || len(hash) != sha256.Size {
			fault("%s: sha256 is not 64 hexadecimal digits: make it with printf %%s \"$TOKEN\" | sha256sum", where)
			continue
		}
		holder := tokenHolder{entry.Name, [sha256.Size]byte(hash), roles}
		if holder.hash == sha256.Sum256(nil) {
			fault("%s: the token is empty", where)
		}
		key := p.tokenKey(holder.hash)
		if other, twice := p.tokens[key]; twice {
			fault("%s: has the token of %.60q: make another", where, other.name)
		}
		p.tokens[key] = holder
	}
	for i, entry := range file.Certificates {
		where := fmt.Sprintf("certificate %d (%.60q)", i+1, entry.Name)
		roles, err := parseRoles(entry.Roles)
		if err = errors.Join(checkName(entry.Name), err); err != nil {
			fault("%s: %w", where, err)
		}
		if _, twice := p.certificates[entry.Name]; twice {
			fault("%s: the name is there twice", where)
		}
		p.certificates[entry.Name] = roles
	}
	var err error
	if p.anonymous, err = parseRoles(file.Anonymous); err != nil {
		fault("anonymous: %w", err)
	}
	if p.anonymous&^(Read|Write) != 0 {
		fault("anonymous: has %s: callers without a name get read and write at most", p.anonymous)
	}
	return p, errors.Join(faults...)
}

// yamlLine keeps the place of a parser's fault, and not the text, which may hold
// a token.
func yamlLine(err error) string {
	_, after, found := strings.Cut(err.Error(), "line ")
	digits := len(after) - len(strings.TrimLeft(after, "0123456789"))
	if !found || digits == 0 {
		return ""
	}
	return ": see line " + after[:digits]
}

func parseRoles(names []string) (Roles, error) {
	var roles Roles
	var faults []error
	for _, name := range names {
		role, err := parseRole(name)
		if err != nil {
			faults = append(faults, err)
		}
		roles |= role
	}
	return roles, errors.Join(faults...)
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is missing")
	case len(name) > nameBytesMax:
		return fmt.Errorf("the name has more than %d bytes", nameBytesMax)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) || r == unicode.ReplacementChar }):
		return errors.New("the name has unprintable characters")
	}
	return nil
}

// tokenKey is where a token is looked up. It depends on a secret of this process,
// so how long a look-up takes tells nothing about the hashes that are there.
func (p *policy) tokenKey(hash [sha256.Size]byte) [sha256.Size]byte {
	return sha256.Sum256(append(p.secret[:], hash[:]...))
}

// holder finds a token.
func (p *policy) holder(token string) (tokenHolder, bool) {
	hash := sha256.Sum256([]byte(token))
	found, ok := p.tokens[p.tokenKey(hash)]
	return found, ok && subtle.ConstantTimeCompare(found.hash[:], hash[:]) == 1
}
