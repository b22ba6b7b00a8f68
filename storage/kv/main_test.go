package kv

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(envKillDir) != "" {
		killedMain()
		return
	}
	if os.Getenv(envBenchChild) != "" {
		benchChild()
		return
	}
	goleak.VerifyTestMain(m)
}
