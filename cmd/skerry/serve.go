package main

import (
	"context"
	"fmt"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/skerrydb/skerry/cmd/internal/config"
	"github.com/skerrydb/skerry/cmd/internal/server"
)

func serverCommands() []command {
	return []command{
		serverCommand(config.CommandServe, "run everything in one process: a node that needs no others, and a router"),
		serverCommand(config.CommandNode, "run a node of a cluster"),
		serverCommand(config.CommandRouter, "run a router of a cluster"),
	}
}

func serverCommand(name config.Command, summary string) command {
	return command{
		name: string(name), summary: summary,
		run: func(ctx context.Context, std streams, args []string) error {
			settings, err := config.Parse(name, args, std.env, std.out)
			if err != nil {
				return err
			}
			log, err := newLogger(settings)
			if err != nil {
				return err
			}
			return server.Run(ctx, settings, std.out, log)
		},
	}
}

// newLogger writes to standard error: standard output is for what the operator
// asked for.
func newLogger(settings config.Server) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(settings.LogLevel)
	if err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	options := zap.NewProductionConfig()
	options.Level = zap.NewAtomicLevelAt(level)
	options.Encoding = settings.LogFormat
	options.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	options.EncoderConfig.EncodeDuration = zapcore.StringDurationEncoder
	options.DisableCaller = true
	options.DisableStacktrace = true
	return options.Build()
}
