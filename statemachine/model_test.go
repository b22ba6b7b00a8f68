package statemachine_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/proto"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	"github.com/skerrydb/skerry/proto/selector"
	"github.com/skerrydb/skerry/statemachine"
)

// model is the index as naively as possible: a list of blocks as they came,
// all semantics spelled out on strings.
type model struct{ blocks []*metastorev1.BlockMeta }

func (m *model) add(block *metastorev1.BlockMeta) {
	for _, known := range m.blocks {
		if known.GetId() == block.GetId() && known.GetShard() == block.GetShard() && known.TenantName() == block.TenantName() {
			return
		}
	}
	m.blocks = append(m.blocks, proto.CloneOf(block))
}

type pair struct{ name, value string }

// sets resolves a dataset's label sets.
func sets(block *metastorev1.BlockMeta, dataset *metastorev1.Dataset) [][]pair {
	var all [][]pair
	flat := dataset.GetLabels()
	for len(flat) > 0 {
		n := int(flat[0])
		flat = flat[1:]
		set := []pair{}
		for range n {
			set = append(set, pair{str(block, flat[0]), str(block, flat[1])})
			flat = flat[2:]
		}
		all = append(all, set)
	}
	return all
}

func str(block *metastorev1.BlockMeta, ref int32) string {
	if ref == 0 {
		return ""
	}
	return block.StringTable[ref]
}

func value(set []pair, name string) (string, bool) {
	for _, p := range set {
		if p.name == name {
			return p.value, true
		}
	}
	return "", false
}

func satisfies(set []pair, matchers []*labels.Matcher) bool {
	for _, matcher := range matchers {
		v, present := value(set, matcher.Name)
		switch {
		case !present && selector.NeedsPresence(matcher), present && !matcher.Matches(v):
			return false
		}
	}
	return true
}

// text describes a block with all strings resolved, so that answers with
// different string tables can be compared.
func text(block *metastorev1.BlockMeta) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q %d L%d v%d %d..%d by %q size %d meta %d\n", block.GetId(), str(block, block.GetTenant()), block.GetShard(),
		block.GetCompactionLevel(), block.GetFormatVersion(), block.GetMinTime(), block.GetMaxTime(), str(block, block.GetCreatedBy()), block.GetSize(), block.GetMetadataOffset())
	for _, d := range block.GetDatasets() {
		fmt.Fprintf(&b, "  %q %q %d..%d toc %v size %d format %d %q\n", str(block, d.GetTenant()), str(block, d.GetName()),
			d.GetMinTime(), d.GetMaxTime(), d.GetTableOfContents(), d.GetSize(), d.GetFormat(), sets(block, d))
	}
	return b.String()
}

type request struct {
	tenants    []string
	start, end int64
	selector   string
	labels     []string
}

func (m *model) selected(q request, matchers []*labels.Matcher) []*metastorev1.BlockMeta {
	var found []*metastorev1.BlockMeta
	for _, block := range m.blocks {
		listed := block.TenantName() == "" || slices.Contains(q.tenants, block.TenantName())
		if !listed || block.GetMinTime() > q.end || block.GetMaxTime() < q.start {
			continue
		}
		copied := proto.CloneOf(block)
		copied.Datasets = slices.DeleteFunc(copied.Datasets, func(d *metastorev1.Dataset) bool {
			return !slices.Contains(q.tenants, str(block, d.GetTenant())) || d.GetMinTime() > q.end || d.GetMaxTime() < q.start ||
				!slices.ContainsFunc(sets(block, d), func(set []pair) bool { return satisfies(set, matchers) })
		})
		if len(copied.Datasets) > 0 {
			found = append(found, copied)
		}
	}
	slices.SortFunc(found, func(a, b *metastorev1.BlockMeta) int {
		return cmp.Or(cmp.Compare(a.TenantName(), b.TenantName()), cmp.Compare(a.GetShard(), b.GetShard()), cmp.Compare(a.GetId(), b.GetId()))
	})
	return found
}

// query returns the expected answer as text.
func (m *model) query(q request, matchers []*labels.Matcher) string {
	var b strings.Builder
	for _, block := range m.selected(q, matchers) {
		for _, d := range block.GetDatasets() {
			var kept []int32
			if len(q.labels) > 0 {
				for _, set := range sets(block, d) {
					if !satisfies(set, matchers) {
						continue
					}
					at := len(kept)
					kept = append(kept, 0)
					for _, name := range q.labels {
						if v, ok := value(set, name); ok {
							block.StringTable = append(block.StringTable, name, v)
							kept = append(kept, int32(len(block.StringTable)-2), int32(len(block.StringTable)-1))
							kept[at]++
						}
					}
				}
			}
			d.Labels = kept
		}
		b.WriteString(text(block))
	}
	return b.String()
}

func (m *model) labels(q request, matchers []*labels.Matcher) []string {
	if len(q.labels) == 0 {
		return nil
	}
	distinct := map[string][]string{}
	for _, block := range m.selected(q, matchers) {
		for _, d := range block.GetDatasets() {
			for _, set := range sets(block, d) {
				if !satisfies(set, matchers) {
					continue
				}
				values := []string{}
				for _, name := range q.labels {
					v, _ := value(set, name)
					values = append(values, v)
				}
				distinct[fmt.Sprintf("%q", values)] = values
			}
		}
	}
	var sorted [][]string
	for _, values := range distinct {
		sorted = append(sorted, values)
	}
	slices.SortFunc(sorted, slices.Compare)
	var lines []string
	for _, values := range sorted {
		lines = append(lines, fmt.Sprintf("%q", values))
	}
	return lines
}

func (m *model) tenants() []string {
	found := map[string]bool{}
	for _, block := range m.blocks {
		found[block.TenantName()] = true
		if block.TenantName() == "" {
			for _, d := range block.GetDatasets() {
				found[str(block, d.GetTenant())] = true
			}
		}
	}
	var names []string
	for name := range found {
		if name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (m *model) stats(tenant string) *metastorev1.TenantStats {
	stats := &metastorev1.TenantStats{}
	add := func(from, to int64) {
		if !stats.DataIngested {
			stats.DataIngested, stats.OldestProfileTime, stats.NewestProfileTime = true, from, to
		}
		stats.OldestProfileTime = min(stats.OldestProfileTime, from)
		stats.NewestProfileTime = max(stats.NewestProfileTime, to)
	}
	for _, block := range m.blocks {
		if block.TenantName() == tenant {
			add(block.GetMinTime(), block.GetMaxTime())
		} else if block.TenantName() == "" {
			for _, d := range block.GetDatasets() {
				if str(block, d.GetTenant()) == tenant {
					add(d.GetMinTime(), d.GetMaxTime())
				}
			}
		}
	}
	return stats
}

// randomBlock makes small, odd blocks that collide in everything: few tenants,
// shards, names, ids and times; empty and repeated label sets; unused strings.
func randomBlock(random *rand.Rand) *metastorev1.BlockMeta {
	b := &metastorev1.BlockMeta{
		Id:            ulid.ULID{byte(random.IntN(3)), 1, 2, 3, 15: byte(random.IntN(64))}.String(),
		Shard:         uint32(random.IntN(3)),
		FormatVersion: uint32(random.IntN(2)), CompactionLevel: uint32(random.IntN(4)),
		MinTime: int64(random.IntN(40) - 5), MaxTime: int64(random.IntN(40) - 5),
		Size: random.Uint64N(1000), MetadataOffset: random.Uint64N(1000),
	}
	pool := []string{"", "a", "b", "acme", "svc", "service_name", "__profile_type__", "cpu", "x", "x"}
	b.StringTable = slices.Clone(pool[:1+random.IntN(len(pool))])
	random.Shuffle(len(b.StringTable)-1, func(i, j int) {
		b.StringTable[i+1], b.StringTable[j+1] = b.StringTable[j+1], b.StringTable[i+1]
	})
	ref := func() int32 { return int32(random.IntN(len(b.StringTable))) }
	if random.IntN(2) == 0 {
		b.Tenant = ref()
	}
	b.CreatedBy = ref()
	for range random.IntN(4) {
		d := &metastorev1.Dataset{
			Tenant: ref(), Name: ref(), MinTime: int64(random.IntN(40) - 5), MaxTime: int64(random.IntN(40) - 5),
			TableOfContents: []uint64{random.Uint64N(100)}, Size: random.Uint64N(100), Format: uint32(random.IntN(2)),
		}
		for range random.IntN(4) {
			n := random.IntN(4)
			d.Labels = append(d.Labels, int32(n))
			for range 2 * n {
				d.Labels = append(d.Labels, ref())
			}
		}
		b.Datasets = append(b.Datasets, d)
	}
	return b
}

func randomRequest(random *rand.Rand) request {
	names := []string{"", "a", "b", "acme", "svc", "service_name", "__profile_type__", "cpu", "nowhere"}
	pick := func(n int) []string {
		var picked []string
		for range n {
			picked = append(picked, names[random.IntN(len(names))])
		}
		return picked
	}
	var matchers []string
	for range random.IntN(3) {
		pattern := []string{"", "a", ".*", "a|b", "c.*", "acme", "[^a]+"}[random.IntN(7)]
		operator := []string{"=", "!=", "=~", "!~"}[random.IntN(4)]
		matchers = append(matchers, fmt.Sprintf("%q%s%q", names[1+random.IntN(len(names)-1)], operator, pattern))
	}
	return request{
		tenants: pick(1 + random.IntN(3)), start: int64(random.IntN(50) - 10), end: int64(random.IntN(50) - 10),
		selector: "{" + strings.Join(matchers, ",") + "}", labels: pick(random.IntN(3)),
	}
}

// The machine agrees with the model on every question, also after a crash and
// a snapshot.
func TestAgainstModel(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 3))
			r, m := newReplica(t), &model{}
			r.apply(initCommand())
			if seed%3 == 0 {
				for _, block := range realBlocks(t) {
					m.add(block)
					r.apply(addCommand(block))
				}
			}
			for range 8 {
				for range 20 {
					block := randomBlock(random)
					m.add(block)
					r.apply(addCommand(block))
				}
				if err := r.machine.Sync(); err != nil {
					t.Fatal(err)
				}
				if random.IntN(2) == 0 {
					r.crash()
				}
				for range 40 {
					compareAnswers(t, r, m, randomRequest(random))
				}
				compareAnswers(t, r, m, request{tenants: []string{"t-alpha"}, start: 0, end: 1 << 60, selector: `{service_name=~".+"}`, labels: []string{"service_name"}})
			}
		})
	}
}

func compareAnswers(t *testing.T, r *replica, m *model, q request) {
	t.Helper()
	matchers, err := selector.Parse(q.selector)
	if err != nil {
		t.Fatalf("%s: %v", q.selector, err)
	}
	query := statemachine.BlockQuery{
		Context: t.Context(), Ranges: wholeSpans(), Tenants: q.tenants, Start: q.start, End: q.end, Matchers: matchers, Labels: q.labels,
	}
	var blocks strings.Builder
	for _, encoded := range r.lookup(statemachine.QueryBlocks(query)).(*nodev1.QueryBlocksResponse).GetBlocks() {
		block := &metastorev1.BlockMeta{}
		if err := block.UnmarshalVT(encoded.GetBlock()); err != nil {
			t.Fatal(err)
		}
		checkExportedTable(t, block)
		if encoded.GetTenant() != block.TenantName() || encoded.GetShard() != block.GetShard() || encoded.GetId() != block.GetId() {
			t.Errorf("sort key %q/%d/%s of %s", encoded.GetTenant(), encoded.GetShard(), encoded.GetId(), text(block))
		}
		blocks.WriteString(text(block))
	}
	if want := m.query(q, matchers); blocks.String() != want {
		t.Fatalf("%+v: got\n%s\nwant\n%s", q, blocks.String(), want)
	}
	var projections []string
	for _, projection := range r.lookup(statemachine.QueryLabels(query)).(*nodev1.QueryLabelsResponse).GetLabels() {
		values := []string{}
		for i, p := range projection.GetLabels() {
			if p.GetName() != q.labels[i] {
				t.Errorf("%+v: pair %d is %v", q, i, p)
			}
			values = append(values, p.GetValue())
		}
		projections = append(projections, fmt.Sprintf("%q", values))
	}
	if want := m.labels(q, matchers); !slices.Equal(projections, want) {
		t.Fatalf("%+v: labels %v, want %v", q, projections, want)
	}
	if got, want := r.lookup(statemachine.ListTenants{Context: t.Context(), Ranges: wholeSpans()}).([]string), m.tenants(); !slices.Equal(got, want) {
		t.Fatalf("tenants %q, want %q", got, want)
	}
	for _, tenant := range append(q.tenants, "") {
		got := r.lookup(statemachine.TenantStats{Context: t.Context(), Ranges: wholeSpans(), Tenant: tenant}).(*nodev1.TenantStatsResponse).GetStats()
		if want := m.stats(tenant); !proto.Equal(got, want) {
			t.Fatalf("stats of %q: %v, want %v", tenant, got, want)
		}
	}
}

// checkExportedTable demands that a returned table begins with "", has no
// string twice, and holds just what is referenced, in order of first use.
func checkExportedTable(t *testing.T, block *metastorev1.BlockMeta) { // R-STR-1, R-STR-2
	t.Helper()
	used := []string{""}
	use := func(ref int32) {
		if s := block.StringTable[ref]; !slices.Contains(used, s) {
			used = append(used, s)
		}
	}
	use(block.GetTenant())
	use(block.GetCreatedBy())
	for _, d := range block.GetDatasets() {
		use(d.GetTenant())
		use(d.GetName())
		for flat := d.GetLabels(); len(flat) > 0; flat = flat[1+2*flat[0]:] {
			for _, ref := range flat[1 : 1+2*flat[0]] {
				use(ref)
			}
		}
	}
	if !slices.Equal(block.StringTable, used) {
		t.Errorf("the string table of %s is %q, want %q", block.GetId(), block.StringTable, used)
	}
}

// Real blocks come back as they were sent. Segment-writers build their string
// tables in the order of exports, so segments are identical to the bit; a
// compaction-worker's tables hold the same strings in the order of merging, so
// tenant blocks are compared with all references resolved.
func TestRealBlocksComeBack(t *testing.T) { // R-STR-3
	r := newReplica(t)
	r.apply(initCommand())
	blocks := realBlocks(t)
	for _, block := range blocks {
		r.apply(addCommand(block))
	}
	for _, block := range blocks {
		got := getBlocks(t, r, block.TenantName(), block.GetShard(), block.GetId())
		if len(got) != 1 || text(got[0]) != text(block) {
			t.Fatalf("got %v, want %v", got, block)
		}
		checkExportedTable(t, got[0])
		if block.GetCompactionLevel() == 0 && !proto.Equal(got[0], block) {
			t.Fatalf("got %v, want %v", got[0], block)
		}
	}
}
