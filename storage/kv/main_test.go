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
	goleak.VerifyTestMain(m)
}
