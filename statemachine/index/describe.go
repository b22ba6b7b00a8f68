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

// DescribeShard words the name of an index shard's bucket for people.
func DescribeShard(root, name []byte) (string, error) {
	keyspace := clusterv1.Keyspace_KEYSPACE_TENANT
	if string(root) == string(rootName(clusterv1.Keyspace_KEYSPACE_STREAM)) {
		keyspace = clusterv1.Keyspace_KEYSPACE_STREAM
	}
	key, err := decodeShardKey(keyspace, name)
	if err != nil {
		return "", err
	}
	partition := time.Unix(int64(key.Partition), 0).UTC().Format("2006-01-02T15Z")
	return fmt.Sprintf("point %016x, partition %s, shard %d, tenant %q", key.Point, partition, key.Shard, key.Tenant), nil
}

// DescribeRow words a row of an index shard for people: its key, then its value.
func DescribeRow(key, value []byte) (string, string, error) {
	if len(key) == 0 {
		return "", "", errShardKey
	}
	rest := key[1:]
	switch {
	case key[0] == tagRecord && len(rest) == 0:
		record, err := decodeRecord(value)
		return "record", fmt.Sprintf("data time %d..%d, %d blocks, %d object bytes, %d strings, revision %d",
			record.Min, record.Max, record.Blocks, record.ObjectBytes, record.Strings, record.Revision), err
	case key[0] == tagStrings && len(rest) == 4:
		table := newStringTable(0)
		err := table.appendChunk(value)
		quoted := make([]string, 0, len(table.list))
		for _, s := range table.list[1:] {
			quoted = append(quoted, strconv.Quote(s))
		}
		return fmt.Sprintf("strings from %d", binary.BigEndian.Uint32(rest)), strings.Join(quoted, " "), err
	case key[0] == tagBlock && len(rest) == 16:
		block := &metastorev1.BlockMeta{}
		if err := block.UnmarshalVT(value); err != nil {
			return "", "", err
		}
		return "block " + block.GetId(), protojson.MarshalOptions{}.Format(block), nil
	case key[0] == tagTenant:
		bounds, err := decodeBounds(value)
		return fmt.Sprintf("tenant %q", rest), fmt.Sprintf("data time %d..%d", bounds.Min, bounds.Max), err
	default:
		return "", "", errShardKey
	}
}
