package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/shardgroup/dlq"
	"github.com/skerrydb/skerry/storage/objects"
)

func TestEntriesAreRecovered(t *testing.T) {
	b := newBench(t)
	var letters []*metastorev1.BlockMeta
	for i := range 300 {
		letters = append(letters, segment(i, uint32(1+i%5), time.Minute))
	}
	letters = append(letters, tenantBlock(1000, "acme", 1, time.Minute), tenantBlock(1001, "anonymous", 1, time.Minute), tenantBlock(1002, "far", 1, time.Minute))
	for _, block := range letters {
		b.letter(block)
	}
	b.start(2, 3, 4)
	for _, block := range letters[:302] {
		b.await("block "+block.GetId(), func() bool { return b.cluster.has(block) })
	}
	b.await("the entries to go", func() bool { return len(b.names("dlq/")) == 1 })
	if b.cluster.has(letters[302]) || !b.exists(letterName(letters[302])) {
		t.Error("an entry of a group that is led elsewhere was taken")
	}
	b.await("counts", func() bool { return b.attempts("success") == 302 })
	for block, times := range b.cluster.added {
		if times != 1 {
			t.Errorf("%s was added %d times", block, times)
		}
	}
}

// TestOutcomes goes through R-DLQ-3 and what goes beyond it.
func TestOutcomes(t *testing.T) {
	good, old := segment(1, 1, time.Minute), segment(2, 1, time.Hour)
	truncated := encode(t, good)[:20]
	nothing := func(*bench) {}
	type end struct{ kept, aside, added bool }
	for name, c := range map[string]struct {
		block   *metastorev1.BlockMeta
		content []byte // instead of the block
		prepare func(*bench)
		status  string
		end     end
	}{
		"good":       {good, nil, nothing, "success", end{added: true}},
		"empty":      {good, []byte{}, nothing, "empty", end{}},
		"unreadable": {good, truncated, nothing, "unmarshal_error", end{aside: true}},
		"invalid":    {good, encode(t, &metastorev1.BlockMeta{Id: good.GetId(), Tenant: 7}), nothing, "invalid_metadata", end{aside: true}},
		"refused": {good, nil, func(b *bench) {
			b.cluster.fault = func(context.Context, *metastorev1.BlockMeta) error { return fmt.Errorf("%w: no", dlq.ErrInvalid) }
		}, "invalid_metadata", end{aside: true}},
		"overloaded": {good, nil, func(b *bench) {
			b.cluster.fault = func(context.Context, *metastorev1.BlockMeta) error { return errors.New("overloaded") }
		}, "metastore_error", end{kept: true}},
		"not leader": {good, nil, func(b *bench) {
			b.cluster.fault = func(context.Context, *metastorev1.BlockMeta) error { return fmt.Errorf("%w: no", dlq.ErrMoved) }
		}, "leadership_change", end{kept: true}},
		"read error":           {good, nil, onGet(good, io.ErrUnexpectedEOF), "read_error", end{kept: true}},
		"vanished":             {good, nil, onGet(good, objects.ErrNotFound), "not_found", end{kept: true}}, // by another's hand; here it stays
		"too large":            {good, nil, onGet(good, objects.ErrTooLarge), "too_large", end{kept: true}},
		"old, with its object": {old, nil, func(b *bench) { b.object(old) }, "success", end{added: true}},
		"old, without":         {old, nil, nothing, "object_missing", end{aside: true}},
		"old, written anew":    {old, nil, func(b *bench) { b.bucket.times = map[string]time.Time{letterName(old): now} }, "object_missing", end{aside: true}},
		"of a clock that is ahead": {good, nil, func(b *bench) {
			b.bucket.times = map[string]time.Time{letterName(good): now.Add(-time.Hour)}
		}, "object_missing", end{aside: true}},
		"just not old": {tenantBlock(3, "acme", 1, delay-time.Minute), nil, nothing, "success", end{added: true}},
		"old, who knows": {old, nil, func(b *bench) {
			b.bucket.set(func(_ context.Context, operation, _ string) error {
				if operation == "attributes" {
					return errors.New("no answer")
				}
				return nil
			})
		}, "read_error", end{kept: true}},
		"empty, with its object":              {good, []byte{}, func(b *bench) { b.object(good) }, "success", end{added: true}},
		"unreadable, with its object":         {good, truncated, func(b *bench) { b.object(good) }, "success", end{added: true}},
		"unreadable and old, with its object": {old, truncated, func(b *bench) { b.object(old) }, "success", end{added: true}},
		"unreadable, object of another": {good, truncated, func(b *bench) {
			b.object(old)
			content, err := b.bucket.Get(b.Context(), objectName(old), 1<<20)
			if err != nil {
				b.Fatal(err)
			}
			b.put(objectName(good), content)
		}, "unmarshal_error", end{aside: true}},
		"unreadable, object without footer": {good, truncated, func(b *bench) { b.put(objectName(good), []byte("data")) }, "unmarshal_error", end{aside: true}},
		"unreadable, who knows": {good, truncated, func(b *bench) {
			b.object(good)
			b.bucket.set(func(_ context.Context, operation, name string) error {
				if operation == "get" && name == objectName(good) {
					return errors.New("no answer")
				}
				return nil
			})
		}, "read_error", end{kept: true}},
		"cannot be moved aside": {good, truncated, func(b *bench) {
			b.bucket.set(func(_ context.Context, operation, _ string) error {
				if operation == "put" {
					return errors.New("read-only")
				}
				return nil
			})
		}, "unmarshal_error", end{kept: true}},
		"cannot be deleted": {good, nil, func(b *bench) {
			b.bucket.set(func(_ context.Context, operation, _ string) error {
				if operation == "delete" {
					return errors.New("read-only")
				}
				return nil
			})
		}, "success", end{kept: true, added: true}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			content := c.content
			if content == nil {
				content = encode(t, c.block)
			}
			key := b.put(letterName(c.block), content)
			aside := "dlq-rejected/" + strings.TrimPrefix(key, "dlq/")
			c.prepare(b)
			b.start(2, 4)
			b.await(c.status, func() bool { return b.attempts(c.status) > 0 })
			b.await("the end", func() bool {
				return end{b.exists(key), b.exists(aside), b.cluster.has(c.block)} == c.end
			})
			b.stop()
			if got := (end{b.exists(key), b.exists(aside), b.cluster.has(c.block)}); got != c.end {
				t.Errorf("the end is %+v, want %+v", got, c.end)
			}
			if c.end.aside {
				if kept, err := b.bucket.Bucket.Get(t.Context(), aside, 1<<20); err != nil || !slices.Equal(kept, content) {
					t.Errorf("what was moved aside is %q, %v", kept, err)
				}
			}
			if c.end.added {
				if got := b.cluster.blocks[c.block.GetId()]; got.GetShard() != c.block.GetShard() || got.GetSize() == 0 {
					t.Errorf("added %v", got)
				}
			}
		})
	}
}

func onGet(block *metastorev1.BlockMeta, err error) func(*bench) {
	return func(b *bench) {
		b.bucket.set(func(_ context.Context, operation, name string) error {
			if operation == "get" && name == letterName(block) {
				return err
			}
			return nil
		})
	}
}

// What is no entry is neither read nor deleted, and holds up nothing.
func TestStrays(t *testing.T) {
	b := newBench(t)
	strays := []string{
		"dlq/stray", "dlq/1/stray", "dlq/1/anonymous/stray", "dlq/1/anonymous/" + id(1, 0) + "/other.pb", "dlq/1/anonymous/notanid/meta.pb",
		"dlq/1/anonymous/" + id(1, 0) + "/meta.pb/more", "dlq-other/1/anonymous/" + id(1, 0) + "/meta.pb",
	}
	for _, name := range strays {
		b.put(name, []byte("x"))
	}
	good := segment(7, 1, time.Minute)
	b.letter(good)
	// Shards that are no number are looked after with shard 0.
	strange := segment(8, 5, time.Minute)
	b.put("dlq/abc/anonymous/"+strange.GetId()+"/meta.pb", encode(t, strange))
	b.start(2, 3)
	b.await("the good ones", func() bool { return b.cluster.has(good) && b.cluster.has(strange) && b.attempts("stray") > 6 })
	b.stop()
	for _, name := range strays {
		if !b.exists(name) {
			t.Errorf("%s is gone", name)
		}
	}
	if got := len(b.names("")); got != len(strays) {
		t.Errorf("left: %v", b.names(""))
	}
}

// An object that does not come holds up neither its own group nor another.
func TestSlowObjectsHoldUpNobody(t *testing.T) {
	b := newBench(t)
	b.options.Timeout = 300 * time.Millisecond
	slow := segment(0, 1, time.Minute)
	b.letter(slow)
	var others []*metastorev1.BlockMeta
	for i := range 50 {
		others = append(others, segment(i+1, uint32(1+i%2), time.Minute))
		b.letter(others[i])
	}
	var entered, left atomic.Int32
	b.bucket.set(func(ctx context.Context, operation, name string) error {
		if operation != "get" || name != letterName(slow) {
			return nil
		}
		entered.Add(1)
		<-ctx.Done()
		left.Add(1)
		return ctx.Err()
	})
	b.start(2, 3)
	b.await("the slow one", func() bool { return entered.Load() > 0 })
	b.await("all others", func() bool {
		return !slices.ContainsFunc(others, func(block *metastorev1.BlockMeta) bool { return !b.cluster.has(block) })
	})
	if left.Load() > 0 {
		t.Error("others waited for the slow one")
	}
	b.await("its time to be over", func() bool { return b.attempts("read_error") > 0 })
	b.bucket.set(nil)
	b.await("the slow one", func() bool { return b.cluster.has(slow) })
}

// Entries that fail are left alone for longer and longer, and forgiven on demand.
func TestFailuresWait(t *testing.T) {
	b := newBench(t)
	b.options.BackoffMin, b.options.BackoffMax = time.Hour, 2*time.Hour
	bad := segment(1, 1, time.Minute)
	b.letter(bad)
	b.cluster.fault = func(_ context.Context, block *metastorev1.BlockMeta) error {
		if block.GetId() == bad.GetId() {
			return errors.New("no")
		}
		return nil
	}
	b.start(2)
	b.await("the failure", func() bool { return b.attempts("metastore_error") == 1 })
	for i := range 5 {
		good := segment(10+i, 1, time.Minute)
		b.letter(good)
		b.await("another one", func() bool { return b.cluster.has(good) })
	}
	if got := b.cluster.tried(bad); got != 1 {
		t.Errorf("tried %d times", got)
	}
	b.await("the status", func() bool { return b.metric("skerry_dlq_pending_entries", "") == 1 })
	status := b.recovery.Status()
	if len(status.Failures) != 1 || status.Failures[0].Key != letterName(bad) || status.Failures[0].Err != "no" || !status.Failures[0].RetryAt.After(now) {
		t.Errorf("failures %+v", status.Failures)
	}
	if g := status.Groups[0]; g.Pending != 1 || !g.Oldest.Equal(now.Add(-time.Minute)) || g.StuckSince.IsZero() {
		t.Errorf("status %+v", g)
	}
	if age := b.metric("skerry_dlq_oldest_entry_age_seconds", ""); age < 60 || age > 90 {
		t.Errorf("the oldest is %v old", age)
	}
	b.cluster.mu.Lock()
	b.cluster.fault = nil
	b.cluster.mu.Unlock()
	if groups := b.recovery.Sweep(); groups != 1 {
		t.Errorf("%d groups swept", groups)
	}
	b.await("the bad one", func() bool { return b.cluster.has(bad) })
	b.await("nothing to be left", func() bool { return b.metric("skerry_dlq_oldest_entry_age_seconds", "") == 0 })
	if failures := b.recovery.Status().Failures; len(failures) != 0 {
		t.Errorf("failures %+v", failures)
	}
}

// Entries that cannot be deleted are not added again and again.
func TestDeletesThatFail(t *testing.T) {
	b := newBench(t)
	b.options.BackoffMin, b.options.BackoffMax = time.Hour, time.Hour
	stays := segment(1, 1, time.Minute)
	b.letter(stays)
	b.bucket.set(func(_ context.Context, operation, name string) error {
		if operation == "delete" && name == letterName(stays) {
			return errors.New("read-only")
		}
		return nil
	})
	b.start(2)
	b.await("the failure", func() bool { return b.metric("skerry_dlq_pending_entries", "") == 1 })
	for i := range 3 {
		good := segment(10+i, 1, time.Minute)
		b.letter(good)
		b.await("another one", func() bool { return b.cluster.has(good) })
	}
	if got := b.cluster.tried(stays); got != 1 {
		t.Errorf("added %d times", got)
	}
	if failures := b.recovery.Status().Failures; len(failures) != 1 || !strings.Contains(failures[0].Err, "read-only") {
		t.Errorf("failures %+v", failures)
	}
	if got := b.metric("skerry_dlq_failed_deletes_total", ""); got != 1 {
		t.Errorf("%v failed deletes", got)
	}
	b.bucket.set(nil)
	b.recovery.Sweep()
	b.await("it to go", func() bool { return !b.exists(letterName(stays)) })
}

// A group that is led elsewhere is left alone; others are not.
func TestLeadershipEndsOneGroup(t *testing.T) {
	b := newBench(t)
	b.options.Workers = 4
	b.cluster.fault = func(_ context.Context, block *metastorev1.BlockMeta) error {
		if block.GetShard() == 1 {
			return fmt.Errorf("%w: no", dlq.ErrMoved)
		}
		return nil
	}
	for i := range 400 {
		b.letter(segment(i, uint32(1+i%2), time.Minute))
	}
	b.options.Interval = time.Hour // one sweep, when the groups are led
	b.start(2, 3)
	b.await("the other group", func() bool { return b.attempts("success") == 200 })
	b.await("the end of the sweep", func() bool { return b.metric("skerry_dlq_sweeps_total", "stopped") > 0 })
	if tried := b.attempts("leadership_change"); tried == 0 || tried > 50 {
		t.Errorf("%d tried after the group was lost", tried)
	}
	if left := b.names("dlq/1/"); len(left) != 200 {
		t.Errorf("%d are left", len(left))
	}
}

// What lies in the folder of another tenant goes where it belongs, and does not end
// the sweep if that does not take it.
// The beginning of metadata may be metadata. The object knows better.
func TestEntryCutBehindAField(t *testing.T) {
	b := newBench(t)
	whole := segment(1, 1, time.Minute)
	b.object(whole)
	b.put(letterName(whole), encode(t, &metastorev1.BlockMeta{FormatVersion: 1, Id: whole.GetId()}))
	alone := segment(2, 3, time.Minute)
	b.put(letterName(alone), encode(t, &metastorev1.BlockMeta{FormatVersion: 1, Id: alone.GetId()}))
	b.start(2, 3)
	b.await("both", func() bool { return b.attempts("success") == 2 })
	b.stop()
	if got := b.cluster.blocks[whole.GetId()]; got.GetShard() != 1 || len(got.GetDatasets()) != 1 {
		t.Errorf("added was %v", got)
	}
	if !b.cluster.has(alone) {
		t.Error("what has no copy was not added as it is")
	}
}

func TestMisfiledEntries(t *testing.T) {
	b := newBench(t)
	foreign := tenantBlock(1, "far", 1, time.Minute)
	b.put("dlq/1/anonymous/"+foreign.GetId()+"/meta.pb", encode(t, foreign))
	var refuse atomic.Bool
	refuse.Store(true)
	b.cluster.fault = func(_ context.Context, block *metastorev1.BlockMeta) error {
		if refuse.Load() && block.GetId() == foreign.GetId() {
			return fmt.Errorf("%w: no leader", dlq.ErrMoved)
		}
		return nil
	}
	good := segment(2, 1, time.Minute)
	b.letter(good)
	b.start(2)
	b.await("the good one", func() bool { return b.cluster.has(good) && b.attempts("metastore_error") > 0 })
	refuse.Store(false)
	b.await("the foreign one", func() bool { return b.cluster.has(foreign) })
	if b.attempts("leadership_change") != 0 {
		t.Error("the sweep was stopped")
	}
}

// Leads end when their context does, in the middle of a sweep.
func TestLeadEnds(t *testing.T) {
	b := newBench(t)
	for i := range 50 {
		b.letter(segment(i, 1, time.Minute))
	}
	var waiting atomic.Int32
	b.cluster.fault = func(ctx context.Context, _ *metastorev1.BlockMeta) error {
		waiting.Add(1)
		<-ctx.Done()
		return ctx.Err()
	}
	b.start(2)
	b.await("adds", func() bool { return waiting.Load() > 10 })
	b.stop()
	if len(b.names("dlq/")) != 50 || len(b.names("dlq-rejected/")) != 0 {
		t.Error("entries are gone")
	}
}

// An idle queue costs one list; a busy one does not list what others look after.
func TestWhatListsCost(t *testing.T) {
	b := newBench(t)
	b.options.Interval = time.Hour
	b.start(2)
	b.await("a list", func() bool { return b.metric("skerry_dlq_list_calls_total", "") == 1 })
	b.stop()
	if got := b.bucket.count("list"); got != 1 {
		t.Errorf("%d lists of an empty queue", got)
	}

	b = newBench(t)
	b.options.Interval = time.Hour
	for i := range 60 {
		b.letter(segment(i, uint32(1+i%6), time.Minute))
	}
	b.start(2) // leads shards 1, 3, 5
	b.await("recovery", func() bool { return b.attempts("success") == 30 })
	b.stop()
	if got, want := b.bucket.count("list"), 1+6+3; got != want {
		t.Errorf("%d lists, want %d: the queue, six shards, three folders", got, want)
	}
	if got := b.bucket.count("get"); got != 30 {
		t.Errorf("%d reads", got)
	}
}

// A folder that cannot be listed holds up no other.
func TestListsThatFail(t *testing.T) {
	b := newBench(t)
	b.options.ListTimeout = 100 * time.Millisecond
	for shard := range uint32(5) {
		b.letter(segment(int(shard), 2*shard+1, time.Minute))
	}
	b.bucket.set(func(ctx context.Context, operation, name string) error {
		switch {
		case operation != "list":
			return nil
		case name == "dlq/1/anonymous/":
			return errors.New("denied")
		case name == "dlq/3/":
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	b.start(2)
	b.await("the others", func() bool { return b.attempts("success") == 3 })
	b.await("faults", func() bool {
		status := b.recovery.Status()
		return status.ListErr != nil && strings.Contains(status.ListErr.Error(), "does not go on") &&
			status.Groups[0].Err != nil && strings.Contains(status.Groups[0].Err.Error(), "denied")
	})
	b.bucket.set(nil)
	b.await("all", func() bool { return b.attempts("success") == 5 })
}

// What cannot be listed is not gone: alerts on it must go on.
func TestListsThatFailEndNoAlert(t *testing.T) {
	b := newBench(t)
	b.cluster.fault = func(context.Context, *metastorev1.BlockMeta) error { return errors.New("overloaded") }
	b.letter(segment(1, 1, time.Minute))
	b.start(2)
	b.await("a sweep", func() bool { return b.metric("skerry_dlq_pending_entries", "") == 1 })
	// First the folder's list, which ends a sweep, then that of all folders, too.
	for _, failing := range []struct{ lists, result string }{{"anonymous/", "failed"}, {"", "list_failed"}} {
		b.bucket.set(func(_ context.Context, operation, name string) error {
			if operation == "list" && strings.HasSuffix(name, failing.lists) {
				return errors.New("no answer")
			}
			return nil
		})
		failed := b.metric("skerry_dlq_sweeps_total", failing.result)
		b.await("lists that fail", func() bool { return b.metric("skerry_dlq_sweeps_total", failing.result) > failed+3 })
		if got := b.metric("skerry_dlq_pending_entries", ""); got != 1 {
			t.Errorf("%v entries are pending after sweeps that %s, want 1", got, failing.result)
		}
		if got := b.metric("skerry_dlq_oldest_entry_age_seconds", ""); got < 60 {
			t.Errorf("the oldest is %v s old after sweeps that %s, want a minute", got, failing.result)
		}
	}
	b.bucket.set(nil)
	b.cluster.mu.Lock()
	b.cluster.fault = nil
	b.cluster.mu.Unlock()
	b.await("the end of it", func() bool {
		return b.metric("skerry_dlq_pending_entries", "") == 0 && b.metric("skerry_dlq_oldest_entry_age_seconds", "") == 0
	})
}

// More folders than one sweep takes are gone through one part after the other.
func TestManyFolders(t *testing.T) {
	b := newBench(t)
	b.options.Folders = 3
	b.cluster.fault = func(_ context.Context, block *metastorev1.BlockMeta) error {
		if block.TenantName() < "t05" {
			return errors.New("no")
		}
		return nil
	}
	for i := range 20 {
		b.letter(tenantBlock(i, fmt.Sprintf("t%02d", i), 1, time.Minute))
	}
	b.start(4)
	b.await("all but those that fail", func() bool { return b.attempts("success") == 15 })
}

func TestNoRoom(t *testing.T) {
	b := newBench(t)
	b.cluster.full = errors.New("the disk is full")
	good := segment(1, 1, time.Minute)
	b.letter(good)
	b.start(2)
	b.await("a sweep", func() bool { return b.metric("skerry_dlq_sweeps_total", "no_room") > 1 })
	if b.bucket.count("list")+b.bucket.count("get") > 0 {
		t.Error("listed though nothing can be taken")
	}
	b.cluster.mu.Lock()
	b.cluster.full = nil
	b.cluster.mu.Unlock()
	b.await("recovery", func() bool { return b.cluster.has(good) })
}

// Memory is bounded by the bytes of entries, and a large one is not left behind.
func TestBytesAreBounded(t *testing.T) {
	b := newBench(t)
	b.options.Bytes = 4000
	var bytes, most atomic.Int64
	for i := range 60 {
		block := segment(i, 1, time.Minute)
		block.StringTable = append(block.StringTable, strings.Repeat("x", 1000+9000*(i%20/19)))
		b.letter(block)
	}
	b.cluster.fault = func(_ context.Context, block *metastorev1.BlockMeta) error {
		size := min(int64(block.SizeVT()), 4000)
		for now := bytes.Add(size); ; {
			if seen := most.Load(); now <= seen || most.CompareAndSwap(seen, now) {
				break
			}
		}
		time.Sleep(time.Millisecond)
		bytes.Add(-size)
		return nil
	}
	b.start(2)
	b.await("all", func() bool { return b.attempts("success") == 60 })
	if most.Load() > 4000 || most.Load() < 2000 {
		t.Errorf("up to %d bytes at a time", most.Load())
	}
}

// Whatever fails and whoever leads, each good entry is added and goes, and none is
// lost on the way.
func TestNothingIsLost(t *testing.T) {
	b := newBench(t)
	random := rand.New(rand.NewPCG(1, 2))
	b.bucket.set(func(_ context.Context, _, name string) error {
		b.bucket.mu.Lock()
		defer b.bucket.mu.Unlock()
		if strings.HasPrefix(name, "dlq") && random.IntN(4) == 0 {
			return errors.New("by chance")
		}
		return nil
	})
	b.cluster.fault = func(context.Context, *metastorev1.BlockMeta) error {
		b.bucket.mu.Lock()
		defer b.bucket.mu.Unlock()
		switch random.IntN(12) {
		case 0:
			return fmt.Errorf("%w: by chance", dlq.ErrMoved)
		case 1, 2:
			return errors.New("by chance")
		}
		return nil
	}
	const letters = 200
	for i := range letters {
		block := segment(i, uint32(1+i%4), time.Minute)
		content := encode(t, block)
		if i%10 == 0 {
			content = []byte("bad")
		}
		b.put(letterName(block), content)
	}
	for round := 0; len(b.names("dlq/")) > 0; round++ {
		if round > 500 {
			t.Fatalf("%d are left", len(b.names("dlq/")))
		}
		b.start(2, 3)
		for deadline := time.Now().Add(20 * time.Millisecond); time.Now().Before(deadline) && len(b.names("dlq/")) > 0; {
			time.Sleep(time.Millisecond)
		}
		b.stop()
		for i := range letters {
			block := segment(i, uint32(1+i%4), time.Minute)
			key := letterName(block)
			if !b.cluster.has(block) && !b.exists(key) && !b.exists("dlq-rejected/"+strings.TrimPrefix(key, "dlq/")) {
				t.Fatalf("%s is lost", key)
			}
		}
	}
	if got := len(b.names("dlq-rejected/")); got != letters/10 || len(b.cluster.added) != letters-letters/10 {
		t.Errorf("%d rejected, %d added", got, len(b.cluster.added))
	}
}

// Who asks for a sweep while one is under way gets another.
func TestSweepsAskedForFollow(t *testing.T) {
	b := newBench(t)
	b.options.Interval = time.Hour
	slow, passed := segment(2, 1, time.Minute), segment(1, 1, time.Minute)
	b.letter(slow)
	release := make(chan struct{})
	var waiting atomic.Bool
	b.cluster.fault = func(_ context.Context, block *metastorev1.BlockMeta) error {
		if block.GetId() == slow.GetId() {
			waiting.Store(true)
			<-release
		}
		return nil
	}
	b.start(2, 3)
	b.await("a sweep", waiting.Load)
	b.letter(passed)
	b.recovery.Sweep() // begins none, since the group is busy
	b.await("the other group to be swept", func() bool { return b.bucket.count("list") >= 5 })
	close(release)
	b.await("another one", func() bool { return b.cluster.has(passed) })
}
