package objectstest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

const (
	// The server's package; its version is in a module of its own, so that what it
	// needs is not what this module needs.
	serverPackage = "github.com/versity/versitygw/cmd/versitygw"
	serverModule  = "versitygw"
	// A build from nothing takes some two minutes of a processor.
	buildTimeout = 8 * time.Minute
)

// errNotThere says that the server's source cannot be had.
var errNotThere = errors.New("the S3 server's source cannot be had")

// Binary returns the path of an S3 server's binary. It is built once for each
// version and kept in the user's cache folder, as build artefacts are. The test
// is skipped where the source cannot be had, and in short mode where there is no
// binary yet.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary(testing.Short())
	switch {
	case errors.Is(err, errNotThere):
		t.Skipf("no S3 server to test with: %v", err)
	case err != nil:
		t.Fatalf("build the S3 server: %v", err)
	}
	return path
}

// One process looks once.
var built struct {
	sync.Mutex
	looked bool
	path   string
	err    error
}

func binary(short bool) (string, error) {
	built.Lock()
	defer built.Unlock()
	if !built.looked {
		built.path, built.err = buildBinary(short)
		built.looked = true
	}
	return built.path, built.err
}

func buildBinary(short bool) (string, error) {
	_, here, _, _ := runtime.Caller(0)
	module := filepath.Join(filepath.Dir(here), serverModule)
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w: no folder to keep it in: %w", errNotThere, err)
	}
	folder := filepath.Join(cache, "skerry-test")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("%w: no folder to keep it in: %w", errNotThere, err)
	}
	key, err := versionKey(module)
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, serverModule+"-"+key)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if short {
		return "", fmt.Errorf("%w: it is not built in short mode", errNotThere)
	}
	// Of many test processes one builds; the others wait, and find it there.
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	if err := run(ctx, module, "list", "-deps", serverPackage); err != nil {
		return "", fmt.Errorf("%w: %w", errNotThere, err)
	}
	unfinished := fmt.Sprintf("%s.%d", path, os.Getpid())
	defer os.Remove(unfinished)
	if err := run(ctx, module, "build", "-ldflags=-s -w", "-o", unfinished, serverPackage); err != nil {
		return "", err
	}
	return path, os.Rename(unfinished, path)
}

// versionKey changes with everything that the binary is made of.
func versionKey(module string) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		sum.Write(content)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

func run(ctx context.Context, module string, arguments ...string) error {
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = module
	// No workspace, no vendoring: the module says what is built.
	command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly -buildvcs=false")
	output, err := command.CombinedOutput()
	if err != nil {
		const shown = 2000
		return fmt.Errorf("go %s: %w: %s", arguments[0], err, output[max(0, len(output)-shown):])
	}
	return nil
}
