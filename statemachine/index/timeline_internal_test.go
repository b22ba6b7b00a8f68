package index

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/storage/kv"
)

// times are near each other, or anywhere, or at the ends.
func times() *rapid.Generator[int64] {
	return rapid.OneOf(
		rapid.Int64Range(-5*timelineQuantum, 300*timelineQuantum), rapid.Int64(),
		rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64 - 1, math.MaxInt64, 0, -1}),
	)
}

// An interval begins behind its start, by less than a quantum, and ends less
// than a window behind it; it is at the lowest level of which this is true.
func TestPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bounds := Bounds{times().Draw(t, "min"), times().Draw(t, "max")}
		at := placeOf(bounds, true)
		if at.start > bounds.Min || uint64(bounds.Min)-uint64(at.start) >= timelineQuantum {
			t.Fatalf("%v starts at %d", bounds, at.start)
		}
		if bounds.Max < at.start {
			if at.level != 0 {
				t.Fatalf("%v is at level %d", bounds, at.level)
			}
			return
		}
		length := uint64(bounds.Max) - uint64(at.start)
		if length > window(int(at.level))-1 && at.level < maxLevel || at.level > 0 && length < window(int(at.level)-1) {
			t.Fatalf("%v is at level %d, its window is %d", bounds, at.level, window(int(at.level)))
		}
	})
}

// What overlaps is found, whatever the times; what is far away is not; other
// owners, and shards without blocks, are not.
func TestTimelineFindsWhatOverlaps(t *testing.T) {
	engine, err := kv.OpenEngine(t.TempDir(), kv.EngineOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}()
	const keyspace = clusterv1.Keyspace_KEYSPACE_STREAM
	next := uint64(1)
	rapid.Check(t, func(t *rapid.T) {
		next++
		db, err := engine.DB(next)
		if err != nil {
			t.Fatal(err)
		}
		intervals := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Bounds {
			return Bounds{times().Draw(t, "min"), times().Draw(t, "max")}
		}), 0, 30).Draw(t, "intervals")
		query := Bounds{times().Draw(t, "start"), times().Draw(t, "end")}
		err = db.Update(func(tx *kv.Tx) error {
			for i, bounds := range intervals {
				shard := ShardKey{Keyspace: keyspace, Point: uint64(i), Shard: uint32(i)}
				for owner, live := range map[string]bool{"a": true, "b": false, "aa": true} {
					at := placeOf(bounds, live)
					if err := moveInTimeline(tx, owner, shard, nil, &at); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(func(tx *kv.Tx) error {
			var found []uint64
			err := owned(tx, keyspace, "a", query, func(key ShardKey) error {
				found = append(found, key.Point)
				return nil
			})
			for i, bounds := range intervals {
				at := placeOf(bounds, true)
				near := at.start <= query.Max && at.start >= earliestStart(query.Min, int(at.level))
				if seen := slices.Contains(found, uint64(i)); seen != near || bounds.overlaps(query) && !seen {
					t.Errorf("%v (%v) for %v: found %v", bounds, at, query, seen)
				}
			}
			if err != nil {
				return err
			}
			if slices.Sort(found); len(slices.Compact(slices.Clone(found))) != len(found) {
				t.Errorf("%v: something was found twice", found)
			}
			return owned(tx, keyspace, "b", query, func(key ShardKey) error {
				t.Errorf("shard %v without blocks was found", key)
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
