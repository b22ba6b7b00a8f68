// Package audit keeps a log of what operators do: one JSON line before an action,
// synced, and one after it. An action whose first line cannot be written does not
// happen: nobody changes a cluster unseen. One whose second line cannot be written
// has happened; that is logged elsewhere and counted.
//
//	call ─► access ─► attempt line, fsync ─► action ─► outcome line
//	           │              │
//	      denied line     UNAVAILABLE
//
// It holds no answers, and no requests that were only read.
package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/skerrydb/skerry/cmd/internal/access"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// Bounds of what is kept unless options say otherwise.
const (
	DefaultMaxBytes = 100 << 20
	DefaultKeep     = 5
	keepMax         = 100
)

// Options say where the log is kept.
type Options struct {
	// Path is the file; the folder must exist, and only one process may write it.
	// Empty: lines go to the logger, and can be lost.
	Path string
	// MaxBytes is the size at which a file is put aside; 0 is DefaultMaxBytes.
	MaxBytes int64
	// Keep is how many files put aside are kept, as PATH.1, the newest, to PATH.N;
	// 0 is DefaultKeep, 100 the most.
	Keep int
	// Audited tells whether calls of a method are kept; nil: those that take the
	// role operate, and those of nodes that people can make, too, and that change
	// the cluster.
	Audited func(fullMethod string) bool
}

func (o Options) withDefaults() Options {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Keep == 0 {
		o.Keep = DefaultKeep
	}
	if o.Audited == nil {
		o.Audited = func(method string) bool {
			role, ok := access.MethodRole(method)
			return ok && role == access.Operate || method == nodev1.NodeService_Found_FullMethodName || method == nodev1.NodeService_Operate_FullMethodName
		}
	}
	return o
}

// Validate reports every fault.
func (o Options) Validate() error {
	o = o.withDefaults()
	var faults []error
	if o.MaxBytes < lineBytesMax {
		faults = append(faults, fmt.Errorf("audit log: files of %d bytes: want %d at least", o.MaxBytes, lineBytesMax))
	}
	if o.Keep < 1 || o.Keep > keepMax {
		faults = append(faults, fmt.Errorf("audit log: %d files to keep: want 1 to %d", o.Keep, keepMax))
	}
	return errors.Join(faults...)
}

// Log is an open audit log. All methods may be called concurrently.
type Log struct {
	options    Options
	log        *zap.Logger
	registerer prometheus.Registerer
	records    *prometheus.CounterVec
	failures   *prometheus.CounterVec
	denials    denials
	// Denials on their way to the file: those who report them must not wait.
	denied  chan Record
	drained chan struct{}

	mu     sync.Mutex
	closed bool
	// The open file; nil without a path, and after a rotation that failed half way.
	file *os.File
	// Bytes of whole lines.
	size int64
	// Whether the file may end within a line.
	torn bool
}

// Open opens the log, creating it if needed. The logger and the registerer may be
// nil.
func Open(options Options, log *zap.Logger, registerer prometheus.Registerer) (*Log, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	if log == nil {
		log = zap.NewNop()
	}
	l := &Log{
		options: options.withDefaults(), log: log, registerer: registerer,
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_audit_records_total",
			Help: "Lines of the audit log, by phase of the action.",
		}, []string{"phase"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_audit_failures_total",
			Help: "Lines of the audit log that could not be written, by phase of the action. After an attempt the action was refused.",
		}, []string{"phase"}),
	}
	for _, phase := range []Phase{Attempt, Outcome, Denied} {
		l.records.WithLabelValues(string(phase))
		l.failures.WithLabelValues(string(phase))
	}
	if l.options.Path != "" {
		if err := l.openFile(); err != nil {
			return nil, fmt.Errorf("open audit log: %w: check that its folder exists and that this user may write to it", err)
		}
	}
	if err := l.register(); err != nil {
		return nil, errors.Join(err, l.closeFile())
	}
	l.denied, l.drained = make(chan Record, deniedMax), make(chan struct{})
	go func() {
		defer close(l.drained)
		for record := range l.denied {
			_ = l.write(record) // logged and counted
		}
	}()
	return l, nil
}

func (l *Log) register() error {
	if l.registerer == nil {
		return nil
	}
	if err := l.registerer.Register(l.records); err != nil {
		return err
	}
	if err := l.registerer.Register(l.failures); err != nil {
		l.registerer.Unregister(l.records)
		return err
	}
	return nil
}

// Close ends the log: what is to be audited afterwards is refused.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.denials.close(l.denied)
	<-l.drained
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.registerer != nil {
		l.registerer.Unregister(l.records)
		l.registerer.Unregister(l.failures)
	}
	return l.closeFile()
}

// write adds a record, and syncs it unless it is of a denial, of which strangers
// could cause many.
func (l *Log) write(record Record) error {
	err := l.append(record)
	if err != nil {
		l.failures.WithLabelValues(string(record.Phase)).Inc()
		l.log.Error("audit log not written", zap.Error(err), zap.String("phase", string(record.Phase)), zap.String("request_id", record.RequestID),
			zap.String("who", record.Who), zap.String("method", record.Method), zap.String("code", record.Code))
		return err
	}
	l.records.WithLabelValues(string(record.Phase)).Inc()
	return nil
}

func (l *Log) append(record Record) error {
	line, err := json.Marshal(record)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("the audit log is closed: the server stops")
	}
	if l.options.Path == "" {
		l.log.Info("audit", zap.String("record", string(line)))
		return nil
	}
	return l.appendLine(append(line, '\n'), record.Phase != Denied)
}
