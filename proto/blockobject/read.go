package blockobject

import (
	"context"
	"fmt"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// FooterBytesMax is the longest footer that is read: longer metadata can neither
// be sent nor received.
const FooterBytesMax = 100 << 20

// What is read of an object first. Pyroscope reads 256 bytes, which hold few
// footers; requests cost, not bytes, and this holds most of them.
const firstBytes = 4 << 10

// Bucket is what Read needs of one.
type Bucket interface {
	// GetRange returns up to length bytes from offset on, fewer only where the
	// object ends, and the whole object's size. A negative offset counts from the
	// end.
	GetRange(ctx context.Context, name string, offset, length int64) (content []byte, size int64, err error)
}

// Read returns the metadata in an object's footer. Size and MetadataOffset are
// what the object says, not what the footer does: readers depend on them.
// Errors are ErrFooter, of an object that has none, or the bucket's.
func Read(ctx context.Context, bucket Bucket, name string) (*metastorev1.BlockMeta, error) {
	tail, size, err := bucket.GetRange(ctx, name, -firstBytes, firstBytes)
	if err != nil {
		return nil, err
	}
	length, err := Length(tail)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if length > min(size, FooterBytesMax) {
		return nil, fmt.Errorf("%s: %w: it would be %d bytes long, of %d", name, ErrFooter, length, size)
	}
	if missing := length - int64(len(tail)); missing > 0 {
		front, sizeNow, err := bucket.GetRange(ctx, name, size-length, missing)
		if err != nil {
			return nil, err
		}
		if sizeNow != size || int64(len(front)) != missing {
			return nil, fmt.Errorf("%s was replaced while it was read", name)
		}
		tail = append(front, tail...)
	}
	block, err := Decode(tail)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	block.Size, block.MetadataOffset = uint64(size), uint64(size-length)
	return block, nil
}
