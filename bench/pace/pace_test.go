package pace_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/skerrydb/skerry/bench/pace"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// slow answers in a millisecond, but takes no call for a second from its first second on.
type slow struct {
	metastorev1.UnimplementedIndexServiceServer
	began time.Time
	// Holds one token: a mutex would keep the fake clock from going on.
	turn chan struct{}
}

func (s *slow) AddBlock(context.Context, *metastorev1.AddBlockRequest) (*metastorev1.AddBlockResponse, error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if since := time.Since(s.began); since >= time.Second && since < 2*time.Second {
		time.Sleep(2*time.Second - since)
	}
	time.Sleep(time.Millisecond)
	return &metastorev1.AddBlockResponse{}, nil
}

// against runs in fake time, against the slow server.
func against(t *testing.T, o pace.Options) (s pace.Summary) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 20)
		server := grpc.NewServer()
		metastorev1.RegisterIndexServiceServer(server, &slow{began: time.Now(), turn: make(chan struct{}, 1)})
		var serving sync.WaitGroup
		serving.Go(func() { server.Serve(listener) }) //nolint:errcheck // stopped
		conn, err := grpc.NewClient("passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		client := metastorev1.NewIndexServiceClient(conn)
		m, err := pace.Run(t.Context(), o, func(ctx context.Context, _ int, _ uint64) (func() error, error) {
			_, err := client.AddBlock(ctx, &metastorev1.AddBlockRequest{})
			return nil, err
		})
		if err != nil {
			t.Fatal(err)
		}
		if s, err = m.Summary(); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		server.Stop()
		serving.Wait()
		synctest.Wait()
	})
	return s
}

// The stall makes a quarter of all calls late. A closed loop with one caller sees one.
func TestOpenLoopCountsFromTheIntendedStart(t *testing.T) {
	open := against(t, pace.Options{Callers: 4, Rate: 100, Duration: 4 * time.Second, Grace: time.Second})
	if open.Answered != 400 || open.Failed != 0 || open.Unsent != 0 {
		t.Fatalf("%+v", open)
	}
	// Calls that were due at 1.0 s, 1.01 s, … waited for 1 s, 0.99 s, …
	if late := open.Latency.At(0.8); late < 150_000 || late > 350_000 {
		t.Errorf("a fifth is later than %d µs", late)
	}
	if worst := open.Latency.At(1); worst < 950_000 || worst > 1_100_000 {
		t.Errorf("at worst %d µs", worst)
	}
	if median := open.Latency.At(0.5); median > 2_000 {
		t.Errorf("median %d µs", median)
	}
	// From the real start only those that were under way are.
	if late := open.Service.At(0.95); late > 10_000 {
		t.Errorf("service of a twentieth takes %d µs", late)
	}
	closed := against(t, pace.Options{Callers: 1, Duration: 4 * time.Second})
	if closed.Service != nil || closed.Latency.At(0.995) > 2_000 || closed.Latency.At(1) < 950_000 {
		t.Errorf("closed: %+v", closed.Latency)
	}
}

func TestWhatIsNotSentCounts(t *testing.T) {
	// The server does 1,000 calls a second, and is asked for twice that.
	s := against(t, pace.Options{Callers: 1, Rate: 2000, Duration: 3 * time.Second})
	if s.Answered+s.Unsent != 6000 || s.Unsent < 3_900 || s.Unsent > 4_100 || s.Latency.Count != 6000 {
		t.Errorf("%d answered, %d unsent, %d in the histogram", s.Answered, s.Unsent, s.Latency.Count)
	}
	if s.Service.Count != s.Answered {
		t.Errorf("%d served", s.Service.Count)
	}
}

func TestOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []pace.Progress
		m, err := pace.Run(t.Context(), pace.Options{
			Callers: 2, Calls: 3_000, ProgressEach: time.Second, Progress: func(p pace.Progress) { seen = append(seen, p) },
		}, func(_ context.Context, _ int, n uint64) (func() error, error) {
			time.Sleep(time.Second)
			switch n % 4 {
			case 0:
				return nil, status.Error(codes.Unavailable, "later")
			case 1:
				return nil, status.Error(codes.DeadlineExceeded, "late")
			case 2:
				return func() error { return errors.New("wrong") }, nil
			}
			return func() error { return nil }, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.Summary()
		if err != nil {
			t.Fatal(err)
		}
		if s.Answered != 1500 || s.Failed != 1500 || s.Errors["Unavailable"] != 750 || s.Errors["DeadlineExceeded"] != 750 || s.Wrong != 750 {
			t.Errorf("%+v", s)
		}
		if s.Latency.Count != 2250 || len(s.WrongExamples) != 10 || len(s.ErrorExamples) != 10 {
			t.Errorf("%d latencies, examples %q", s.Latency.Count, s.WrongExamples)
		}
		// 1500 seconds do not fit 600 intervals of a second.
		answered := uint64(0)
		for _, p := range s.Series {
			answered += p.Answered
		}
		if s.SeriesSeconds != 4 || len(s.Series) > 600 || answered != 1500 {
			t.Errorf("%d intervals of %v s with %d", len(s.Series), s.SeriesSeconds, answered)
		}
		if len(seen) < 1000 || seen[500].RecentRate+seen[500].RecentErrorRate > 4 || seen[len(seen)-1].Failed == 0 {
			t.Errorf("%d times progress", len(seen))
		}
		h, err := hdrhistogram.Decode([]byte(s.Latency.HDR))
		if err != nil || h.TotalCount() != 2250 {
			t.Errorf("the encoded histogram is another: %v", err)
		}
	})
}

func TestTells(t *testing.T) {
	for count, want := range map[uint64]bool{0: false, 99: false, 100: true, 1000: true} {
		if d := (pace.Distribution{Count: count}); d.Tells(0.99) != want {
			t.Errorf("99th percentile of %d calls: %v", count, !want)
		}
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m, err := pace.Run(ctx, pace.Options{Callers: 8, Rate: 1, Duration: time.Hour}, func(context.Context, int, uint64) (func() error, error) {
		cancel()
		return nil, ctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := m.Summary(); s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := pace.Run(t.Context(), pace.Options{Rate: -1}, nil)
	for _, want := range []string{"0 callers", "rate -1", "neither"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
