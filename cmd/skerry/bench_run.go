package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/pace"
	"github.com/skerrydb/skerry/bench/result"
	"github.com/skerrydb/skerry/bench/scenario"
	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// benchRun is a command that measures one thing at targets that run.
type benchRun struct {
	benchFlags
	addr      string
	name      string
	blocks    uint64
	data      string
	added     int64
	callers   int
	rate      float64
	writeRate float64
	duration  time.Duration
	repeat    int
	kinds     flags.List
	quiet     time.Duration

	mu   sync.Mutex
	file *result.File
}

func (r *benchRun) declareAll(set *flag.FlagSet) {
	r.declare(set)
	set.StringVar(&r.addr, "addr", "127.0.0.1:9095", "`HOST:PORT` gRPC address of a metastore, without -target; several targets are measured at once. Or set SKERRY_ADDR")
	set.Uint64Var(&r.blocks, "blocks", 100_000, "`N` blocks of the workload before fresh ones")
	set.StringVar(&r.data, "data", "", "`FILE` a result of an earlier command at the same targets: its workload, and what is there")
	set.IntVar(&r.callers, "callers", 16, "`N` calls at once: always, or with -rate at most")
	if r.name != "load" {
		set.Int64Var(&r.added, "added", -1, "`N` blocks that are there already; default all of -blocks, or those of -data")
		set.IntVar(&r.repeat, "repeat", 1, "`N` repetitions; 6 let intervals be calculated")
	}
	if r.name != "load" && r.name != "poll" {
		set.DurationVar(&r.duration, "duration", 10*time.Second, "`DURATION` of each repetition")
		set.Float64Var(&r.rate, "rate", 0, "`N` calls a second, at fixed times, whether answers come or not (open loop); 0 for as many as -callers can")
	}
}

func (r *benchRun) command(summary, detail string, more func(*flag.FlagSet), measure func(context.Context, *benchMeasured) error) command {
	return command{
		name: "bench " + r.name, summary: summary, detail: benchHelp + detail,
		setup: func(set *flag.FlagSet) action {
			r.declareAll(set)
			if more != nil {
				more(set)
			}
			return func(ctx context.Context, std streams, args []string) error {
				if len(args) > 0 {
					return flags.Usagef("unexpected argument %q", args[0])
				}
				set.Visit(func(given *flag.Flag) { r.args = append(r.args, "-"+given.Name+"="+given.Value.String()) })
				return r.run(ctx, std, measure)
			}
		},
	}
}

// benchMeasured is one target while it is measured.
type benchMeasured struct {
	*benchRun
	target   *result.Target
	g        *generate.Generator
	session  *scenario.Session
	progress func(pace.Progress)
	// Of this repetition.
	repetition int
}

func (r *benchRun) run(ctx context.Context, std streams, measure func(context.Context, *benchMeasured) error) error {
	settings, earlier, err := r.known()
	if err != nil {
		return err
	}
	g, err := generate.New(settings)
	if err != nil {
		return flags.Usage(err)
	}
	targets, err := r.given()
	if err != nil {
		return err
	}
	if err := errors.Join(r.benchFlags.check(), r.check()); err != nil {
		return err
	}
	r.file = r.benchFlags.file(r.name, settings)
	show := newBenchProgress(std, &r.benchFlags)
	var all []*benchMeasured
	for _, given := range targets {
		m, hangUp, err := r.connect(g, given, earlier)
		if err != nil {
			return err
		}
		defer hangUp()
		m.progress = show.of(strings.TrimSuffix(r.name+" "+given.name, " "+r.addr))
		all = append(all, m)
	}
	for repetition := range max(1, r.repeat) {
		faults := make([]error, len(all))
		var measuring sync.WaitGroup
		for i, m := range all {
			m.repetition = repetition
			measuring.Go(func() { faults[i] = measure(ctx, m) })
		}
		measuring.Wait()
		if err = errors.Join(faults...); err != nil {
			break
		}
	}
	show.clear()
	for _, m := range all {
		m.target.Added = m.session.Added()
		r.file.Targets = append(r.file.Targets, *m.target)
	}
	return r.finish(ctx, std, r.file, err)
}

// given are the targets of -target, or that of -addr.
func (r *benchRun) given() (benchTargets, error) {
	if len(r.targets) > 0 {
		return r.targets, nil
	}
	var one benchTargets
	if err := one.Set(r.addr); err != nil {
		return nil, flags.Usagef("-addr is %q: want HOST:PORT", r.addr)
	}
	return one, nil
}

func (r *benchRun) check() error {
	o := r.paced(nil)
	o.Calls = 1 // some commands end otherwise
	if r.repeat < 0 || r.repeat > 1000 {
		return flags.Usagef("-repeat is %d: want 1 to 1000", r.repeat)
	}
	if r.duration < 0 {
		return flags.Usagef("-duration is %s: want more than 0", r.duration)
	}
	return flags.Usage(o.Validate())
}

// known is the workload, and the earlier result that it comes from.
func (r *benchRun) known() (generate.Settings, *result.File, error) {
	if r.data == "" {
		settings, err := r.settings(r.blocks)
		return settings, nil, err
	}
	earlier, err := result.Read(r.data)
	if err != nil {
		return generate.Settings{}, nil, err
	}
	return earlier.Workload, earlier, nil
}

func (r *benchRun) connect(g *generate.Generator, given benchTarget, earlier *result.File) (*benchMeasured, func(), error) {
	m := &benchMeasured{benchRun: r, g: g, target: &result.Target{Name: given.name, Addresses: given.addresses}}
	added := g.Settings().Blocks
	if earlier != nil {
		at := slices.IndexFunc(earlier.Targets, func(t result.Target) bool { return t.Name == given.name })
		if at < 0 && len(earlier.Targets) != 1 {
			return nil, nil, flags.Usagef("-data %s has no target %q", r.data, given.name)
		}
		old := earlier.Targets[max(0, at)]
		added, m.target.Compacted = old.Added, old.Compacted
	}
	if r.name == "load" && earlier == nil {
		added = 0
	}
	if r.name != "load" && r.added >= 0 {
		added = uint64(r.added)
	}
	if m.target.Compacted && r.name != "write" && r.name != "poll" {
		return nil, nil, flags.Usagef("%s: blocks were compacted: answers about single blocks cannot be checked any more", given.name)
	}
	var conns []grpc.ClientConnInterface
	var open []*grpc.ClientConn
	hangUp := func() {
		for _, conn := range open {
			_ = conn.Close()
		}
	}
	for _, address := range given.addresses {
		conn, err := r.dial(address)
		if err != nil {
			hangUp()
			return nil, nil, err
		}
		open, conns = append(open, conn), append(conns, conn)
	}
	var err error
	if m.session, err = scenario.New(g, conns, r.timeout, added); err != nil {
		hangUp()
		return nil, nil, flags.Usage(err)
	}
	return m, hangUp, nil
}

func (r *benchRun) paced(progress func(pace.Progress)) pace.Options {
	return pace.Options{Callers: r.callers, Rate: r.rate, Duration: r.duration, Grace: r.timeout, Progress: progress, ProgressEach: time.Second}
}

func (m *benchMeasured) note(run result.Run, p *pace.Measurement, err error) error {
	if p == nil {
		return err
	}
	run.Target, run.Repetition, run.Callers = m.target.Name, m.repetition, m.callers
	made, failed := result.NewRun(run, p)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.file.Runs = append(m.file.Runs, made)
	return errors.Join(err, failed)
}

func benchLoadCommand() command {
	r := &benchRun{name: "load"}
	return r.command("add the blocks of a workload", "", nil, func(ctx context.Context, m *benchMeasured) error {
		p, err := m.session.Load(ctx, m.g.Settings().Blocks, m.paced(m.progress))
		return m.note(result.Run{Scenario: "load"}, p, err)
	})
}

func benchWriteCommand() command {
	r := &benchRun{name: "write"}
	return r.command("measure adds of fresh blocks", "", nil, func(ctx context.Context, m *benchMeasured) error {
		blocks := m.session.Added()
		p, err := m.session.Write(ctx, m.paced(m.progress))
		return m.note(result.Run{Scenario: "write", Rate: m.rate, Blocks: blocks}, p, err)
	})
}

func benchQueryCommand() command {
	r := &benchRun{name: "query"}
	return r.command("measure queries for blocks", "", r.kindFlag, func(ctx context.Context, m *benchMeasured) error { return m.ask(ctx, false) })
}

func benchLabelsCommand() command {
	r := &benchRun{name: "labels"}
	return r.command("measure queries for label values", "", r.kindFlag, func(ctx context.Context, m *benchMeasured) error { return m.ask(ctx, true) })
}

func (r *benchRun) kindFlag(set *flag.FlagSet) {
	set.Var(&r.kinds, "kind", "`NAME` kind of question; repeat the flag or separate several with commas; default all. For blocks tenant-1h-service, tenant-24h, tenant-7d-rare and tenants-6h; for labels labels-24h")
}

// chosen are the kinds of -kind.
func (m *benchMeasured) chosen(labels bool) ([]scenario.Kind, error) {
	var chosen []scenario.Kind
	found := 0
	for _, kind := range scenario.Kinds(m.g) {
		if kind.Labels == labels && (len(m.kinds) == 0 || slices.Contains(m.kinds, kind.Name)) {
			chosen = append(chosen, kind)
			found++
		}
	}
	if len(m.kinds) > 0 && found != len(m.kinds) {
		return nil, flags.Usagef("-kind is %s: see: skerry bench %s -help", strings.Join(m.kinds, ","), m.name)
	}
	return chosen, nil
}

func (m *benchMeasured) ask(ctx context.Context, labels bool) error {
	kinds, err := m.chosen(labels)
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		p, asked, err := m.session.Ask(ctx, kind, m.paced(m.progress))
		if err := m.note(m.askedRun(kind, p, &asked), p, err); err != nil {
			return err
		}
	}
	return nil
}

func (m *benchMeasured) askedRun(kind scenario.Kind, p *pace.Measurement, asked *scenario.Asked) result.Run {
	run := result.Run{Scenario: kind.Name, Rate: m.rate, Blocks: m.session.Added(), Digest: asked.Expected.String()}
	if p != nil {
		run.ItemsPerAnswer = asked.PerAnswer(p)
	}
	return run
}

func benchMixedCommand() command {
	r := &benchRun{name: "mixed"}
	more := func(set *flag.FlagSet) {
		r.kindFlag(set)
		set.Float64Var(&r.writeRate, "write-rate", 0, "`N` adds a second (open loop); 0 for as many as -callers can")
	}
	return r.command("measure queries for blocks while others add some", "Without -kind it asks tenant-1h-service.\n", more, func(ctx context.Context, m *benchMeasured) error {
		if len(m.kinds) == 0 {
			m.kinds = flags.List{"tenant-1h-service"}
		}
		kinds, err := m.chosen(false)
		if err != nil {
			return err
		}
		for _, kind := range kinds {
			blocks := m.session.Added()
			writes := m.paced(nil)
			writes.Rate = m.writeRate
			p, written, asked, err := m.session.Mixed(ctx, kind, m.paced(m.progress), writes)
			run := m.askedRun(kind, p, &asked)
			run.Scenario, run.Blocks = "mixed "+kind.Name, blocks
			err = m.note(run, p, err)
			if err = m.note(result.Run{Scenario: "mixed write", Rate: m.writeRate, Blocks: blocks}, written, err); err != nil {
				return err
			}
		}
		return nil
	})
}

func benchPollCommand() command {
	r := &benchRun{name: "poll"}
	more := func(set *flag.FlagSet) {
		set.DurationVar(&r.quiet, "quiet", 5*time.Second, "`DURATION` how long no worker must have had a job for it to be the end")
	}
	return r.command("compact everything, without objects, and measure polls", `Workers report results for which there are no objects: do that only to a metastore that
is thrown away. What is there is checked at the end.
`, more, func(ctx context.Context, m *benchMeasured) error {
		o := m.paced(m.progress)
		o.Rate, o.Duration = 0, math.MaxInt64
		m.target.Compacted = true
		p, done, err := m.session.Compact(ctx, scenario.CompactOptions{Slots: 8, Quiet: m.quiet}, o)
		if err := m.note(result.Run{Scenario: "poll", Blocks: m.session.Added()}, p, err); err != nil {
			return err
		}
		m.mu.Lock()
		m.file.Steps = append(m.file.Steps, result.Step{Name: "compact", Target: m.target.Name, Blocks: m.session.Added(), Seconds: done.Seconds,
			Details: map[string]uint64{"jobs": done.Jobs, "sources": done.Sources, "results": done.Results}})
		m.mu.Unlock()
		if err := m.session.CheckBytes(ctx); err != nil {
			return fmt.Errorf("%s, after compaction: %w", m.target.Name, err)
		}
		return nil
	})
}
