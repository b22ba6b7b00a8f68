package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/skerrydb/skerry/cmd/internal/config"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/proto/wirecodec"
)

// startForBench runs a server in this process, over real files and a loopback
// connection, with the settings that serve has by default.
func startForBench(b *testing.B, groups int) (*server, metastorev1.IndexServiceClient) {
	b.Helper()
	settings := config.Default(config.CommandServe)
	settings.DataDir, settings.Groups = b.TempDir(), groups
	settings.GRPCAddress, settings.HTTPAddress, settings.NodeAddress = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	settings.RaftAddress = freeAddress(b)
	s := newServer(settings, zap.NewNop())
	if err := s.start(context.Background(), make(chan error, 8)); err != nil {
		b.Fatal(err)
	}
	if _, err := s.router.Maps().Await(context.Background()); err != nil {
		b.Fatal(err)
	}
	connection, err := grpc.NewClient(s.ports.public.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wirecodec.Codec{})))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		connection.Close()
		if err := s.stop(); err != nil {
			b.Error(err)
		}
	})
	return s, metastorev1.NewIndexServiceClient(connection)
}

// benchBlock is a segment of 1.6 KB: 10 datasets of 8 out of 20 tenants in one
// of 16 shards, over 7 days.
func benchBlock(n uint64) *metastorev1.BlockMeta {
	var id ulid.ULID
	if err := id.SetTime(1735787040000 + n*97%(7*24*3600*1000)); err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint64(id[8:], n)
	block := &metastorev1.BlockMeta{
		FormatVersion: 1, Id: id.String(), Shard: uint32(n%16) + 1, CreatedBy: 1, Size: 82_000, MetadataOffset: 81_000,
		MinTime: int64(id.Time()), MaxTime: int64(id.Time()) + 272,
		StringTable: []string{"", "segment-writer-0", "service_name", "__profile_type__"},
	}
	str := func(s string) int32 {
		for i, known := range block.StringTable {
			if known == s {
				return int32(i)
			}
		}
		block.StringTable = append(block.StringTable, s)
		return int32(len(block.StringTable) - 1)
	}
	types := []string{
		"process_cpu:cpu:nanoseconds:cpu:nanoseconds", "process_cpu:samples:count:cpu:nanoseconds",
		"memory:alloc_objects:count:space:bytes", "memory:alloc_space:bytes:space:bytes",
		"memory:inuse_objects:count:space:bytes", "memory:inuse_space:bytes:space:bytes", "goroutines:goroutine:count:goroutine:count",
	}
	for i := range uint64(10) {
		d := &metastorev1.Dataset{
			Tenant: str(fmt.Sprintf("tenant-%02d", (n+i%8)%20)), Name: str(fmt.Sprintf("checkout-service-%02d", i)),
			MinTime: block.MinTime, MaxTime: block.MaxTime, Size: 8_000,
			TableOfContents: []uint64{i * 8_000, i*8_000 + 3_000, i*8_000 + 5_000},
		}
		for _, profileType := range types {
			d.Labels = append(d.Labels, 2, 2, d.Name, 3, str(profileType))
		}
		block.Datasets = append(block.Datasets, d)
	}
	return block
}

// BenchmarkAddBlock measures acknowledged adds through gRPC, router, Raft (with
// fsync) and store, with a fixed number of callers, and the commands that one
// Raft entry carried.
func BenchmarkAddBlock(b *testing.B) {
	for _, groups := range []int{1, 4} {
		for _, callers := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("groups=%d/callers=%d", groups, callers), func(b *testing.B) {
				s, client := startForBench(b, groups)
				var next atomic.Uint64
				failed := make(chan error, callers)
				b.ResetTimer()
				start := time.Now()
				for range callers {
					go func() {
						for n := next.Add(1); n <= uint64(b.N); n = next.Add(1) {
							if _, err := client.AddBlock(context.Background(), &metastorev1.AddBlockRequest{Block: benchBlock(n)}); err != nil {
								failed <- err
								return
							}
						}
						failed <- nil
					}()
				}
				for range callers {
					if err := <-failed; err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "blocks/s")
				b.StopTimer()
				b.ReportMetric(commandsPerEntry(b, s), "blocks/entry")
			})
		}
	}
}

func commandsPerEntry(b *testing.B, s *server) float64 {
	families, err := s.metrics.Gather()
	if err != nil {
		b.Fatal(err)
	}
	var entries, commands float64
	for _, family := range families {
		if family.GetName() == "skerry_group_entry_commands" {
			for _, metric := range family.GetMetric() {
				entries += float64(metric.GetHistogram().GetSampleCount())
				commands += metric.GetHistogram().GetSampleSum()
			}
		}
	}
	return commands / entries
}

// A process that is asked to stop while it starts ends without an error, and
// the next start finds a usable directory.
func TestStopDuringStart(t *testing.T) {
	settings := config.Default(config.CommandServe)
	settings.DataDir = t.TempDir()
	settings.GRPCAddress, settings.HTTPAddress, settings.RaftAddress = "127.0.0.1:0", "127.0.0.1:0", freeAddress(t)
	settings.NodeAddress = "127.0.0.1:0"
	settings.RaftRTT = 5 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var banner strings.Builder
	if err := Run(ctx, settings, &banner, zap.NewNop()); err != nil || banner.Len() > 0 {
		t.Errorf("stopped with %v, said %q", err, banner.String())
	}
	settings.RaftAddress = freeAddress(t)
	s := newServer(settings, zap.NewNop())
	if err := s.start(t.Context(), make(chan error, 8)); err != nil {
		t.Error(err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}

// freeAddress is on an IP address of this process: between its end here and its use
// nobody else gets the port.
func freeAddress(t testing.TB) string {
	t.Helper()
	pid := os.Getpid()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+pid>>16&127, pid>>8&255, 1+pid%254))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestBenchBlockIsValid(t *testing.T) {
	for n := range uint64(100) {
		block := benchBlock(n)
		if err := metastorev1.ValidateBlock(block); err != nil {
			t.Fatal(err)
		}
		if size := block.SizeVT(); size < 1200 || size > 2000 {
			t.Fatalf("%d bytes", size)
		}
	}
}
