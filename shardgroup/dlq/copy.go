package dlq

import (
	"context"
	"errors"
	"fmt"

	"github.com/skerrydb/skerry/proto/blockobject"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/objects"
)

// errNoCopy means that there is no good second copy, and will not be.
var errNoCopy = errors.New("the object has no good copy of the metadata")

// secondCopy reads the metadata of an entry's block from the footer of its object,
// and encodes it: errNoCopy, or a failure that may pass.
func secondCopy(ctx context.Context, bucket objects.Bucket, k blockobject.Location) (*metastorev1.BlockMeta, []byte, error) {
	for _, name := range objectsOf(k) {
		block, err := blockobject.Read(ctx, smallFooters{bucket}, name)
		switch {
		case errors.Is(err, objects.ErrNotFound), errors.Is(err, objects.ErrName), errors.Is(err, blockobject.ErrFooter):
			continue
		case err != nil:
			return nil, nil, fmt.Errorf("read the footer of %s: %w", name, err)
		}
		// The object itself says what it is called.
		if check(block) != nil || objectOf(block) != name {
			continue
		}
		encoded, err := block.MarshalVT()
		if err != nil {
			continue
		}
		return block, encoded, nil
	}
	return nil, nil, errNoCopy
}

// smallFooters reads no metadata that is larger than can be indexed.
type smallFooters struct{ objects.Bucket }

func (s smallFooters) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, int64, error) {
	if length > metastorev1.MaxBlockBytes {
		return nil, 0, fmt.Errorf("%s: %w: it would be %d bytes long", name, blockobject.ErrFooter, length)
	}
	return s.Bucket.GetRange(ctx, name, offset, length)
}
