package clustertest

import (
	"context"
	"os"
	"sync"
	"testing"
)

// built builds the command once, into a folder that the test run removes.
var built func() (string, error)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "skerry-clustertest-")
	if err != nil {
		panic(err)
	}
	built = sync.OnceValues(func() (string, error) { return Build(context.Background(), dir) })
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}
