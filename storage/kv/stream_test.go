package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"
)

// sealed ends a stream body as a writer would, with the given count and a right checksum.
func sealed(body string, records uint64) []byte {
	b := append([]byte(streamMagic), streamVersion)
	b = append(b, make([]byte, 16)...)
	b = append(b, body...)
	b = append(b, recordEnd)
	b = binary.BigEndian.AppendUint64(b, records)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// TestStreamRefusesNonsense gives streams with right checksums whose contents cannot be.
func TestStreamRefusesNonsense(t *testing.T) {
	const bucketA, leafA, keyK = "b\x01a\x00\x01", "b\x01a\x00\x00", "k\x01k\x01v"
	db := testDB(t)
	must(t, db.Restore(bytes.NewReader(sealed(bucketA+keyK+"u", 2)))) // sane
	want := dump(t, db)
	for name, stream := range map[string][]byte{
		"key in the root":          sealed(keyK, 1),
		"bucket in bucket of keys": sealed(leafA+leafA+"uu", 2),
		"same name twice":          sealed(bucketA+"u"+bucketA+"u", 2),
		"key and bucket":           sealed(bucketA+"k\x01x\x00"+"b\x01x\x00\x00uu", 3),
		"names out of order":       sealed(bucketA+"k\x01x\x00k\x01b\x00u", 3),
		"empty name":               sealed(bucketA+"k\x00\x00u", 2),
		"long name":                sealed(bucketA+"k\xff\xff\x7f"+"u", 2),
		"huge value":               sealed(bucketA+"k\x01x\xff\xff\xff\xff\x7fu", 2),
		"endless number":           sealed(bucketA+"k\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffu", 2),
		"unknown mark":             sealed("b\x01a\x00\x02u", 1),
		"unknown record":           sealed("x", 0),
		"leaves the root":          sealed("u", 0),
		"ends inside a bucket":     sealed(bucketA, 1),
		"wrong count":              sealed(bucketA+"u", 2),
	} {
		if err := db.Restore(bytes.NewReader(stream)); !errors.Is(err, ErrCorruptStream) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if dump(t, db) != want {
		t.Error("a refused stream changed the database")
	}
}

func TestWriteToPassesWriteErrors(t *testing.T) {
	db := testDB(t)
	fill(t, db, "b", 2000, 100)
	full := errors.New("pipe full")
	must(t, db.View(func(tx *Tx) error {
		n, err := tx.WriteTo(&limitedWriter{left: 100_000, err: full})
		if !errors.Is(err, full) || n != 100_000 {
			t.Errorf("wrote %d, error %v", n, err)
		}
		return nil
	}))
}

type limitedWriter struct {
	left int
	err  error
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		n := w.left
		w.left = 0
		return n, w.err
	}
	w.left -= len(p)
	return len(p), nil
}

// FuzzRestore restores arbitrary bytes: what is accepted must come out as it went in.
func FuzzRestore(f *testing.F) {
	f.Add(sealed("b\x01a\x05\x01k\x01k\x01vu", 2))
	f.Add(sealed("", 0))
	f.Add([]byte(streamMagic))
	f.Fuzz(func(t *testing.T, stream []byte) {
		s, err := newStreamReader(bytes.NewReader(stream))
		for err == nil {
			err = s.next()
		}
		if err != io.EOF {
			return
		}
		db := testDB(t)
		must(t, db.Restore(bytes.NewReader(stream)))
		again := testDB(t)
		must(t, again.Restore(bytes.NewReader(streamOf(t, db))))
		if dump(t, db) != dump(t, again) {
			t.Error("contents differ after a round trip")
		}
	})
}
