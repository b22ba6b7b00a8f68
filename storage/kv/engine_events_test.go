package kv

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestFatalDoesNotReturn(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	events := newEngineEvents(zap.New(core))
	events.Infof("ordinary work")
	defer func() {
		if recover() == nil {
			t.Error("a fatal fault was passed over")
		}
		if logs.Len() != 1 || logs.All()[0].Level != zapcore.ErrorLevel {
			t.Errorf("logged %v", logs.All())
		}
	}()
	events.Fatalf("log %d broken", 7)
}

// TestQuietLog does ordinary work and expects no line: only faults are worth one.
func TestQuietLog(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	e, err := OpenEngine(t.TempDir(), EngineOptions{Logger: zap.New(core)})
	must(t, err)
	for range 3 {
		fill(t, namespaceDB(t, e, 1), "b", 3000, 1000)
		must(t, e.Sync())
	}
	must(t, e.Drop(1))
	must(t, e.Close())
	for _, line := range logs.All() {
		t.Errorf("%s: %s %v", line.Level, line.Message, line.ContextMap())
	}
}
