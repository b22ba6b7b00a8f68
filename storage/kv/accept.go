package kv

import (
	"io"
	"log"
	"os"
)

// FreelistType exists for programs written for bbolt.
type FreelistType string

// The kinds of free list bbolt knows. They have no effect.
const (
	FreelistArrayType = FreelistType("array")
	FreelistMapType   = FreelistType("hashmap")
)

// Info exists for programs written for bbolt.
type Info struct {
	Data     uintptr // always 0
	PageSize int     // a constant
}

// Info returns constants.
func (db *DB) Info() *Info { return &Info{PageSize: os.Getpagesize()} }

// Logger is the interface of bbolt's logger. Nothing is written to it.
type Logger interface {
	Debug(v ...any)
	Debugf(format string, v ...any)
	Error(v ...any)
	Errorf(format string, v ...any)
	Info(v ...any)
	Infof(format string, v ...any)
	Warning(v ...any)
	Warningf(format string, v ...any)
	Fatal(v ...any)
	Fatalf(format string, v ...any)
	Panic(v ...any)
	Panicf(format string, v ...any)
}

// DefaultLogger writes everything to a logger of the standard library.
type DefaultLogger struct{ *log.Logger }

// Debug writes a message.
func (l *DefaultLogger) Debug(v ...any) { l.Print(v...) }

// Debugf writes a formatted message.
func (l *DefaultLogger) Debugf(format string, v ...any) { l.Printf(format, v...) }

// Error writes a message.
func (l *DefaultLogger) Error(v ...any) { l.Print(v...) }

// Errorf writes a formatted message.
func (l *DefaultLogger) Errorf(format string, v ...any) { l.Printf(format, v...) }

// Info writes a message.
func (l *DefaultLogger) Info(v ...any) { l.Print(v...) }

// Infof writes a formatted message.
func (l *DefaultLogger) Infof(format string, v ...any) { l.Printf(format, v...) }

// Warning writes a message.
func (l *DefaultLogger) Warning(v ...any) { l.Print(v...) }

// Warningf writes a formatted message.
func (l *DefaultLogger) Warningf(format string, v ...any) { l.Printf(format, v...) }

// Logger returns the logger of Options, or one that writes nowhere.
func (db *DB) Logger() Logger {
	if db.logger != nil {
		return db.logger
	}
	return &DefaultLogger{Logger: log.New(io.Discard, "", 0)}
}
