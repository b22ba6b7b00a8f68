package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	"github.com/skerrydb/skerry/statemachine"
	"github.com/skerrydb/skerry/storage/kv"
)

// bytesText writes a name that it can be read back from (see parseBytes):
// plain where it is plain, in hexadecimal otherwise.
func bytesText(name []byte) string {
	for _, b := range name {
		if b <= ' ' || b >= 0x7f || b == '/' {
			return "0x" + hex.EncodeToString(name)
		}
	}
	if len(name) == 0 || bytes.HasPrefix(name, []byte("0x")) {
		return "0x" + hex.EncodeToString(name)
	}
	return string(name)
}

func parseBytes(text string) ([]byte, error) {
	digits, isHex := strings.CutPrefix(text, "0x")
	if !isHex {
		return []byte(text), nil
	}
	name, err := hex.DecodeString(digits)
	if err != nil {
		return nil, flags.Usagef("%q is not 0x and an even number of hexadecimal digits", text)
	}
	return name, nil
}

func pathText(path [][]byte) string {
	parts := make([]string, len(path))
	for i, name := range path {
		parts[i] = bytesText(name)
	}
	return strings.Join(parts, "/")
}

func parsePath(text string) ([][]byte, error) {
	if text == "" {
		return nil, nil
	}
	var path [][]byte
	for part := range strings.SplitSeq(text, "/") {
		name, err := parseBytes(part)
		if err != nil {
			return nil, err
		}
		path = append(path, name)
	}
	return path, nil
}

// writeRow shows a row as what it means, or as it is.
func writeRow(w io.Writer, path [][]byte, key, value []byte) error {
	keyText, valueText, known := statemachine.DescribeRow(path, key, value)
	if !known {
		keyText, valueText = "-", bytesText(value)
	}
	_, err := fmt.Fprintf(w, "%s  %s\n    %s\n", bytesText(key), printable(keyText), printable(valueText))
	return err
}

func setUpInspectScan(set *flag.FlagSet) action {
	s := storeFlags(set)
	s.groupFlag(set)
	bucketPath := set.String("bucket", "", "`PATH` of the bucket, as inspect tree shows it")
	from := set.String("from", "", "`KEY` to begin with")
	limit := set.Int("limit", 100, "`N` rows at most; 0 for all")
	return func(_ context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		path, err := parsePath(*bucketPath)
		if err != nil {
			return err
		}
		start, err := parseBytes(*from)
		if err != nil {
			return err
		}
		return s.view(std, func(tx *kv.Tx) error { return scanBucket(std.out, tx, path, start, *limit) })
	}
}

func scanBucket(w io.Writer, tx *kv.Tx, path [][]byte, start []byte, limit int) error {
	bucket, err := bucketAt(tx, path)
	if err != nil {
		return err
	}
	shown := 0
	cursor := bucket.Cursor()
	for k, v := cursor.Seek(start); k != nil; k, v = cursor.Next() {
		if limit > 0 && shown == limit {
			_, err := fmt.Fprintf(w, "… more rows: -from %s, or a larger -limit\n", bytesText(k))
			return err
		}
		shown++
		if v == nil {
			if _, err := fmt.Fprintf(w, "%s/  a bucket\n", bytesText(k)); err != nil {
				return err
			}
			continue
		}
		if err := writeRow(w, path, k, v); err != nil {
			return err
		}
	}
	return nil
}

func setUpInspectGet(set *flag.FlagSet) action {
	s := storeFlags(set)
	s.groupFlag(set)
	bucketPath := set.String("bucket", "", "`PATH` of the bucket, as inspect tree shows it")
	return func(_ context.Context, std streams, args []string) error {
		if len(args) != 1 {
			return flags.Usagef("%d keys are given, want one", len(args))
		}
		path, err := parsePath(*bucketPath)
		if err != nil {
			return err
		}
		key, err := parseBytes(args[0])
		if err != nil {
			return err
		}
		return s.view(std, func(tx *kv.Tx) error {
			bucket, err := bucketAt(tx, path)
			if err != nil {
				return err
			}
			value := bucket.Get(key)
			if value == nil {
				return fmt.Errorf("there is no key %s in bucket %s; see: skerry inspect scan", bytesText(key), pathText(path))
			}
			return writeRow(std.out, path, key, value)
		})
	}
}
