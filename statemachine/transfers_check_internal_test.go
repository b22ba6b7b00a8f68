package statemachine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
	"github.com/skerrydb/skerry/statemachine/accepted"
	"github.com/skerrydb/skerry/statemachine/index"
	"github.com/skerrydb/skerry/statemachine/outbox"
	"github.com/skerrydb/skerry/storage/kv"
	"github.com/skerrydb/skerry/storage/kv/kvtest"
)

// waitingBlock is one of stream 1.
func waitingBlock(serial byte) (ulid.ULID, *metastorev1.BlockMeta) {
	id := ulid.ULID{0, 1, 2, 15: serial}
	return id, &metastorev1.BlockMeta{Id: id.String(), Tenant: 1, Shard: 1, StringTable: []string{"", "acme"}}
}

// withTransfers runs a function over a store with transfers 1 to 3 of stream 1 to
// acme, of which the first is finished, and what was accepted of stream 4.
func withTransfers(t *testing.T, fn func(*kv.Tx) error) {
	t.Helper()
	db := kvtest.DB(t, 1)
	err := db.Update(func(tx *kv.Tx) error {
		w, err := outbox.NewWriter(tx)
		if err != nil {
			return err
		}
		blocks := index.NewWriter(tx, NewCache(1<<20).Group())
		for serial := byte(1); serial <= 3; serial++ {
			x, err := w.Next(1)
			if err != nil {
				return err
			}
			id, block := waitingBlock(serial)
			if err := w.Issue(1, "acme", x, &raftlogv1.Transfer{Blocks: []string{id.String()}, Bytes: 9, MadeAt: 7}); err != nil {
				return err
			}
			if serial == 1 {
				if _, err := w.Finish(1, "acme", x); err != nil {
					return err
				}
				continue
			}
			if _, err := blocks.Add(index.OutboxKey(id, "acme", 1), id, block, 1); err != nil {
				return err
			}
		}
		if err := errors.Join(blocks.Flush(), w.Flush()); err != nil {
			return err
		}
		if err := accepted.Put(tx, 4, "acme", accepted.Mark{Incarnation: 1, Number: 2}); err != nil {
			return err
		}
		return fn(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Each row of a transfer that is lost, or wrong, is reported, by the invariant
// that it breaks.
func TestCheckTransfers(t *testing.T) {
	faults := func(tx *kv.Tx) string {
		var found []string
		if err := Check(t.Context(), tx, func(fault error) { found = append(found, fault.Error()) }); err != nil {
			t.Fatal(err)
		}
		return strings.Join(found, "\n")
	}
	var keys [][]byte
	withTransfers(t, func(tx *kv.Tx) error {
		if got := faults(tx); got != "" {
			t.Errorf("sound, and reported: %s", got)
		}
		return tx.Bucket([]byte("outbox")).ForEach(func(k, _ []byte) error {
			keys = append(keys, append([]byte{}, k...))
			return nil
		})
	})
	if len(keys) != 2+2+1+1+1 {
		t.Fatalf("%d rows", len(keys))
	}
	lost := map[byte]string{'e': "outbox: order", 'q': "outbox: order", 's': "outbox: sums", 't': "outbox: chain", 'w': "outbox: tenants"}
	for _, key := range keys {
		for name, spoil := range map[string]func(*kv.Bucket, []byte) error{
			"lost": func(b *kv.Bucket, k []byte) error { return b.Delete(k) },
			"torn": func(b *kv.Bucket, k []byte) error { return b.Put(k, []byte{1, 2, 3}) },
			"moved": func(b *kv.Bucket, k []byte) error {
				value := append([]byte{}, b.Get(k)...)
				if err := b.Delete(k); err != nil {
					return err
				}
				moved := append([]byte{}, k...)
				moved[len(moved)-1]++
				return b.Put(moved, value)
			},
		} {
			withTransfers(t, func(tx *kv.Tx) error {
				if err := spoil(tx.Bucket([]byte("outbox")), key); err != nil {
					return err
				}
				got := faults(tx)
				if name == "torn" && key[0] == 'q' {
					return nil // its value says nothing
				}
				if got == "" || name == "lost" && !strings.Contains(got, lost[key[0]]) {
					t.Errorf("%s: %c: %q", name, key[0], got)
				}
				return nil
			})
		}
	}
	withTransfers(t, func(tx *kv.Tx) error {
		id, block := waitingBlock(9)
		blocks := index.NewWriter(tx, NewCache(1<<20).Group())
		if _, err := blocks.Add(index.OutboxKey(id, "acme", 1), id, block, 2); err != nil {
			return err
		}
		missing, _ := waitingBlock(3)
		if _, _, err := blocks.Remove(index.OutboxKey(missing, "acme", 1), missing, 2); err != nil {
			return err
		}
		if err := blocks.Flush(); err != nil {
			return err
		}
		got := faults(tx)
		for _, id := range []ulid.ULID{id, missing} {
			if !strings.Contains(got, "outbox: blocks: block "+id.String()) {
				t.Errorf("%s is not reported: %q", id, got)
			}
		}
		return tx.Bucket([]byte("accepted")).Put([]byte("somewhere else"), []byte("2"))
	})
	withTransfers(t, func(tx *kv.Tx) error {
		rows := tx.Bucket([]byte("accepted"))
		k, v := rows.Cursor().First()
		if err := rows.Put(append([]byte{k[0] + 1}, k[1:]...), v); err != nil {
			return err
		}
		if got := faults(tx); !strings.Contains(got, "another point") {
			t.Errorf("an accepted row elsewhere: %q", got)
		}
		return nil
	})
}

// People can read each row of transfers, and no damaged one stops them.
func TestDescribeTransfers(t *testing.T) {
	described := map[string]string{}
	withTransfers(t, func(tx *kv.Tx) error {
		for _, table := range []string{"outbox", "accepted"} {
			if err := describeAll(described, tx.Bucket([]byte(table)), []byte(table)); err != nil {
				return err
			}
			err := tx.Bucket([]byte(table)).ForEach(func(k, v []byte) error {
				for n := range k {
					_, _, _ = DescribeRow([][]byte{[]byte(table)}, k[:n], v)
				}
				for n := range v {
					_, _, _ = DescribeRow([][]byte{[]byte(table)}, k, v[:n])
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	second, _ := waitingBlock(2)
	for row, want := range map[string]string{
		"stream 1":                              "incarnation 1, last transfer 3, 2 wait with 2 blocks of 18 bytes",
		`stream 1 to tenant "acme"`:             "issued up to 3, finished up to 1",
		`of tenant "acme" in stream 1`:          "issued up to 3, finished up to 1",
		"stream 1, transfer 2":                  `to tenant "acme"`,
		`stream 1 to tenant "acme", transfer 2`: second.String(),
		`stream 4 to tenant "acme"`:             "accepted up to 2 of incarnation 1",
	} {
		if !strings.Contains(described[row], want) {
			t.Errorf("row %q reads %q, want %q", row, described[row], want)
		}
	}
	if text := described["not known"]; text != "" {
		t.Error(fmt.Sprint("not known: ", text))
	}
}
