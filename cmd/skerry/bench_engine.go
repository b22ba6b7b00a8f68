package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/local"
	"github.com/skerrydb/skerry/bench/result"
	"github.com/skerrydb/skerry/cmd/internal/enginebench"
	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// runEngines measures storage engines, one after the other. If there are several each has a process of its own:
// what one leaves in memory would be the other's.
func (f *benchSuite) runEngines(ctx context.Context, std streams) error {
	engines, err := enginebench.Parse(f.engine)
	if err != nil {
		return flags.Usagef("-engine: %v", err)
	}
	if len(f.targets) > 0 || f.nodes > 1 {
		return flags.Usagef("-engine measures in this process: leave out -target and -nodes")
	}
	size, err := f.chosenSize()
	if err != nil {
		return err
	}
	settings, err := f.settings(size.Blocks)
	if err != nil {
		return err
	}
	g, err := generate.New(settings)
	if err != nil {
		return flags.Usage(err)
	}
	file := f.file("suite", settings)
	if len(engines) > 1 {
		for _, engine := range engines {
			if err = f.runEngineApart(ctx, std, engine, file); err != nil {
				break
			}
		}
		return f.finish(ctx, std, file, err)
	}
	show := newBenchProgress(std, &f.benchFlags)
	said, stop := show.steps("")
	runs, steps, target, err := enginebench.Run(ctx, g, enginebench.Options{
		Engine: engines[0], Blocks: settings.Blocks, Duration: size.Duration, Repetitions: size.Repetitions, Askers: size.Askers, WorkDir: f.workDir,
		Step: said.step, Progress: said.progress,
	})
	stop()
	show.clear()
	file.Runs, file.Steps, file.Targets = runs, steps, []result.Target{target}
	return f.finish(ctx, std, file, err)
}

// runEngineApart has another process of this binary do it, and takes over its result.
func (f *benchSuite) runEngineApart(ctx context.Context, std streams, engine enginebench.Engine, into *result.File) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(f.workDir, "skerry-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "result.json")
	args := append([]string{"bench", "suite"}, f.args...)
	args = append(args, "-engine="+string(engine), "-out="+path) // the last of a flag counts
	command := exec.CommandContext(ctx, binary, args...)
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // it has a folder to remove
	command.WaitDelay = local.StopLimit
	command.Stderr = std.err
	failed := command.Run()
	made, err := result.Read(path)
	if err == nil {
		into.Runs, into.Steps, into.Targets = append(into.Runs, made.Runs...), append(into.Steps, made.Steps...), append(into.Targets, made.Targets...)
	}
	if failed != nil {
		return fmt.Errorf("%s: %w", engine, errors.Join(failed, err))
	}
	return err
}
