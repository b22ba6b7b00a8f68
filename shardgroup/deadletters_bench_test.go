package shardgroup_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skerrydb/skerry/shardgroup"
	"github.com/skerrydb/skerry/storage/objects"
)

// BenchmarkDeadLetters recovers from a local folder what was left before the node
// began to look: reads, adds with a synced log, and deletions.
func BenchmarkDeadLetters(b *testing.B) {
	clock, registry := newClock(blockTime.Add(time.Minute)), prometheus.NewRegistry()
	node, err := openReady(b.Context(), shardgroup.Options{
		DataDir: b.TempDir(), RaftAddress: freeAddress(b), Found: true, Groups: 4, StreamGroups: 4, Now: clock.now,
	}, zaptest.NewLogger(b), registry)
	if err != nil {
		b.Fatal(err)
	}
	defer node.Close()
	folder, err := objects.OpenFolder(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for serial := range b.N {
		block := testBlock(serial, "", uint32(1+serial%16), 0, "anna", "bert", "carl", "dora")
		content, err := block.MarshalVT()
		file := filepath.Join(folder.Path(), filepath.FromSlash(letterName(block)))
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, content, 0o644)); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	if err := node.RecoverDeadLetters(folder, time.Second); err != nil {
		b.Fatal(err)
	}
	await(b, "recovery", func() bool {
		families, err := registry.Gather()
		if err != nil {
			b.Fatal(err)
		}
		for _, family := range families {
			if family.GetName() == "pyroscope_metastore_dlq_recovery_attempts_total" {
				for _, m := range family.GetMetric() {
					if m.GetLabel()[0].GetValue() == "success" {
						return int(m.GetCounter().GetValue()) >= b.N
					}
				}
			}
		}
		return false
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "letters/s")
}
