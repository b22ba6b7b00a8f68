package figures

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

var (
	transfersGroups   = flag.Int("figures.transfers.groups", 16, "data groups, all of which share the streams")
	transfersStreams  = flag.Int("figures.transfers.streams", 64, "streams: shards of segments")
	transfersTenants  = flag.Int("figures.transfers.tenants", 300, "tenants")
	transfersSpread   = flag.Int("figures.transfers.spread", 8, "streams that have data of a tenant")
	transfersEach     = flag.Int("figures.transfers.each", 20, "tenants in a segment, at most")
	transfersRates    = numbersFlag("figures.transfers.rates", numbers{200, 0}, "segments/s, one measurement each; 0 for as many as the writers manage")
	transfersWriters  = flag.Int("figures.transfers.writers", 32, "concurrent adds")
	transfersWorkers  = flag.Int("figures.transfers.workers", 4, "compaction workers")
	transfersSlots    = flag.Int("figures.transfers.slots", 8, "jobs that a worker takes in a poll")
	transfersPoll     = flag.Duration("figures.transfers.poll", 100*time.Millisecond, "time between polls of a worker")
	transfersQueriers = flag.Int("figures.transfers.queriers", 4, "concurrent queries")
	transfersPause    = flag.Duration("figures.transfers.pause", 20*time.Millisecond, "time between queries of each")
	transfersWindow   = flag.Int("figures.transfers.window", 1000, "segments of all streams in the time that a query asks for")
	transfersTime     = flag.Duration("figures.transfers.time", time.Minute, "time of each measurement")
	transfersWarm     = flag.Duration("figures.transfers.warm", 10*time.Second, "time before it that does not count")
)

// Targets. A query should not take longer because of transfers: what the writes cost
// it is measured apart.
const (
	lagTarget    = time.Second // p99
	slowerTarget = 1.25        // p99 of queries with transfers, to that with writes alone
	roundsTarget = 10_000      // extra rounds per million queries
)

// TestFigureTransfers measures how what is compacted gets to its tenants' groups,
// and what that costs.
func TestFigureTransfers(t *testing.T) {
	binary, dir := measures(t)
	streamGroups := *transfersGroups
	if streamGroups == 1 {
		streamGroups = 0
	}
	c := found(t, binary, dir, *transfersGroups, streamGroups)
	led := c.awaitSpread(t)
	f := newTransferFigures(t, c)
	for _, rate := range *transfersRates {
		t.Run(fmt.Sprintf("rate=%d", rate), func(t *testing.T) { f.measure(t, rate) })
	}
	f.totals.note("%d groups lead on the nodes %v (the directory's included); %d streams, %d tenants with data in %d of them, segments of %d tenants; %d writers, %d workers with %d slots each %v, %d queriers each %v",
		*transfersGroups, led, *transfersStreams, *transfersTenants, *transfersSpread, *transfersEach, *transfersWriters, *transfersWorkers, *transfersSlots, *transfersPoll, *transfersQueriers, *transfersPause)
	f.totals.note("a transfer is one block: what a job made of a tenant. Lag: age of transfers when the stream's leader knew that they were accepted, since the completion of the job. Writers, workers and queriers are the client; of %d cores, what others used is missing",
		runtime.NumCPU())
	f.queries.note("the same queries are asked: with all running, with nothing running, and with writes alone; their answers have fewer blocks later, since more is compacted")
	f.raft.note("a part of an entry for each command in it; bytes of commands as they are proposed once, to be stored by three replicas")
	for _, b := range []*table{f.totals, f.course, f.queries, f.raft} {
		b.print(t, dir)
	}
	c.stop(t)
}

// transferFigures are the clients and what they saw.
type transferFigures struct {
	*cluster
	segments segments
	load     *load
	workers  *workers
	queriers *queriers

	totals, course, queries, raft *table
}

func newTransferFigures(t *testing.T, c *cluster) *transferFigures {
	made := newSegments(2*time.Millisecond, *transfersStreams, *transfersTenants, *transfersSpread, *transfersEach)
	return &transferFigures{
		cluster: c, segments: made,
		load:     &load{clients: index(t, 2, c.nodes...), blocks: made},
		workers:  &workers{conns: connections(t, 1, c.nodes...), slots: *transfersSlots, pace: *transfersPoll},
		queriers: &queriers{conns: connections(t, 1, c.nodes...), pace: *transfersPause},
		totals: &table{title: fmt.Sprintf("Transfers: three nodes, %d groups, %v each", *transfersGroups, *transfersTime), columns: []string{
			"segments/s wanted", "added/s", "compacted/s", "jobs/s of segments", "of blocks", "transfers/s", "lag p50 ms", "lag p99 ms", "waiting at the end", "done with after s", "CPU cores, nodes", "client", "others", "failures: adds", "workers", "queries", "deliveries",
		}},
		course: &table{title: "Transfers: over the time", columns: []string{
			"segments/s wanted", "s", "added/s", "compacted/s", "transfers/s", "segments that wait", "transfers that wait", "oldest s",
		}},
		queries: &table{title: "Transfers: queries of one tenant", columns: []string{
			"segments/s wanted", "meanwhile", "queries", "p50 ms", "p99 ms", "max ms", "p50 to idle", "p99 to idle", "blocks/answer", "extra rounds per million", "given up", "CPU cores, nodes", "client", "others",
		}},
		raft: &table{title: "Transfers: Raft, by kind of command", columns: []string{
			"segments/s wanted", "kind", "commands", "entries", "bytes", "entries per transfer", "bytes per transfer",
		}},
	}
}

// write adds segments at a rate until the function that it returns is called, which
// returns what was added.
func (f *transferFigures) write(t *testing.T, rate int) (stop func() result) {
	t.Helper()
	var ended atomic.Bool
	type outcome struct {
		result
		err error
	}
	done, began := make(chan outcome, 1), time.Now()
	go func() {
		r, err := f.load.try(t.Context(), *transfersWriters, func(adds int64) bool {
			for rate > 0 && !ended.Load() {
				wait := time.Until(began.Add(time.Duration(float64(adds) / float64(rate) * float64(time.Second))))
				if wait <= 0 {
					break
				}
				time.Sleep(min(wait, 100*time.Millisecond))
			}
			return !ended.Load()
		})
		done <- outcome{r, err}
	}()
	return func() result {
		ended.Store(true)
		o := <-done
		must(t, o.err)
		return o.result
	}
}

// query asks for a tenant's data of some time, half of the time up to now.
func (f *transferFigures) query(n int, random *rand.Rand) *metastorev1.QueryMetadataRequest {
	last, window := f.load.next.Load(), uint64(*transfersWindow)
	if n%2 == 1 {
		last -= min(last, random.Uint64N(8*window))
	}
	first := last - min(last, window)
	return &metastorev1.QueryMetadataRequest{
		TenantId: []string{f.segments.ofTenant(random.IntN(1 << 20))}, Query: "{}", Labels: []string{"service_name"},
		StartTime: f.segments.at(first).UnixMilli(), EndTime: f.segments.at(last).UnixMilli(),
	}
}

// usage is what processes have used up to a moment.
type usage struct {
	at                  time.Time
	nodes, own, machine time.Duration
	metrics             scrape
}

func (f *transferFigures) usage(t *testing.T) usage {
	t.Helper()
	machine, err := machineCPU()
	must(t, err)
	return usage{at: time.Now(), nodes: f.cpu(t), own: ownCPU(), machine: machine, metrics: f.scrape(t)}
}

func (f *transferFigures) measure(t *testing.T, rate int) {
	wanted := strconv.Itoa(rate)
	if rate == 0 {
		wanted = "all"
	}
	stopWork := f.workers.start(t.Context(), *transfersWorkers)
	stopWrite := f.write(t, rate)
	time.Sleep(*transfersWarm)
	f.load.failures.take()
	f.workers.failures.take()

	stopCourse := f.watch(t, wanted)
	before, added := f.usage(t), f.load.next.Load()
	segments, jobs, higher := f.workers.segments.Load(), f.workers.jobs.Load(), f.workers.higher.Load()
	end := before.at.Add(*transfersTime)
	places := make([]int, *transfersQueriers)
	asked := f.queriers.ask(t.Context(), *transfersQueriers, func(i int, random *rand.Rand) *metastorev1.QueryMetadataRequest {
		if time.Now().After(end) {
			return nil
		}
		places[i]++
		return f.query(places[i], random)
	})
	after := f.usage(t)
	seconds := after.at.Sub(before.at).Seconds()
	per := func(n float64) string { return fmt.Sprintf("%.1f", n/seconds) }
	diff := func(name string, labels ...string) float64 {
		return after.metrics.sum(name, labels...) - before.metrics.sum(name, labels...)
	}
	addedNow, segmentsNow, jobsNow, higherNow := f.load.next.Load(), f.workers.segments.Load(), f.workers.jobs.Load(), f.workers.higher.Load()
	stopCourse()
	stopWrite()
	idle := f.workers.awaitIdle(t, f.cluster)
	stopWork()
	p50, p99 := quantile(before.metrics, after.metrics, "skerry_transfers_age_seconds", 0.5), quantile(before.metrics, after.metrics, "skerry_transfers_age_seconds", 0.99)
	nodes, client, others := cores(before, after)
	f.totals.row(wanted, per(float64(addedNow-added)), per(float64(segmentsNow-segments)), per(float64(jobsNow-jobs)), per(float64(higherNow-higher)),
		per(diff("skerry_transfers_delivered_total")), fmt.Sprintf("%.1f", 1000*p50), fmt.Sprintf("%.1f", 1000*p99),
		after.metrics.sum("skerry_transfers_waiting"), fmt.Sprintf("%.1f", idle.Seconds()),
		nodes, client, others, f.load.failures.take(), f.workers.failures.take(), f.queriers.failures.take(), diff("skerry_transfers_failed_total"))
	if p99 > lagTarget.Seconds() {
		f.totals.note("%s segments/s: the p99 of the lag is %.1f s, more than %v", wanted, p99, lagTarget)
	}
	f.raftRows(wanted, before.metrics, after.metrics)
	f.compare(t, wanted, rate, asked, before, after)
}

// cores are how many the nodes, the client and everybody else kept busy.
func cores(before, after usage) (nodes, client, others string) {
	seconds := after.at.Sub(before.at).Seconds()
	n, own, all := (after.nodes - before.nodes).Seconds(), (after.own - before.own).Seconds(), (after.machine - before.machine).Seconds()
	per := func(n float64) string { return fmt.Sprintf("%.2f", max(0, n)/seconds) }
	return per(n), per(own), per(all - n - own)
}

// compare asks the same queries again, with nothing and with writes alone.
func (f *transferFigures) compare(t *testing.T, wanted string, rate int, with answers, before, after usage) {
	t.Helper()
	f.queriers.failures.take()
	quiet := f.usage(t)
	idle := f.queriers.again(t, with)
	quietAfter := f.usage(t)
	writing := f.usage(t)
	stopWrite := f.write(t, rate)
	alone := f.queriers.again(t, with)
	writingAfter := f.usage(t)
	stopWrite()
	f.queryRow(wanted, "writes and transfers", with, idle, before, after)
	f.queryRow(wanted, "nothing", idle, idle, quiet, quietAfter)
	f.queryRow(wanted, "writes", alone, idle, writing, writingAfter)
	if failed := f.queriers.failures.take(); failed != "none" {
		f.queries.note("%s segments/s: failures of queries afterwards: %s", wanted, failed)
	}
	slower := float64(percentile(with.times, 0.99)) / float64(max(1, percentile(alone.times, 0.99)))
	verdict := "within"
	if slower > slowerTarget {
		verdict = "more than"
	}
	f.queries.note("%s segments/s: the p99 with transfers is %.2f times that with writes alone, %s %.2f", wanted, slower, verdict, slowerTarget)

	// What was added is compacted before the next measurement.
	stopWork := f.workers.start(t.Context(), *transfersWorkers)
	f.workers.awaitIdle(t, f.cluster)
	stopWork()
	f.load.failures.take()
}

func (f *transferFigures) queryRow(wanted, meanwhile string, got, idle answers, before, after usage) {
	const call = "QueryMetadata"
	diff := func(name string) float64 {
		return after.metrics.sum(name, "call", call) - before.metrics.sum(name, "call", call)
	}
	queries := max(1, diff("skerry_router_transfer_rereads"))
	rounds := 1e6 * diff("skerry_router_transfer_rereads_sum") / queries
	ratio := func(share float64) string {
		return fmt.Sprintf("%.2f", float64(percentile(got.times, share))/float64(max(1, percentile(idle.times, share))))
	}
	nodes, client, others := cores(before, after)
	f.queries.row(wanted, meanwhile, len(got.times), milliseconds(percentile(got.times, 0.5)), milliseconds(percentile(got.times, 0.99)), milliseconds(percentile(got.times, 1)),
		ratio(0.5), ratio(0.99), fmt.Sprintf("%.1f", float64(got.blocks)/float64(max(1, len(got.times)))), fmt.Sprintf("%.0f", rounds),
		diff("skerry_router_transfer_exhausted_total"), nodes, client, others)
	if rounds > roundsTarget {
		f.queries.note("%s segments/s, %s: %.0f extra rounds per million queries, more than %d", wanted, meanwhile, rounds, roundsTarget)
	}
}

// raftRows tells what the entries consisted of.
func (f *transferFigures) raftRows(wanted string, before, after scrape) {
	diff := func(name string, labels ...string) float64 {
		return after.sum(name, labels...) - before.sum(name, labels...)
	}
	transfers := max(1, diff("skerry_transfers_delivered_total"))
	row := func(name string, kinds ...string) {
		var commands, entries, bytes float64
		for _, kind := range kinds {
			commands += diff("skerry_proposed_commands_total", "kind", kind)
			entries += diff("skerry_proposed_entries_total", "kind", kind)
			bytes += diff("skerry_proposed_bytes_total", "kind", kind)
		}
		f.raft.row(wanted, name, commands, fmt.Sprintf("%.0f", entries), mebibytes(bytes), fmt.Sprintf("%.3f", entries/transfers), fmt.Sprintf("%.0f", bytes/transfers))
	}
	const accept, ack = "accept_transfers", "ack_transfers"
	row("accept + ack", accept, ack)
	for _, kind := range []string{accept, ack, "decide_compaction", "add_block"} {
		row(kind, kind)
	}
	f.raft.note("%s segments/s: %.1f transfers for each accept, %.1f for each entry with one; sent between nodes, everything together: %s",
		wanted, transfers/max(1, diff("skerry_proposed_commands_total", "kind", accept)), transfers/max(1, diff("skerry_proposed_entries_total", "kind", accept)), sent(before, after))
}

// watch takes figures from time to time until the function that it returns is
// called.
func (f *transferFigures) watch(t *testing.T, wanted string) (stop func()) {
	t.Helper()
	type sample struct {
		at              time.Time
		added, segments float64
		metrics         scrape
	}
	ended, done := make(chan struct{}), make(chan []sample, 1)
	interval := max(time.Second, *transfersTime/12)
	go func() {
		var samples []sample
		for {
			// A moment that could not be seen is left out.
			if metrics, err := f.tryScrape(t.Context()); err == nil {
				samples = append(samples, sample{time.Now(), float64(f.load.next.Load()), float64(f.workers.segments.Load()), metrics})
			}
			select {
			case <-ended:
				done <- samples
				return
			case <-time.After(interval):
			}
		}
	}()
	return func() {
		close(ended)
		samples := <-done
		for i := 1; i < len(samples); i++ {
			a, b := samples[i-1], samples[i]
			per := func(n float64) string { return fmt.Sprintf("%.0f", n/b.at.Sub(a.at).Seconds()) }
			f.course.row(wanted, fmt.Sprintf("%.0f", b.at.Sub(samples[0].at).Seconds()), per(b.added-a.added), per(b.segments-a.segments),
				per(b.metrics.sum("skerry_transfers_delivered_total")-a.metrics.sum("skerry_transfers_delivered_total")),
				b.metrics.sum("pyroscope_metastore_compaction_global_queue_blocks_current", "level", "0"),
				b.metrics.sum("skerry_transfers_waiting"), fmt.Sprintf("%.2f", b.metrics.most("skerry_transfers_oldest_seconds")))
		}
	}
}
