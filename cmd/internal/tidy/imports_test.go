package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/skerrydb/skerry"

// border says what the production files of a folder, and of those below, may
// use. Imports count as written, not what they import in turn.
type border struct {
	folder string
	reason string
	// Folders of ours that may be imported; all others may not.
	ours []string
	// Packages of others, with those below them, that may not be imported.
	deny []string
	// Exceptions to deny, exactly.
	allow []string
	// Functions by package that may not be used: nothing else of it is meant.
	calls map[string][]string
	// Whether go statements are refused.
	noGoStatements bool
}

const (
	dragonboat = "github.com/lni/dragonboat/v4"
	grpcModule = "google.golang.org/grpc"
	zap        = "go.uber.org/zap"
	// Metrics; the selector parser of prometheus/prometheus is another matter.
	prometheus = "github.com/prometheus/client_golang"
)

var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// Functions of math/rand and math/rand/v2 that draw from the shared source.
var sharedRandom = []string{
	"ExpFloat64", "Float32", "Float64", "Int", "Int31", "Int31n", "Int32", "Int32N", "Int63", "Int63n", "Int64", "Int64N", "IntN", "Intn",
	"N", "NormFloat64", "Perm", "Read", "Seed", "Shuffle", "Uint", "Uint32", "Uint32N", "Uint64", "Uint64N", "UintN",
}

var borders = []border{
	{
		folder: "proto", ours: []string{"proto"},
		reason: "everybody speaks this vocabulary: what it imported, everybody would",
	},
	{
		folder: "storage", ours: []string{"storage"},
		reason: "a store of bytes that knows nothing of blocks can be tested against another one and replaced",
	},
	{
		folder: "statemachine", ours: []string{"statemachine", "storage", "proto"},
		deny:  []string{grpcModule, "os", "net", "log", zap, prometheus, "math/rand", "crypto/rand", dragonboat},
		allow: []string{dragonboat + "/statemachine"},
		calls: map[string][]string{"time": clock}, noGoStatements: true,
		reason: "replicas stay equal only if the log entry is the only input and the transaction the only output",
	},
	{
		folder: "planner", ours: []string{"planner", "proto"},
		// Of others, nothing but the standard library.
		deny: []string{
			"net", "os", "log", "crypto/rand", "testing",
			"github.com", "golang.org", "google.golang.org", "go.uber.org", "go.etcd.io", "go.yaml.in", "pgregory.net",
		},
		calls: map[string][]string{
			"time": clock, "math/rand": sharedRandom, "math/rand/v2": sharedRandom,
		},
		noGoStatements: true,
		reason:         "a plan is a function of what it is given, so that simulations repeat and the log carries decisions",
	},
	{
		folder: "shardgroup", ours: []string{"shardgroup", "planner", "statemachine", "storage", "proto"},
		reason: "it introduces planner and state machine to each other, and knows nothing of those who route to it",
	},
	{
		folder: "router", ours: []string{"router", "proto"},
		reason: "it runs without state, also in a process without groups: groups are reached by their API only",
	},
	{
		folder: "bench", ours: []string{"bench", "proto"},
		reason: "an outside client checks answers only if it shares nothing with those who give them",
	},
	{
		folder: "cmd", ours: []string{"cmd", "bench", "shardgroup", "router", "planner", "statemachine", "storage", "proto"},
		reason: "the binary wires the parts, the client that measures it among them; they know nothing of it",
	},
}

// Folders of borders that nobody has begun. The list only shrinks: remove a
// folder when its first Go file appears.
var notYet = []string{}

// respected checks every border, and that there is something behind it.
func respected(borders []border, notYet []string) rule {
	return func(tree fs.FS) ([]string, error) {
		var offences []string
		present := map[string]bool{}
		err := goFiles(tree, func(name string, _ []byte, file *ast.File, positions *token.FileSet) error {
			for _, b := range borders {
				if !inFolder(name, b.folder) || isTest(name) {
					continue
				}
				present[b.folder] = true
				for _, offence := range b.offences(file) {
					at := positions.Position(offence.at)
					offences = append(offences, fmt.Sprintf("%s:%d: %s: %s", name, at.Line, offence.what, b.reason))
				}
			}
			return nil
		})
		for _, b := range borders {
			switch expected := !slices.Contains(notYet, b.folder); {
			case expected && !present[b.folder]:
				offences = append(offences, b.folder+": no Go files: the rules about it would pass for nothing; move them along")
			case !expected && present[b.folder]:
				offences = append(offences, b.folder+": has Go files: remove it from notYet")
			}
		}
		for _, folder := range notYet {
			if !slices.ContainsFunc(borders, func(b border) bool { return b.folder == folder }) {
				offences = append(offences, folder+": in notYet, but no rule names it")
			}
		}
		return offences, err
	}
}

type offence struct {
	at   token.Pos
	what string
}

func (b border) offences(file *ast.File) []offence {
	var found []offence
	// Local name to path, of packages with refused functions.
	watched := map[string]string{}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !b.mayImport(imported) {
			found = append(found, offence{spec.Pos(), "must not import " + imported})
		}
		if _, some := b.calls[imported]; !some {
			continue
		}
		switch local := localName(spec, imported); local {
		case ".":
			found = append(found, offence{spec.Pos(), "must not import all names of " + imported})
		default:
			watched[local] = imported
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.GoStmt:
			if b.noGoStatements {
				found = append(found, offence{node.Pos(), "must not start goroutines"})
			}
		case *ast.SelectorExpr:
			// An identifier that resolves inside of the file is no package.
			x, ok := node.X.(*ast.Ident)
			if ok && x.Obj == nil && slices.Contains(b.calls[watched[x.Name]], node.Sel.Name) {
				found = append(found, offence{node.Pos(), "must not use " + watched[x.Name] + "." + node.Sel.Name})
			}
		}
		return true
	})
	return found
}

func (b border) mayImport(imported string) bool {
	if imported == module {
		return false
	}
	if ours, mine := strings.CutPrefix(imported, module+"/"); mine {
		return slices.ContainsFunc(b.ours, func(folder string) bool { return isOrBelow(ours, folder) })
	}
	return slices.Contains(b.allow, imported) ||
		!slices.ContainsFunc(b.deny, func(denied string) bool { return isOrBelow(imported, denied) })
}

func isOrBelow(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}

// localName is the name by which a file knows a package of the standard library.
func localName(spec *ast.ImportSpec, imported string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	if path.Base(imported) == "v2" {
		return path.Base(path.Dir(imported))
	}
	return path.Base(imported)
}

func TestBorders(t *testing.T) {
	keeps(t, respected(borders, notYet))
}

// TestBordersBreak gives every border a file that breaks all it says.
func TestBordersBreak(t *testing.T) {
	for _, b := range borders {
		t.Run(b.folder, func(t *testing.T) {
			name := b.folder + "/deep/a.go"
			lines, want := []string{"package a", ""}, []string{}
			refuse := func(line, what string) {
				lines = append(lines, line)
				want = append(want, fmt.Sprintf("%s:%d: %s", name, len(lines), what))
			}
			for _, other := range borders {
				if !slices.Contains(b.ours, other.folder) {
					refuse(fmt.Sprintf("import _ %q", module+"/"+other.folder+"/x"), "must not import ")
				}
			}
			for _, denied := range b.deny {
				refuse(fmt.Sprintf("import _ %q", denied), "must not import "+denied)
				refuse(fmt.Sprintf("import _ %q", denied+"/x"), "must not import "+denied+"/x")
			}
			for _, allowed := range append(b.allow, "fmt", "time", "osmosis", module+"/"+b.ours[0]) {
				lines = append(lines, fmt.Sprintf("import _ %q", allowed))
			}
			packages := slices.Sorted(maps.Keys(b.calls))
			for i, imported := range packages {
				lines = append(lines, fmt.Sprintf("import p%d %q", i, imported))
			}
			for i, imported := range packages {
				for _, function := range b.calls[imported] {
					refuse(fmt.Sprintf("var _ = p%d.%s", i, function), "must not use "+imported+"."+function)
				}
			}
			if b.noGoStatements {
				refuse("func f() { go f() }", "must not start goroutines")
			}
			source := strings.Join(lines, "\n") + "\n"
			slices.Sort(want)
			breaks(t, respected([]border{b}, nil), []string{name, source, b.folder + "/deep/a_test.go", source}, want...)
		})
	}
}

func TestBordersSeeThroughNames(t *testing.T) {
	b := border{folder: "a", ours: []string{"a"}, calls: map[string][]string{"time": {"Now"}, "math/rand/v2": {"IntN"}}}
	breaks(t, respected([]border{b}, nil), []string{
		"a/dot.go", "package a\n\nimport . \"time\"\n",
		"a/other.go", "package a\n\nimport clock \"time\"\n\nvar now = clock.Now\n",
		"a/rand.go", "package a\n\nimport \"math/rand/v2\"\n\nvar n = rand.IntN(3)\nvar r = rand.New(nil)\n",
		"a/fine.go", "package a\n\nimport \"time\"\n\ntype T struct{ Now int }\n\nfunc f(time T) int { return time.Now }\n\nvar h = time.Hour\n",
		"ab/b.go", "package b\n\nimport \"time\"\n\nvar now = time.Now()\n",
	}, "a/dot.go:3: must not import all", "a/other.go:5: must not use time.Now", "a/rand.go:5: must not use math/rand/v2.IntN")
}

func TestBordersNeedSomethingBehind(t *testing.T) {
	some := []border{{folder: "here", ours: []string{"here"}}, {folder: "begun", ours: []string{"begun"}}, {folder: "gone"}, {folder: "later"}}
	breaks(t, respected(some, []string{"begun", "later", "unruled"}), []string{
		"here/a.go", "package a\n", "begun/deep/a.go", "package a\n", "gone/a_test.go", "package a\n",
	}, "begun: has Go files", "gone: no Go files", "unruled: in notYet")
}
