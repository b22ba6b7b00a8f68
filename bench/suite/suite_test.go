package suite

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/skerrydb/skerry/bench/generate"
	"github.com/skerrydb/skerry/bench/result"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// acknowledging is a target that takes blocks and has nobody find any.
type acknowledging struct {
	metastorev1.UnimplementedIndexServiceServer
	metastorev1.UnimplementedMetadataQueryServiceServer
}

func (acknowledging) AddBlock(context.Context, *metastorev1.AddBlockRequest) (*metastorev1.AddBlockResponse, error) {
	return &metastorev1.AddBlockResponse{}, nil
}

func (acknowledging) QueryMetadata(context.Context, *metastorev1.QueryMetadataRequest) (*metastorev1.QueryMetadataResponse, error) {
	return &metastorev1.QueryMetadataResponse{}, nil
}

func (acknowledging) QueryMetadataLabels(context.Context, *metastorev1.QueryMetadataLabelsRequest) (*metastorev1.QueryMetadataLabelsResponse, error) {
	return &metastorev1.QueryMetadataLabelsResponse{}, nil
}

func options(t *testing.T, steps ...string) (*generate.Generator, Options) {
	t.Helper()
	settings := generate.Settings{Seed: 3, Blocks: 50, Days: 0.05}
	g, err := generate.New(settings.WithDefaults(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	listener, server := bufconn.Listen(1<<20), grpc.NewServer()
	metastorev1.RegisterIndexServiceServer(server, acknowledging{})
	metastorev1.RegisterMetadataQueryServiceServer(server, acknowledging{})
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) }) //nolint:errcheck // stopped
	t.Cleanup(serving.Wait)
	t.Cleanup(server.Stop)
	return g, Options{
		Size:   Size{Blocks: 50, Duration: 50 * time.Millisecond, Repetitions: 1, Writers: []int{2}, Askers: 1, Workers: 1, Rounds: 1},
		Target: "fake", Timeout: time.Minute, Addresses: []string{"memory"}, Steps: steps,
		Dial: func(address string) (*grpc.ClientConn, error) {
			return grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		},
	}
}

// TestWrongAnswersAreCounted asks a target that lost everything.
func TestWrongAnswersAreCounted(t *testing.T) {
	g, o := options(t, Load, Ask, Write)
	runs, steps, target, err := Run(t.Context(), g, o)
	if err != nil || len(steps) != 3 || target.Added < 50 {
		t.Fatal(err, steps, target)
	}
	wrong := slices.IndexFunc(runs, func(r result.Run) bool { return r.Scenario == "tenant-24h" })
	if wrong < 0 || runs[wrong].Answered == 0 || runs[wrong].Wrong != runs[wrong].Answered {
		t.Errorf("%+v", runs)
	}
}

// TestTargetsOfOthersLive refuses to stop what it did not start, and what it does not know.
func TestTargetsOfOthersLive(t *testing.T) {
	for _, step := range []string{Restart, Crash, Failover, Replica} {
		g, o := options(t, Load, step)
		if _, _, target, err := Run(t.Context(), g, o); err == nil || !strings.Contains(err.Error(), "only what was started here") || target.Added != 50 {
			t.Errorf("%s: %v, %d blocks", step, err, target.Added)
		}
	}
	g, o := options(t, "dance")
	if _, _, _, err := Run(t.Context(), g, o); err == nil || !strings.Contains(err.Error(), "dance: unknown step") {
		t.Error(err)
	}
}

// TestWhatIsThereIsNotLoaded begins with a target that has its blocks.
func TestWhatIsThereIsNotLoaded(t *testing.T) {
	g, o := options(t, Load)
	o.Added = 50
	if runs, _, target, err := Run(t.Context(), g, o); err != nil || len(runs) > 0 || target.Added != 50 {
		t.Error(runs, target, err)
	}
}

func TestStandardSteps(t *testing.T) {
	for want, got := range map[string][]string{
		"[load ask compact write]":                          Standard(false, 1),
		"[load ask compact write restart]":                  Standard(true, 1),
		"[load ask compact write restart failover replica]": Standard(true, 3),
	} {
		if fmt.Sprint(got) != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
}
