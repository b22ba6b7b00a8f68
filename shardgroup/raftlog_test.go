package shardgroup

import (
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestRaftLogLevels: what is no operator's business is not warned of, the rest is.
func TestRaftLogLevels(t *testing.T) {
	for _, test := range []struct {
		pkg, format string
		want        zapcore.Level
	}{
		{"raft", "%s became candidate", zapcore.DebugLevel},
		{"config", "mutual TLS disabled", zapcore.DebugLevel},
		{"dragonboat", "StaleRead called when linearizable read is available", zapcore.DebugLevel},
		{"dragonboat", "%s had %d LocalTick msgs in one batch", zapcore.DebugLevel},
		{"dragonboat", "%s is out of something", zapcore.WarnLevel},
		{"transport", "%s became unreachable, affected %d nodes", zapcore.WarnLevel},
	} {
		core, logs := observer.New(zapcore.DebugLevel)
		before := raftLogSink.Swap(zap.New(core))
		raftLogger(test.pkg).Warningf(test.format, "x", 2)
		raftLogSink.Store(before)
		entries := logs.FilterField(zap.String("package", test.pkg)).All()
		if len(entries) != 1 || entries[0].Level != test.want {
			t.Errorf("%s: %q: %v", test.pkg, test.format, entries)
		}
	}
}
