package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// residentPeak returns the most memory that the server ever had, in bytes.
func (s *serverProcess) residentPeak() uint64 {
	s.t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.command.Process.Pid))
	if err != nil {
		s.t.Skipf("no /proc here: %v", err)
	}
	for line := range strings.Lines(string(content)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
			if err != nil {
				s.t.Fatal(err)
			}
			return kilobytes << 10
		}
	}
	s.t.Fatal("no VmHWM")
	return 0
}

// hostileQuery is a query that somebody might send, and what must come of it.
type hostileQuery struct {
	tenants    []string
	start, end int64
	query      string
	labels     []string
	want       codes.Code
	message    string
}

func hostileQueries() map[string]hostileQuery {
	one := []string{"tenant-0"}
	many := func(n int) []string {
		var tenants []string
		for i := range n {
			tenants = append(tenants, fmt.Sprint("tenant-", i))
		}
		return tenants
	}
	queries := map[string]hostileQuery{
		"no tenant (R-QRY-1)":                 {nil, 0, 1, "{}", nil, codes.InvalidArgument, "tenant_id is required"},
		"only the empty tenant (R-QRY-1)":     {[]string{""}, 0, 1, "{}", nil, codes.OK, ""},
		"tenants beyond the limit":            {many(10_001), 0, 1, "{}", nil, codes.InvalidArgument, "at most 10000"},
		"thousands of tenants":                {many(10_000), 0, math.MaxInt64, "{}", []string{"service_name"}, codes.OK, ""},
		"a tenant of 64 KiB":                  {[]string{strings.Repeat("t", 64<<10)}, 0, 1, "{}", nil, codes.OK, ""},
		"a tenant that looks like no tenant":  {[]string{"-", ".", "..", "\x00"}, 0, 1, "{}", nil, codes.OK, ""},
		"reversed (R-QRY-4)":                  {one, math.MaxInt64, math.MinInt64, "{}", nil, codes.OK, ""},
		"negative":                            {one, -5, -1, "{}", nil, codes.OK, ""},
		"all of time":                         {one, math.MinInt64, math.MaxInt64, "{}", nil, codes.OK, ""},
		"the last moment":                     {one, math.MaxInt64, math.MaxInt64, "{}", nil, codes.OK, ""},
		"the first moment":                    {one, math.MinInt64, math.MinInt64, "{}", nil, codes.OK, ""},
		"a label name of 64 KiB":              {one, 0, math.MaxInt64, "{}", []string{strings.Repeat("n", 64<<10)}, codes.OK, ""},
		"a matcher's name of 60 KiB":          {one, 0, math.MaxInt64, `{"` + strings.Repeat("n", 60<<10) + `"="x"}`, nil, codes.OK, ""},
		"names beyond the limit":              {one, 0, 1, "{}", make([]string, 1001), codes.InvalidArgument, "at most 1000"},
		"empty names":                         {one, 0, math.MaxInt64, "{}", make([]string, 1000), codes.OK, ""},
		"5 MiB of names":                      {one, 0, 1, "{}", []string{strings.Repeat("n", 5<<20)}, codes.InvalidArgument, "at most 4194304"},
		"a selector beyond the limit":         {one, 0, 1, `{a="` + strings.Repeat("x", 64<<10) + `"}`, nil, codes.InvalidArgument, "at most 65536"},
		"a matcher without a name (R-QRY-13)": {one, 0, 1, `{""="x"}`, nil, codes.OK, ""},
	}
	for name, selector := range map[string]string{
		"nothing": "", "blank": " ", "unquoted value": "{a=b}", "dots in a name": `{a.b="c"}`, "bad expression": `{a=~"("}`,
		"range": `{a="b"}[5m]`, "or": `{a="b" or c="d"}`, "comma": "{,}", "open": "{", "offset": `{a="b"} offset 5m`, "function": `rate({a="b"}[1m])`,
		"two selectors": "{}{}", "control": "{\x00}", "deep parentheses": `{a=~"` + strings.Repeat("(", 30_000) + strings.Repeat(")", 30_000) + `"}`,
		"large repeat": `{a=~"a{100000}"}`, "nested repeats": `{a=~"((a{100}){100}){100}"}`, "deep braces": strings.Repeat("{", 60_000),
		"program of a gigabyte": hostileExpressions(18, "("+strings.Repeat("a", 3300)+"){1000}"),
		"many large repeats":    hostileExpressions(1, strings.Repeat("a{1000}", 9000)),
		"many classes":          hostileExpressions(4, strings.Repeat(`\\pL`, 4000)),
		"folded classes":        hostileExpressions(1, "(?i)"+strings.Repeat(`[^\\x00-\\x{10FFFF}\\pL]`, 2500)),
	} {
		queries["malformed: "+name+" (R-QRY-2)"] = hostileQuery{one, 0, math.MaxInt64, selector, nil, codes.InvalidArgument, "failed to parse label matcher"}
	}
	for name, selector := range map[string]string{
		"trailing comma": `{a="b",}`, "quotes": "{a='b',c=`d`}", "UTF-8": `{"ü.x"="y"}`, "metric": `metric{a="b"}`, "backtracking": `{a=~"(a*)*b(x+x+)+y(.*)*"}`,
		"thousands of alternatives": `{service_name=~"` + strings.Repeat("service|", 8000) + `x"}`,
		"thousands of matchers":     "{" + strings.Repeat(`a!="b",`, 9000) + "}",
		"wildcards":                 `{service_name=~"` + strings.Repeat(".*", 10_000) + `"}`,
		"a repeat as people write":  `{pod!~"[a-z0-9]{5,64}-.{10}"}`,
	} {
		queries["well formed: "+name] = hostileQuery{one, 0, math.MaxInt64, selector, nil, codes.OK, ""}
	}
	return queries
}

// hostileExpressions is a selector of regular expressions.
func hostileExpressions(n int, expression string) string {
	return "{" + strings.Repeat(`a=~"`+expression+`",`, n) + "}"
}

// Nothing that a client may ask harms the server: each query gets its precise
// status, at once as often as one likes, and memory stays bounded.
func TestServeHostileQueries(t *testing.T) {
	s := startServe(t, t.TempDir())
	for _, block := range readBlocks(t, "../../proto/testdata/blocks/L0.pb") {
		if err := s.add(block); err != nil {
			t.Fatal(err)
		}
	}
	held, before := s.blocksHeld(), s.residentPeak()
	for name, q := range hostileQueries() {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				_, blocksErr := s.QueryMetadata(ctx, &metastorev1.QueryMetadataRequest{
					TenantId: q.tenants, StartTime: q.start, EndTime: q.end, Query: q.query, Labels: q.labels,
				})
				_, labelsErr := s.QueryMetadataLabels(ctx, &metastorev1.QueryMetadataLabelsRequest{
					TenantId: q.tenants, StartTime: q.start, EndTime: q.end, Query: q.query, Labels: q.labels,
				})
				for call, err := range map[string]error{"blocks": blocksErr, "labels": labelsErr} {
					if status.Code(err) != q.want || !strings.Contains(status.Convert(err).Message(), q.message) {
						t.Errorf("%s: %s: %.300v, want %s with %q", name, call, err, q.want, q.message)
					}
					if size := len(status.Convert(err).Message()); size > 4<<10 {
						t.Errorf("%s: %s: the message has %d bytes", name, call, size)
					}
				}
			})
		}
		all.Wait()
	}
	if grown := int64(s.residentPeak()) - int64(before); grown > 400<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	} else {
		t.Logf("memory grew by %d MiB", grown>>20)
	}
	if got := s.blocksHeld(); got != held {
		t.Errorf("%d blocks are held, %d before", got, held)
	}
	s.stop()
}

func TestServeHostileReadsOfBlocks(t *testing.T) {
	s := startServe(t, t.TempDir())
	good := readBlocks(t, "../../proto/testdata/blocks/L0.pb")[0]
	if err := s.add(good); err != nil {
		t.Fatal(err)
	}
	repeated := func(id string, n int) []string {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = id
		}
		return ids
	}
	for name, test := range map[string]struct {
		list *metastorev1.BlockList
		want codes.Code
		n    int
	}{
		"no list (R-GET-5)":           {nil, codes.OK, 0},
		"empty list (R-GET-2)":        {&metastorev1.BlockList{}, codes.OK, 0},
		"malformed id (R-GET-5)":      {&metastorev1.BlockList{Blocks: []string{good.Id, "x"}}, codes.InvalidArgument, 0},
		"empty id (R-GET-5)":          {&metastorev1.BlockList{Blocks: []string{""}}, codes.InvalidArgument, 0},
		"id of the far future":        {&metastorev1.BlockList{Blocks: []string{"7ZZZZZZZZZZZZZZZZZZZZZZZZZ"}}, codes.OK, 0},
		"id that overflows (R-GET-5)": {&metastorev1.BlockList{Blocks: []string{"80000000000000000000000000"}}, codes.InvalidArgument, 0},
		"id of a megabyte (R-GET-5)":  {&metastorev1.BlockList{Blocks: []string{strings.Repeat("0", 1<<20)}}, codes.InvalidArgument, 0},
		"unknown shard (R-GET-1)":     {&metastorev1.BlockList{Shard: math.MaxUint32, Blocks: []string{good.Id}}, codes.OK, 0},
		"unknown tenant (R-GET-1)":    {&metastorev1.BlockList{Tenant: strings.Repeat("t", 64<<10), Shard: good.Shard, Blocks: []string{good.Id}}, codes.OK, 0},
		"twice (R-GET-4)":             {&metastorev1.BlockList{Shard: good.Shard, Blocks: []string{good.Id, good.Id}}, codes.OK, 2},
		"ids beyond the limit":        {&metastorev1.BlockList{Shard: good.Shard, Blocks: repeated(good.Id, 100_001)}, codes.InvalidArgument, 0},
		"as many ids as may":          {&metastorev1.BlockList{Shard: good.Shard, Blocks: repeated(good.Id, 100_000)}, codes.OK, 100_000},
	} {
		answer, err := s.GetBlockMetadata(t.Context(), &metastorev1.GetBlockMetadataRequest{Blocks: test.list})
		if status.Code(err) != test.want || len(answer.GetBlocks()) != test.n {
			t.Errorf("%s: %d blocks, %.300v, want %d, %s", name, len(answer.GetBlocks()), err, test.n, test.want)
		}
	}
	s.stop()
}

// An answer above the message limit is refused with the one code that clients
// do not repeat, whoever finds out: a group or the router.
func TestServeOversizeAnswers(t *testing.T) {
	s := startServe(t, t.TempDir())
	for i := range 8 {
		err := s.add(bulkyBlock(uint64(i)))
		for status.Code(err) == codes.Unavailable { // a slow disk; repeating is safe
			err = s.add(bulkyBlock(uint64(i)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	before := s.residentPeak()
	query := func(ctx context.Context, tenants []string, labels ...string) (int, error) {
		answer, err := s.QueryMetadata(ctx, &metastorev1.QueryMetadataRequest{
			TenantId: tenants, StartTime: math.MinInt64, EndTime: math.MaxInt64, Query: "{}", Labels: labels,
		})
		return len(answer.GetBlocks()), err
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := query(t.Context(), []string{"bulky"}, "name"); status.Code(err) != codes.InvalidArgument ||
				!strings.Contains(err.Error(), "narrow the time range or the selector") {
				t.Errorf("%.300v", err)
			}
		})
	}
	all.Wait()
	id := bulkyBlock(0).Id
	_, err := s.GetBlockMetadata(t.Context(), &metastorev1.GetBlockMetadataRequest{
		Blocks: &metastorev1.BlockList{Tenant: "bulky", Blocks: []string{id, id, id, id, id, id, id, id}},
	})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("by id: %.300v", err)
	}
	// What does not ask for the bulk gets its answer.
	if n, err := query(t.Context(), []string{"bulky"}); n != 8 || err != nil {
		t.Errorf("%d blocks, %.300v", n, err)
	}
	if grown := int64(s.residentPeak()) - int64(before); grown > 1536<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	} else {
		t.Logf("memory grew by %d MiB", grown>>20)
	}
	s.stop()
}

// bulkyBlock has 14 MiB of label values.
func bulkyBlock(n uint64) *metastorev1.BlockMeta {
	id := ulid.ULID{}
	if err := id.SetTime(1735787040000); err != nil {
		panic(err)
	}
	binary.BigEndian.PutUint64(id[8:], n)
	block := &metastorev1.BlockMeta{
		Id: id.String(), Tenant: 1, Shard: uint32(n % 3), MinTime: int64(id.Time()), MaxTime: int64(id.Time()),
		StringTable: []string{"", "bulky", "name"},
	}
	dataset := &metastorev1.Dataset{Tenant: 1, Name: 2, MinTime: block.MinTime, MaxTime: block.MaxTime}
	for i := range 14 << 20 / (32 << 10) {
		block.StringTable = append(block.StringTable, strings.Repeat(fmt.Sprintf("%d-%04d.", n, i), 32<<10/7))
		dataset.Labels = append(dataset.Labels, 1, 2, int32(len(block.StringTable)-1))
	}
	block.Datasets = []*metastorev1.Dataset{dataset}
	return block
}
