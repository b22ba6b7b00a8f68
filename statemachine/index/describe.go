package index

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// keyspaceOf finds the keyspace that a root bucket belongs to, and tells
// whether it holds index shards or a timeline.
func keyspaceOf(root []byte) (keyspace clusterv1.Keyspace, timeline, known bool) {
	for _, keyspace := range []clusterv1.Keyspace{clusterv1.Keyspace_KEYSPACE_TENANT, clusterv1.Keyspace_KEYSPACE_STREAM} {
		switch string(root) {
		case string(rootName(keyspace)):
			return keyspace, false, true
		case string(timelineName(keyspace)):
			return keyspace, true, true
		}
	}
	return 0, false, false
}

// DescribeShard words the name of an index shard's bucket for people; root is
// the name of the bucket that it is in. It reports false for other buckets.
func DescribeShard(root, name []byte) (string, bool) {
	keyspace, timeline, known := keyspaceOf(root)
	if !known || timeline {
		return "", false
	}
	key, err := decodeShardKey(keyspace, name)
	return describeKey(key), err == nil
}

func describeKey(key ShardKey) string {
	partition := time.Unix(int64(key.Partition), 0).UTC().Format("2006-01-02T15Z")
	return fmt.Sprintf("point %016x, partition %s, shard %d, tenant %q", key.Point, partition, key.Shard, key.Tenant)
}

// DescribeRow words a row of the index for people: its key, then its value. The
// path leads to the row's bucket. It reports false if the row is not the
// index's, or damaged.
func DescribeRow(path [][]byte, key, value []byte) (string, string, bool) {
	if len(path) == 0 || len(key) == 0 {
		return "", "", false
	}
	if string(path[0]) == string(partitionsName) {
		shard, err := decodePartitionKey(key)
		return "index shard", describeKey(shard), err == nil
	}
	keyspace, timeline, known := keyspaceOf(path[0])
	if !known || timeline != (len(path) == 1) {
		return "", "", false
	}
	describe := describeShardRow
	if timeline {
		describe = func(key, _ []byte) (string, string, error) { return describeTimeline(keyspace, key) }
	}
	keyText, valueText, err := describe(key, value)
	return keyText, valueText, err == nil
}

func describeTimeline(keyspace clusterv1.Keyspace, key []byte) (string, string, error) {
	row, err := decodeTimelineKey(keyspace, key)
	state := fmt.Sprintf("from %d on, level %d", row.start, row.level)
	if row.level == dormant {
		state = fmt.Sprintf("from %d on, without blocks", row.start)
	}
	return fmt.Sprintf("tenant %q, data %s", row.owner, state), describeKey(row.shard), err
}

func describeShardRow(key, value []byte) (string, string, error) {
	rest := key[1:]
	switch {
	case key[0] == tagRecord && len(rest) == 0:
		record, err := DecodeRecord(value)
		return "record", fmt.Sprintf("data time %d..%d, %d blocks, %d object bytes, %d strings, %d series, next block %d, settled %d, born %d, revision %d",
			record.Min, record.Max, record.Blocks, record.ObjectBytes, record.Strings, record.Series, record.Next, record.Settled, record.Born, record.Revision), err
	case key[0] == tagStrings && len(rest) == 4:
		d := newDictionary(0)
		err := d.appendStrings(value)
		quoted := make([]string, 0, len(d.strings))
		for _, s := range d.strings[1:] {
			quoted = append(quoted, strconv.Quote(s))
		}
		return fmt.Sprintf("strings from %d", binary.BigEndian.Uint32(rest)), strings.Join(quoted, " "), err
	case key[0] == tagSeries && len(rest) == 4:
		text, err := describeSeries(value)
		return fmt.Sprintf("series from %d", binary.BigEndian.Uint32(rest)), text, err
	case key[0] == tagBlock && len(rest) == 4:
		text, err := describeEntry(value)
		return fmt.Sprintf("block number %d", binary.BigEndian.Uint32(rest)), text, err
	case key[0] == tagID && len(rest) == 16 && len(value) == 4:
		return "block " + head{id: [16]byte(rest)}.id.String(), fmt.Sprintf("number %d", binary.BigEndian.Uint32(value)), nil
	case key[0] == tagPostings && len(rest) == 5:
		all, err := readAll(value)
		return fmt.Sprintf("postings of level %d, node %d", rest[0], binary.BigEndian.Uint32(rest[1:])),
			fmt.Sprintf("data time %d..%d, series %v", all.Min, all.Max, all.series), err
	case key[0] == tagMasks && len(rest) == 5 && len(value)%8 == 0:
		var b strings.Builder
		for at := 0; at < len(value); at += 8 {
			fmt.Fprintf(&b, " %x", binary.LittleEndian.Uint64(value[at:]))
		}
		return fmt.Sprintf("masks of level %d, node %d", rest[0], binary.BigEndian.Uint32(rest[1:])), strings.TrimSpace(b.String()), nil
	case key[0] == tagTenant:
		bounds, err := decodeBounds(value)
		return fmt.Sprintf("tenant %q", rest), fmt.Sprintf("data time %d..%d", bounds.Min, bounds.Max), err
	default:
		return "", "", errShardKey
	}
}

func describeSeries(chunk []byte) (string, error) {
	var parts []string
	r := reader{rest: chunk}
	for len(r.rest) > 0 {
		n, tenant := r.uvarint(), r.number()
		refs := make([]string, 0, 8)
		for range min(n, uint64(len(r.rest))+1) {
			refs = append(refs, fmt.Sprint(r.number()))
		}
		parts = append(parts, fmt.Sprintf("tenant %d {%s}", tenant, strings.Join(refs, " ")))
	}
	if r.failed {
		return "", errDictionary
	}
	return strings.Join(parts, ", "), nil
}

// describeEntry words an entry with the numbers that it is stored with.
func describeEntry(stored []byte) (string, error) {
	h, err := readHead(stored)
	if err != nil {
		return "", err
	}
	body, err := readBody(h)
	if err != nil {
		return "", err
	}
	var other metastorev1.BlockMeta
	if err := other.UnmarshalVT(body.other); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, data time %d..%d, tenant %d, creator %d, %s", h.id, h.Min, h.Max, body.tenant, body.creator, protojson.MarshalOptions{}.Format(&other))
	for {
		d, more, err := body.next(h)
		if err != nil || !more {
			return b.String(), err
		}
		fmt.Fprintf(&b, "; dataset %d of tenant %d, %d..%d, series", d.name, d.tenant, d.Min, d.Max)
		d.each(func(number int32) bool { fmt.Fprintf(&b, " %d", number); return true })
	}
}
