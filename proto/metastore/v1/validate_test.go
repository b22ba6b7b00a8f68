package metastorev1_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

const goodID = "01J8E68YM0Z2RRKCY9SYGX3054"

func TestParseID(t *testing.T) { // R-SAN-1, R-SAN-2
	for _, id := range []string{goodID, "00000000000000000000000000", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"} {
		if _, err := metastorev1.ParseID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{
		"", "short", goodID + "0", "80000000000000000000000000", strings.Repeat("!", 26),
		strings.ToLower(goodID), "01J8E68YM0Z2RRKCY9SYGX305I", "01J8E68YM0Z2RRKCY9SYGX305\x00",
	} {
		if _, err := metastorev1.ParseID(id); !errors.Is(err, metastorev1.ErrInvalidID) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestValidateBlock(t *testing.T) {
	type block = metastorev1.BlockMeta
	dataset := func(d *metastorev1.Dataset) *block {
		return &block{Id: goodID, StringTable: []string{"", "a", "b"}, Datasets: []*metastorev1.Dataset{d}}
	}
	labels := func(refs ...int32) *block { return dataset(&metastorev1.Dataset{Labels: refs}) }
	for name, b := range map[string]*block{ // R-SAN-8
		"only an id":          {Id: goodID},
		"only empty string":   {Id: goodID, StringTable: []string{""}},
		"odd times":           {Id: goodID, MinTime: 10, MaxTime: -10},
		"any level and shard": {Id: goodID, CompactionLevel: math.MaxUint32, Shard: math.MaxUint32, FormatVersion: 99, Size: math.MaxUint64},
		"all references":      {Id: goodID, StringTable: []string{"", "a"}, Tenant: 1, CreatedBy: 1},
		"no labels":           labels(),
		"empty label sets":    labels(0, 0, 1, 1, 2),
		"two sets":            labels(1, 1, 2, 2, 1, 1, 2, 2),
		"duplicate strings":   {Id: goodID, StringTable: []string{"", "a", "a"}, Tenant: 2},
	} {
		if err := metastorev1.ValidateBlock(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string]*block{
		"missing":                  nil,                                                               // R-SAN-6
		"no id":                    {},                                                                // R-SAN-1
		"first string":             {Id: goodID, StringTable: []string{"a"}},                          // R-SAN-5
		"tenant outside":           {Id: goodID, StringTable: []string{""}, Tenant: 1},                // R-SAN-3
		"tenant without table":     {Id: goodID, Tenant: 1},                                           // R-SAN-3
		"negative tenant":          {Id: goodID, StringTable: []string{""}, Tenant: -1},               // R-SAN-3
		"creator outside":          {Id: goodID, StringTable: []string{""}, CreatedBy: math.MaxInt32}, // R-SAN-3
		"dataset missing":          dataset(nil),                                                      //
		"dataset tenant outside":   dataset(&metastorev1.Dataset{Tenant: 3}),                          // R-SAN-3
		"dataset name outside":     dataset(&metastorev1.Dataset{Name: -7}),                           // R-SAN-3
		"label outside":            labels(1, 1, 3),                                                   // R-SAN-3
		"label negative":           labels(1, -1, 1),                                                  // R-SAN-3
		"negative count":           labels(-1),                                                        // R-SAN-4
		"smallest count":           labels(math.MinInt32),                                             // R-SAN-4
		"largest count":            labels(math.MaxInt32, 1, 1),                                       // R-SAN-4
		"truncated set":            labels(2, 1, 1, 1),                                                // R-SAN-4
		"count alone":              labels(1),                                                         // R-SAN-4
		"string not UTF-8":         {Id: goodID, StringTable: []string{"", "\xff"}},                   //
		"endless tenant":           {Id: goodID, StringTable: []string{"", strings.Repeat("t", 4097)}, Tenant: 1},
		"endless tenant (dataset)": {Id: goodID, StringTable: []string{"", strings.Repeat("t", 4097)}, Datasets: []*metastorev1.Dataset{{Tenant: 1}}},
	} {
		if err := metastorev1.ValidateBlock(b); !errors.Is(err, metastorev1.ErrInvalidBlock) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTenantName(t *testing.T) { // R-SAN-9
	b := &metastorev1.BlockMeta{StringTable: []string{"", "acme"}}
	for ref, want := range map[int32]string{0: "", 1: "acme", 2: "", -1: ""} {
		b.Tenant = ref
		if got := b.TenantName(); got != want {
			t.Errorf("reference %d is %q, want %q", ref, got, want)
		}
	}
}

func TestCheckLimits(t *testing.T) {
	block := func(change func(*metastorev1.BlockMeta)) *metastorev1.BlockMeta {
		b := &metastorev1.BlockMeta{Id: goodID}
		change(b)
		return b
	}
	datasets := func(n int, labels []int32) func(*metastorev1.BlockMeta) {
		return func(b *metastorev1.BlockMeta) {
			for range n {
				b.Datasets = append(b.Datasets, &metastorev1.Dataset{Labels: labels})
			}
		}
	}
	table := func(n, size int) func(*metastorev1.BlockMeta) {
		return func(b *metastorev1.BlockMeta) {
			for range n {
				b.StringTable = append(b.StringTable, strings.Repeat("x", size))
			}
		}
	}
	sets := make([]int32, 1024)
	for name, test := range map[string]struct {
		change func(*metastorev1.BlockMeta)
		ok     bool
	}{
		"nothing":           {func(*metastorev1.BlockMeta) {}, true},
		"many datasets":     {datasets(metastorev1.MaxDatasets, nil), true},
		"too many datasets": {datasets(metastorev1.MaxDatasets+1, nil), false},
		"many strings":      {table(metastorev1.MaxStrings, 1), true},
		"too many strings":  {table(metastorev1.MaxStrings+1, 1), false},
		"long string":       {table(1, metastorev1.MaxStringBytes), true},
		"too long a string": {table(1, metastorev1.MaxStringBytes+1), false},
		"many labels":       {datasets(metastorev1.MaxLabelNumbers/len(sets), sets), true},
		"too many labels":   {datasets(metastorev1.MaxLabelNumbers/len(sets)+1, sets), false},
		"too many bytes":    {table(metastorev1.MaxBlockBytes/metastorev1.MaxStringBytes, metastorev1.MaxStringBytes), false},
	} {
		if err := metastorev1.CheckLimits(block(test.change)); (err == nil) != test.ok || err != nil && !errors.Is(err, metastorev1.ErrInvalidBlock) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
