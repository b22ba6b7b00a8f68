package figures

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	benchusage "github.com/skerrydb/skerry/bench/usage"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

var (
	restartBlocks  = flag.Int("figures.blocks", 1_000_000, "blocks of the process that restarts")
	restartGroups  = flag.Int("figures.restart.groups", 4, "data groups; all take segments")
	restartRounds  = flag.Int("figures.restart.rounds", 3, "restarts of each kind")
	restartBetween = flag.Int("figures.restart.between", 10_000, "blocks added before each restart")
	loadCallers    = flag.Int("figures.load.callers", 128, "concurrent adds of loads that only fill a store")
)

// TestFigureRestart measures how long a process with many blocks is away when it is
// stopped, and when it is killed while blocks are added.
func TestFigureRestart(t *testing.T) {
	binary, dir := measures(t)
	n := newNode(t, binary, dir, "serve", 1, "-groups", strconv.Itoa(*restartGroups), "-streams.groups", strconv.Itoa(*restartGroups))
	n.start(t)
	n.awaitReady(t)
	made := newBlocks(week / time.Duration(max(1, *restartBlocks+8**restartRounds**restartBetween)))
	l := &load{clients: index(t, 4, n), blocks: made}
	filled := l.runCount(t, *loadCallers, *restartBlocks)
	size, err := benchusage.Folder(n.dir)
	must(t, err)
	_, peak, err := memory(n.pid)
	must(t, err)

	figures := &table{title: fmt.Sprintf("Restarts of one process with %d blocks in %d groups", *restartBlocks, *restartGroups), columns: []string{
		"end", "time to end s", "exec to /readyz 200 s", "exec to first answer s", "CPU s until then", "RSS then", "data folder",
	}}
	figures.note("filled by gRPC, %d callers: %d blocks in %.0f s, %.0f/s; failures: %s; data folder %s, peak RSS %s",
		*loadCallers, filled.adds, filled.elapsed.Seconds(), filled.rate(), l.failures.take(), mebibytes(size), mebibytes(peak))
	for _, end := range []string{"SIGTERM", "kill -9"} {
		for range *restartRounds {
			l.runCount(t, *loadCallers, *restartBetween)
			began := time.Now()
			if end == "SIGTERM" {
				must(t, n.Terminate(stopPatience))
			} else {
				must(t, n.Kill())
			}
			ended := time.Since(began)
			began = time.Now()
			n.start(t)
			ready, answered := awaitService(t, n, made.query(l.next.Load()), began)
			cpu, err := cpuTime(n.pid)
			must(t, err)
			now, _, err := memory(n.pid)
			must(t, err)
			size, err := benchusage.Folder(n.dir)
			must(t, err)
			figures.row(end, fmt.Sprintf("%.2f", ended.Seconds()), fmt.Sprintf("%.2f", ready.Seconds()), fmt.Sprintf("%.2f", answered.Seconds()),
				fmt.Sprintf("%.2f", cpu.Seconds()), mebibytes(now), mebibytes(size))
		}
	}
	figures.print(t, dir)
	must(t, n.Terminate(stopPatience))
}

// awaitService returns when the process said that it is ready, and when it answered
// a query with what it must find; both since it began.
func awaitService(t *testing.T, n *node, query *metastorev1.QueryMetadataRequest, began time.Time) (ready, answered time.Duration) {
	t.Helper()
	queries := metastorev1.NewMetadataQueryServiceClient(dial(t, n.public))
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	for ready == 0 || answered == 0 {
		if ready == 0 && isReady(ctx, n.ReadyURL) {
			ready = time.Since(began)
		}
		if answered == 0 {
			try, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			answer, err := queries.QueryMetadata(try, query)
			cancel()
			if err == nil && len(answer.GetBlocks()) == 0 {
				t.Fatalf("%s came back and does not find a block that it had acknowledged", n.Name)
			}
			if err == nil {
				answered = time.Since(began)
			}
		}
		if ctx.Err() != nil || !n.Running() {
			t.Fatalf("%s: ready after %v, answered after %v: %v\n%s", n.Name, ready, answered, n.End(), n.Tail(20))
		}
		time.Sleep(2 * time.Millisecond)
	}
	return ready, answered
}

func isReady(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}
