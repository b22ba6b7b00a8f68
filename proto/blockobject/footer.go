package blockobject

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"google.golang.org/protobuf/proto"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// A footer is the block's metadata in protobuf, its length, and the CRC-32C of
// both:
//
//	data … | metadata | length, 4 bytes | CRC-32C, 4 bytes
//	       ^ metadata_offset              big-endian
const (
	lengthSize   = 4
	checksumSize = 4
	trailerSize  = lengthSize + checksumSize
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrFooter is returned for what does not end in a footer, or in a damaged one.
var ErrFooter = errors.New("no footer of a block")

// Encode returns the footer of a block. Its size is not written: it was not known
// when Pyroscope's footers were. MetadataOffset is the caller's to set.
func Encode(block *metastorev1.BlockMeta) ([]byte, error) {
	block = proto.Clone(block).(*metastorev1.BlockMeta)
	block.Size = 0
	footer, err := block.MarshalVT()
	if err != nil {
		return nil, err
	}
	footer = binary.BigEndian.AppendUint32(footer, uint32(len(footer)))
	return binary.BigEndian.AppendUint32(footer, crc32.Checksum(footer, castagnoli)), nil
}

// Length returns the length of the footer that something ends in, of which it
// needs the last 8 bytes.
func Length(tail []byte) (int64, error) {
	if len(tail) < trailerSize {
		return 0, fmt.Errorf("%w: %d bytes are too few", ErrFooter, len(tail))
	}
	length := binary.BigEndian.Uint32(tail[len(tail)-trailerSize:])
	if length == 0 {
		return 0, fmt.Errorf("%w: its length is 0", ErrFooter)
	}
	return int64(length) + trailerSize, nil
}

// Decode returns the metadata in the footer that something ends in: an object, or
// as much of its end as there is.
func Decode(tail []byte) (*metastorev1.BlockMeta, error) {
	length, err := Length(tail)
	if err != nil {
		return nil, err
	}
	if length > int64(len(tail)) {
		return nil, fmt.Errorf("%w: it would be %d bytes long, of %d", ErrFooter, length, len(tail))
	}
	footer := tail[int64(len(tail))-length:]
	checked := footer[:len(footer)-checksumSize]
	if want, got := binary.BigEndian.Uint32(footer[len(checked):]), crc32.Checksum(checked, castagnoli); want != got {
		return nil, fmt.Errorf("%w: its checksum is %08x, of %08x", ErrFooter, got, want)
	}
	block := new(metastorev1.BlockMeta)
	if err := block.UnmarshalVT(footer[:len(footer)-trailerSize]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFooter, err)
	}
	return block, nil
}
