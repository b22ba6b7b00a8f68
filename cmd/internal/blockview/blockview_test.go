package blockview

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

func sample() *metastorev1.BlockMeta {
	return &metastorev1.BlockMeta{
		Id: "01JGJFGR480W3GE1R70W3GE1R7", Tenant: 2, Shard: 3, CompactionLevel: 1, CreatedBy: 1, Size: 362,
		MinTime: 1735787040000, MaxTime: 1735787045125,
		StringTable: []string{"", "sw-0", "acme", "checkout", "service_name", "kind", "cpu", "mem"},
		Datasets: []*metastorev1.Dataset{
			{Tenant: 2, Name: 3, MinTime: 1735787040000, MaxTime: 1735787045125, Size: 100, Labels: []int32{2, 5, 6, 4, 3, 2, 4, 3, 5, 7, 0}},
			{Tenant: 2, Format: 1, Labels: []int32{2, 4, 3, 5, 6}},
		},
	}
}

func TestJSON(t *testing.T) {
	got, err := json.MarshalIndent(New(sample()), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want := `{
 "id": "01JGJFGR480W3GE1R70W3GE1R7",
 "tenant": "acme",
 "shard": 3,
 "level": 1,
 "created_by": "sw-0",
 "min_time": "2025-01-02T03:04:00.000Z",
 "min_time_ms": 1735787040000,
 "max_time": "2025-01-02T03:04:05.125Z",
 "max_time_ms": 1735787045125,
 "size": 362,
 "datasets": [
  {
   "tenant": "acme",
   "name": "checkout",
   "format": 0,
   "min_time": "2025-01-02T03:04:00.000Z",
   "min_time_ms": 1735787040000,
   "max_time": "2025-01-02T03:04:05.125Z",
   "max_time_ms": 1735787045125,
   "size": 100,
   "labels": [
    {
     "kind": "cpu",
     "service_name": "checkout"
    },
    {
     "kind": "mem",
     "service_name": "checkout"
    },
    {}
   ]
  },
  {
   "tenant": "acme",
   "name": "",
   "format": 1,
   "min_time": "1970-01-01T00:00:00.000Z",
   "min_time_ms": 0,
   "max_time": "1970-01-01T00:00:00.000Z",
   "max_time_ms": 0,
   "size": 0,
   "labels": [
    {
     "kind": "cpu",
     "service_name": "checkout"
    }
   ]
  }
 ]
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestLabelSets(t *testing.T) {
	want := []string{`{kind="cpu", service_name="checkout"}`, `{kind="mem", service_name="checkout"}`, `{}`}
	if diff := cmp.Diff(want, New(sample()).LabelSets()); diff != "" {
		t.Error(diff)
	}
	if got := New(&metastorev1.BlockMeta{}).LabelSets(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestHostileLabels(t *testing.T) {
	table := []string{"", "a", "b"}
	for _, c := range []struct {
		name  string
		refs  []int32
		want  []Labels
		fault string
	}{
		{"negative count", []int32{-1, 1, 2}, []Labels{}, "label set 0 announces -1 pairs, 2 references follow"},
		{"too many pairs", []int32{1, 1, 2, 2, 1, 2, 1}, []Labels{{"a": "b"}}, "label set 1 announces 2 pairs, 3 references follow"},
		{"count that wraps", []int32{math.MaxInt32, 1, 2}, []Labels{}, "label set 0 announces 2147483647 pairs, 2 references follow"},
		{"outside the table", []int32{2, 3, -1, math.MaxInt32, math.MinInt32}, []Labels{
			{"<string 3 of 3>": "<string -1 of 3>", "<string 2147483647 of 3>": "<string -2147483648 of 3>"},
		}, ""},
		{"empty sets", []int32{0, 0, 1, 1, 2, 0}, []Labels{{}, {}, {"a": "b"}, {}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			block := &metastorev1.BlockMeta{StringTable: table, Datasets: []*metastorev1.Dataset{{Labels: c.refs}}}
			got := New(block).Datasets[0]
			if diff := cmp.Diff(c.want, got.Labels); diff != "" {
				t.Error(diff)
			}
			if got.Fault != c.fault {
				t.Errorf("fault %q, want %q", got.Fault, c.fault)
			}
		})
	}
}

func TestHostileBlocks(t *testing.T) {
	for _, c := range []struct {
		name  string
		block *metastorev1.BlockMeta
		check func(Block) bool
	}{
		{"nothing", nil, func(b Block) bool { return b.Tenant == "" && b.Datasets != nil }},
		{"no table", &metastorev1.BlockMeta{Tenant: 1, CreatedBy: -1}, func(b Block) bool {
			return b.Tenant == "<string 1 of 0>" && b.CreatedBy == "<string -1 of 0>"
		}},
		{"missing dataset", &metastorev1.BlockMeta{Datasets: []*metastorev1.Dataset{nil}}, func(b Block) bool { return len(b.Datasets) == 1 }},
		{"times out of this world", &metastorev1.BlockMeta{MinTime: math.MinInt64, MaxTime: math.MaxInt64}, func(b Block) bool {
			return b.MinTimeMS == math.MinInt64 && b.MaxTimeMS == math.MaxInt64 && b.MaxTime == "292278994-08-17T07:12:55.807Z"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			view := New(c.block)
			if !c.check(view) {
				t.Errorf("got %+v", view)
			}
			if _, err := json.Marshal(view); err != nil {
				t.Error(err)
			}
		})
	}
}
