package kv

import (
	"encoding/binary"
	"fmt"
)

// A bucket's own row holds its sequence and a mark that it has, or once had, buckets inside.
// Without the mark a put need not look whether its key is the name of a bucket: the buckets that
// hold data, which seldom hold buckets too, are written blindly.
type bucketRow struct {
	sequence uint64
	nests    bool
}

const (
	bucketRowLen  = 9
	bucketNests   = 0x01
	metaRowLen    = 9
	layoutVersion = 1
)

func (r bucketRow) encode() [bucketRowLen]byte {
	var buf [bucketRowLen]byte
	binary.BigEndian.PutUint64(buf[:8], r.sequence)
	if r.nests {
		buf[8] |= bucketNests
	}
	return buf
}

func decodeBucketRow(v []byte) (bucketRow, error) {
	if len(v) != bucketRowLen || v[8]&^bucketNests != 0 {
		return bucketRow{}, fmt.Errorf("kv: malformed bucket row of %d bytes", len(v))
	}
	return bucketRow{sequence: binary.BigEndian.Uint64(v), nests: v[8]&bucketNests != 0}, nil
}

// metaRow says how the rows of a namespace are laid out and which transaction wrote last.
type metaRow struct {
	txID uint64
}

func (r metaRow) encode() [metaRowLen]byte {
	var buf [metaRowLen]byte
	buf[0] = layoutVersion
	binary.BigEndian.PutUint64(buf[1:], r.txID)
	return buf
}

func decodeMetaRow(v []byte) (metaRow, error) {
	if len(v) > 0 && v[0] > layoutVersion {
		return metaRow{}, fmt.Errorf("kv: namespace layout %d is newer than %d: %w",
			v[0], layoutVersion, ErrNewerFormat)
	}
	if len(v) != metaRowLen || v[0] != layoutVersion {
		return metaRow{}, fmt.Errorf("kv: malformed meta row of %d bytes", len(v))
	}
	return metaRow{txID: binary.BigEndian.Uint64(v[1:])}, nil
}
