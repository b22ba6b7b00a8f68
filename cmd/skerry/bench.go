package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/result"
	"github.com/skerrydb/skerry/cmd/internal/build"
	"github.com/skerrydb/skerry/cmd/internal/flags"
	"github.com/skerrydb/skerry/proto/wirecodec"
)

// Answers to measured questions may be larger than a server's limit.
const benchMessageBytesMax = 512 << 20

func benchCommands() []command {
	return []command{
		benchLoadCommand(), benchWriteCommand(), benchQueryCommand(), benchLabelsCommand(), benchPollCommand(), benchMixedCommand(),
		benchSuiteCommand(), benchRestartCommand(), benchFailoverCommand(), benchScaleCommand(), benchCompareCommand(),
	}
}

const benchHelp = `Measures any server of Pyroscope's metastore API, and checks its answers: a wrong one
ends with exit code 1. Blocks are made from -seed and their number, so commands with the
same workload know the same blocks; -data takes it from an earlier command's result.
`

// benchTarget is a metastore: a name and addresses.
type benchTarget struct {
	name      string
	addresses []string
}

// benchTargets is the value of -target.
type benchTargets []benchTarget

func (t *benchTargets) String() string { return "" }

func (t *benchTargets) Set(text string) error {
	name, list, named := strings.Cut(text, "=")
	if !named {
		name, list = text, text
	}
	target := benchTarget{name: name}
	for address := range strings.SplitSeq(list, ",") {
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			return fmt.Errorf("%q: want [NAME=]HOST:PORT[,HOST:PORT...]", text)
		}
		target.addresses = append(target.addresses, address)
	}
	for _, other := range *t {
		if other.name == name {
			return fmt.Errorf("target %q is given twice", name)
		}
	}
	*t = append(*t, target)
	return nil
}

// benchFlags are those of every command that measures.
type benchFlags struct {
	targets  benchTargets
	timeout  time.Duration
	security clientSecurity
	workload generate.Settings
	shape    *flags.Choice
	end      string
	out      string
	format   *flags.Choice
	args     []string
}

func (f *benchFlags) declare(set *flag.FlagSet) {
	f.shape, f.format = flags.NewChoice(string(generate.Standard), string(generate.Real)), flags.NewChoice(formatTable, formatJSON)
	set.Var(&f.targets, "target", "`[NAME=]HOST:PORT[,...]` a metastore, with a name and all its addresses")
	set.DurationVar(&f.timeout, "timeout", 30*time.Second, "`DURATION` how long one call may take")
	set.Uint64Var(&f.workload.Seed, "seed", 1, "`N` of the workload")
	set.Var(f.shape, "shape", "`WORD` of blocks: standard, all alike, or real, as in a capture of a real Pyroscope")
	set.Float64Var(&f.workload.Days, "days", 0, "`N` days over which blocks are spread; 0 for 7 of standard and 30 of real ones")
	set.StringVar(&f.end, "end", "", "`TIME` RFC 3339, their end; default is the begin of this day, UTC")
	set.IntVar(&f.workload.Tenants, "tenants", 0, "`N` tenants; 0 for 20 of standard and 100 of real blocks")
	set.IntVar(&f.workload.Shards, "shards", 0, "`N` data shards; 0 for 16")
	set.StringVar(&f.out, "out", "", "`FILE` the results, as JSON: for -data and for skerry bench compare")
	set.Var(f.format, "o", "`FORMAT` output: table, json")
	f.security.declare(set)
}

// settings are those of the workload.
func (f *benchFlags) settings(blocks uint64) (generate.Settings, error) {
	s := f.workload
	s.Blocks, s.Shape = blocks, generate.Shape(f.shape.Value)
	if f.end != "" {
		end, err := time.Parse(time.RFC3339, f.end)
		if err != nil {
			return s, flags.Usagef("-end is %q: want a time like 2026-11-20T00:00:00Z", f.end)
		}
		s.End = end.UnixMilli()
	}
	s = s.WithDefaults(time.Now())
	return s, flags.Usage(s.Validate())
}

func (f *benchFlags) dial(address string) (*grpc.ClientConn, error) {
	options, err := f.security.dialOptions()
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:///"+address, append(options, grpc.WithDefaultCallOptions(
		grpc.ForceCodecV2(wirecodec.Codec{}), grpc.MaxCallRecvMsgSize(benchMessageBytesMax), grpc.MaxCallSendMsgSize(benchMessageBytesMax),
	), grpc.WithConnectParams(grpc.ConnectParams{
		// What was away is noticed soon when it is back: by default only after up to two minutes.
		Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, MaxDelay: 500 * time.Millisecond}, MinConnectTimeout: 5 * time.Second,
	}))...)
}

// file begins a result.
func (f *benchFlags) file(name string, settings generate.Settings) *result.File {
	return &result.File{
		Format: result.Format, Command: append([]string{"skerry", "bench", name}, f.args...), Began: time.Now().UTC(), Version: build.Read().String(),
		Machine: result.ThisMachine(), Workload: settings,
	}
}

// finish writes results, also those of a run that failed.
func (f *benchFlags) finish(ctx context.Context, std streams, file *result.File, err error) error {
	var usage *flags.UsageError
	if errors.As(err, &usage) {
		return err
	}
	if err != nil && ctx.Err() != nil {
		err = errInterrupted
	}
	if f.out != "" {
		err = errors.Join(err, file.Write(f.out))
	}
	if f.format.Value == formatJSON {
		err = errors.Join(err, writeJSON(std.out, file))
	} else {
		err = errors.Join(err, writeBench(std.out, file))
	}
	return errors.Join(err, file.Err())
}

// check finds out early what cannot work.
func (f *benchFlags) check() error {
	if f.timeout <= 0 {
		return flags.Usagef("-timeout is %s: want more than 0", f.timeout)
	}
	if f.out == "" {
		return nil
	}
	info, err := os.Stat(f.out)
	if err == nil && info.IsDir() {
		return flags.Usagef("-out %s is a folder", f.out)
	}
	return nil
}
