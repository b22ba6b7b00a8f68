package shardgroup

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/logger"
	"go.uber.org/zap"
)

// Dragonboat logs through one factory per process. The sink behind it can be
// set at any time; before that, and for everything below warnings, it is
// silent: dragonboat's informational lines are a developer's, not an operator's.
var (
	installRaftLog sync.Once
	raftLogSink    atomic.Pointer[zap.Logger]
)

func logRaftTo(log *zap.Logger) {
	raftLogSink.Store(log.Named("raft").WithOptions(zap.AddCallerSkip(1)))
	installRaftLog.Do(func() {
		logger.SetLoggerFactory(func(pkg string) logger.ILogger { return raftLogger(pkg) })
	})
}

// raftLogger is one of dragonboat's packages.
type raftLogger string

func (l raftLogger) sugar() *zap.SugaredLogger {
	return raftLogSink.Load().Sugar().With("package", string(l))
}

func (raftLogger) SetLevel(logger.LogLevel) {}

func (l raftLogger) Debugf(string, ...any) {}

func (l raftLogger) Infof(format string, args ...any) { l.sugar().Debugf(format, args...) }

// Warningf demotes what is no warning to an operator: each step of an ordinary
// election ("raft"), the reminder at each start that traffic is not encrypted
// ("config"), that a stale read is stale: only the status is read so, and that two
// ticks came together, half an election's time by dragonboat's count: what holds up a
// group for so long, the disk's watchdog tells better.
func (l raftLogger) Warningf(format string, args ...any) {
	if l == "config" || l == "raft" || strings.HasPrefix(format, "StaleRead called") || strings.Contains(format, "LocalTick msgs in one batch") {
		l.sugar().Debugf(format, args...)
		return
	}
	l.sugar().Warnf(format, args...)
}

func (l raftLogger) Errorf(format string, args ...any) { l.sugar().Errorf(format, args...) }

func (l raftLogger) Panicf(format string, args ...any) { l.sugar().Panicf(format, args...) }
