package statemachine

import (
	"encoding/binary"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	"github.com/skerrydb/skerry/statemachine/accepted"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/statemachine/outbox"
)

// DescribeBucket words a bucket's name for people; path leads to the bucket
// from the root, its own name last. Names that say enough come back empty.
func DescribeBucket(path [][]byte) string {
	if len(path) == 2 {
		if text, known := index.DescribeShard(path[0], path[1]); known {
			return text
		}
	}
	return ""
}

// DescribeRow words a row for people, its key and its value; path leads to its
// bucket. It reports false for rows that are not of the state machine's layout.
func DescribeRow(path [][]byte, key, value []byte) (keyText, valueText string, known bool) {
	if keyText, valueText, known := index.DescribeRow(path, key, value); known {
		return keyText, valueText, true
	}
	var err error
	table := ""
	if len(path) > 0 {
		table = string(path[0])
	}
	switch {
	case table == string(headerBucket) && string(key) == string(stateKey):
		var h header
		h, err = decodeHeader(value)
		keyText = "state"
		valueText = fmt.Sprintf("group %d, applied %d, log time %s, leader epoch %d of node %q, %d blocks, %d object bytes",
			h.groupID, h.applied, time.Unix(0, h.logTime).UTC().Format(time.RFC3339Nano), h.leaderEpoch, h.leader, h.blocks, h.objectBytes)
	case table == string(headerBucket) && string(key) == string(clusterKey):
		keyText, valueText = "cluster", string(value)
	case table == "ranges" || table == "directory" && len(path) == 2 && string(path[1]) == "ranges":
		keyText, valueText, err = describeRecord("range", key, value, &clusterv1.Range{})
	case table == "directory" && len(path) == 2 && string(path[1]) == "groups":
		keyText, valueText, err = describeRecord("group", key, value, &clusterv1.Group{})
	case table == "directory" && len(path) == 2 && string(path[1]) == "nodes":
		keyText, valueText, err = describeRecord("node", key, value, &clusterv1.Node{})
	case table == "directory" && len(path) == 2 && string(path[1]) == "operations":
		keyText, valueText, err = describeRecord("operation", key, value, &clusterv1.Operation{})
	case table == "directory" && len(path) == 1:
		keyText, valueText, err = describeRecord("cluster", key, value, &clusterv1.Cluster{})
	case table == "outbox":
		keyText, valueText, err = outbox.Describe(key, value)
	case table == "accepted":
		keyText, valueText, err = accepted.Describe(key, value)
	default:
		return "", "", false
	}
	return keyText, valueText, err == nil
}

func describeRecord(kind string, key, value []byte, record proto.Message) (string, string, error) {
	name := string(key)
	if len(key) == 8 {
		name = fmt.Sprint(binary.BigEndian.Uint64(key))
	}
	err := proto.Unmarshal(value, record)
	return kind + " " + name, protojson.MarshalOptions{}.Format(record), err
}
