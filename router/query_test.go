package router

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

func TestQueryAsksTenantsAndAllStreams(t *testing.T) {
	c := newFakeCluster(t, 8, 2, 1)
	r := c.start(t, Options{})
	tenants := []string{"", "a", "b", "c", "d", "e", "f", "g", "h"}
	request := &metastorev1.QueryMetadataRequest{
		TenantId: slices.Concat([]string{"h", "b"}, tenants), StartTime: 5, EndTime: 9, Query: `{x="y"}`, Labels: []string{"l"},
	}
	if _, err := (&queryService{router: r}).QueryMetadata(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	covered := map[string]int{}
	groups := map[uint64]bool{}
	var streams uint64
	for _, e := range c.calls("QueryBlocks") {
		if groups[e.group] {
			t.Errorf("group %d was asked twice", e.group)
		}
		groups[e.group] = true
		asked := e.request.(*nodev1.QueryRequest)
		if asked.GetStartTime() != 5 || asked.GetEndTime() != 9 || asked.GetSelector() != `{x="y"}` || !slices.Equal(asked.GetLabels(), []string{"l"}) || asked.GetMaxBytes() != MaxMessageBytes {
			t.Errorf("wrong request %v", asked)
		}
		hasStreams := false
		var held []string
		for _, tenant := range tenants[1:] {
			lo, hi := clusterv1.TenantSpan(tenant)
			for _, ref := range e.refs {
				if ref.GetKeyspace() == tenantSpace && ref.GetLo() == lo && ref.GetHi() == hi {
					covered[tenant]++
					held = append(held, tenant)
				}
			}
		}
		for _, ref := range e.refs {
			if ref.GetKeyspace() == clusterv1.Keyspace_KEYSPACE_STREAM {
				streams += ref.GetHi() - ref.GetLo() // wraps to 0 when all is covered
				hasStreams = true
			}
		}
		// Segments hold data of any tenant; other groups need only their own.
		want := held
		if hasStreams {
			want = tenants
		}
		if !slices.Equal(asked.GetTenants(), want) {
			t.Errorf("group %d is told of tenants %q, want %q", e.group, asked.GetTenants(), want)
		}
	}
	if streams != 0 || !groups[2] || !groups[3] || len(groups) < 5 {
		t.Errorf("streams left %x, groups %v", streams, groups)
	}
	for _, tenant := range tenants[1:] {
		if covered[tenant] != 1 {
			t.Errorf("tenant %s was asked for %d times", tenant, covered[tenant])
		}
	}
}

func TestQueryOfAnonymousReadsStreamsOnly(t *testing.T) {
	c := newFakeCluster(t, 8, 2, 1)
	r := c.start(t, Options{})
	if _, err := (&queryService{router: r}).QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: []string{""}, Query: "{}"}); err != nil {
		t.Fatal(err)
	}
	calls := c.calls("QueryBlocks")
	if len(calls) != 2 {
		t.Fatalf("%d calls, want one for each of 2 stream groups", len(calls))
	}
	for _, e := range calls {
		for _, ref := range e.refs {
			if ref.GetKeyspace() != clusterv1.Keyspace_KEYSPACE_STREAM {
				t.Errorf("asked for %v", ref)
			}
		}
	}
}

func TestQueryValidation(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	r := c.start(t, Options{MaxTenants: 3, MaxLabels: 2, MaxQueryBytes: 1 << 20})
	service := &queryService{router: r}
	for _, test := range []struct {
		name    string
		tenants []string
		query   string
		labels  []string
		want    string // "" for OK
	}{
		{"no tenant", nil, "{}", nil, "invalid query: tenant_id is required"},
		{"empty tenant", []string{""}, "{}", nil, ""},
		{"empty selector", []string{"a"}, "", nil, "invalid query: failed to parse label matcher: "},
		{"unquoted value", []string{"a"}, "{a=b}", nil, "invalid query: failed to parse label matcher: "},
		{"bad regexp", []string{"a"}, `{a=~"("}`, nil, "invalid query: failed to parse label matcher: "},
		{"range", []string{"a"}, `{a="b"}[5m]`, nil, "invalid query: failed to parse label matcher: "},
		{"metric name", []string{"a"}, `cpu{a="b",}`, []string{"x"}, ""},
		{"long selector", []string{"a"}, `{a="` + strings.Repeat("x", 1<<16) + `"}`, nil, "invalid query: "},
		{"too many tenants", []string{"a", "b", "c", "d"}, "{}", nil, "invalid query: 4 tenants, at most 3 are allowed"},
		{"too many labels", []string{"a"}, "{}", []string{"a", "b", "c"}, "invalid query: 3 labels, at most 2 are allowed"},
		{"too many bytes", []string{strings.Repeat("a", 1<<20)}, "{}", nil, "invalid query: the request has "},
		{"tenant not UTF-8", []string{"a\xff"}, "{}", nil, "invalid query: "},
		{"label not UTF-8", []string{"a"}, "{}", []string{"\xff"}, "invalid query: "},
		{"selector not UTF-8", []string{"a"}, "{a=\"\xff\"}", nil, "invalid query: the selector is not UTF-8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, blocks := service.QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: test.tenants, Query: test.query, Labels: test.labels})
			_, labels := service.QueryMetadataLabels(t.Context(), &metastorev1.QueryMetadataLabelsRequest{TenantId: test.tenants, Query: test.query, Labels: test.labels})
			for _, err := range []error{blocks, labels} {
				if test.want == "" {
					if err != nil {
						t.Error(err)
					}
					continue
				}
				if s := wantCode(t, err, codes.InvalidArgument); !strings.HasPrefix(s.Message(), test.want) {
					t.Errorf("got %q, want prefix %q", s.Message(), test.want)
				}
			}
		})
	}
}

func TestLabelsWithoutNamesAreEmpty(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	r := c.start(t, Options{})
	answer, err := (&queryService{router: r}).QueryMetadataLabels(t.Context(), &metastorev1.QueryMetadataLabelsRequest{TenantId: []string{"a"}, Query: "{}"})
	if err != nil || len(answer.GetLabels()) != 0 || len(c.calls("QueryLabels")) != 0 {
		t.Fatalf("got %v, %v after %d calls", answer, err, len(c.calls("QueryLabels")))
	}
}

func TestLabelsAreMerged(t *testing.T) {
	c := newFakeCluster(t, 3, 3, 1)
	one := func(value string) *typesv1.Labels {
		return &typesv1.Labels{Labels: []*typesv1.LabelPair{{Name: "l", Value: value}}}
	}
	c.labels[2] = []*typesv1.Labels{one("b"), one("d")}
	c.labels[3] = []*typesv1.Labels{one(""), one("b")}
	c.labels[4] = []*typesv1.Labels{one("a"), one("c")}
	r := c.start(t, Options{})
	answer, err := (&queryService{router: r}).QueryMetadataLabels(t.Context(), &metastorev1.QueryMetadataLabelsRequest{TenantId: []string{"x"}, Query: "{}", Labels: []string{"l"}})
	if err != nil {
		t.Fatal(err)
	}
	want := &metastorev1.QueryMetadataLabelsResponse{Labels: []*typesv1.Labels{one(""), one("a"), one("b"), one("c"), one("d")}}
	if !proto.Equal(answer, want) {
		t.Errorf("got %v, want %v", answer, want)
	}
}

// The limit counts what goes on the wire: exactly the limit passes.
func TestOversizeAnswers(t *testing.T) {
	c := newFakeCluster(t, 4, 2, 1)
	var total int
	for i := range 40 {
		block := newBlock([]string{"", "a", "b"}[i%3], uint32(i), i)
		c.add(block)
		total += recordSize(encode(block))
	}
	request := &metastorev1.QueryMetadataRequest{TenantId: []string{"a", "b"}, Query: "{}"}
	fits := c.start(t, Options{MaxAnswerBytes: total})
	answer, err := (&queryService{router: fits}).QueryMetadata(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if got := proto.Size(answer); got != total {
		t.Errorf("the answer has %d bytes, counted %d", got, total)
	}
	tight := c.start(t, Options{MaxAnswerBytes: total - 1})
	_, err = (&queryService{router: tight}).QueryMetadata(t.Context(), request)
	if s := wantCode(t, err, codes.InvalidArgument); !strings.Contains(s.Message(), "narrow the time range or the selector") {
		t.Errorf("got %q", s.Message())
	}
	one := newBlock("a", 7, 99)
	c.add(one)
	get := &metastorev1.GetBlockMetadataRequest{Blocks: &metastorev1.BlockList{Tenant: "a", Shard: 7, Blocks: slices.Repeat([]string{one.GetId()}, 100)}}
	_, err = (&indexService{router: tight}).GetBlockMetadata(t.Context(), get)
	wantCode(t, err, codes.InvalidArgument)
}

func TestUnsortedNodeIsAnInternalError(t *testing.T) {
	c := newFakeCluster(t, 1, 1, 1)
	c.add(newBlock("a", 1, 1))
	c.add(newBlock("a", 1, 2))
	slices.Reverse(c.order)
	r := c.start(t, Options{})
	_, err := (&queryService{router: r}).QueryMetadata(t.Context(), &metastorev1.QueryMetadataRequest{TenantId: []string{"a"}, Query: "{}"})
	wantCode(t, err, codes.Internal)
}

func TestGetTenants(t *testing.T) {
	c := newFakeCluster(t, 3, 1, 1)
	c.tenants = map[uint64][]string{2: {"", "b", "d"}, 3: {"a", "b"}, 4: nil}
	r := c.start(t, Options{})
	answer, err := (&tenantService{router: r}).GetTenants(t.Context(), &metastorev1.GetTenantsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.GetTenantIds(); !slices.Equal(got, []string{"a", "b", "d"}) {
		t.Errorf("got %q", got)
	}
	if n := len(c.calls("ListTenants")); n != 4 {
		t.Errorf("%d calls, want 1 for the streams and 3 for the tenants", n)
	}
}

func TestGetTenant(t *testing.T) {
	stats := func(oldest, newest int64) *metastorev1.TenantStats {
		return &metastorev1.TenantStats{DataIngested: true, OldestProfileTime: oldest, NewestProfileTime: newest}
	}
	for i, test := range []struct {
		stream, tenant, want *metastorev1.TenantStats
	}{
		{nil, nil, &metastorev1.TenantStats{}},
		{&metastorev1.TenantStats{}, stats(5, 9), stats(5, 9)},
		{stats(7, 12), stats(5, 9), stats(5, 12)},
		{stats(-3, 2), &metastorev1.TenantStats{}, stats(-3, 2)},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			c := newFakeCluster(t, 8, 1, 1)
			lo, _ := clusterv1.TenantSpan("acme")
			owner := c.truth.Lookup(tenantSpace, lo).GetGroupId()
			if owner == 2 {
				t.Fatal("choose another tenant: this one lives with the streams")
			}
			c.stats = map[uint64]*metastorev1.TenantStats{2: test.stream, owner: test.tenant}
			r := c.start(t, Options{})
			answer, err := (&tenantService{router: r}).GetTenant(t.Context(), &metastorev1.GetTenantRequest{TenantId: "acme"})
			if err != nil || answer.Stats == nil || !proto.Equal(answer.Stats, test.want) {
				t.Errorf("got %v, %v, want %v", answer, err, test.want)
			}
			anonymous, err := (&tenantService{router: r}).GetTenant(t.Context(), &metastorev1.GetTenantRequest{})
			want := test.stream
			if want == nil {
				want = &metastorev1.TenantStats{}
			}
			if err != nil || !proto.Equal(anonymous.Stats, want) {
				t.Errorf("anonymous: got %v, %v, want %v", anonymous, err, want)
			}
			if n := len(c.calls("TenantStats")); n != 3 {
				t.Errorf("%d calls, want 2 for the tenant and 1 for the streams", n)
			}
		})
	}
}
