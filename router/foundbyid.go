package router

import (
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// foundByID are blocks of one tenant and shard, by id. They are looked for where
// they belong, then, if some are missing there, in the outbox of their stream, and
// if some are missing in both, where they belong: they may have gone there between
// the two reads. Mostly the first read finds all, and no stream is asked.
type foundByID struct {
	size *answerSize
	ids  []string // in the order of the answer

	mu     sync.Mutex
	places []span // to read, in turn, from this round on
	rest   []string
	blocks map[string][]byte
}

func newFoundByID(list *metastorev1.BlockList, size *answerSize) *foundByID {
	f := &foundByID{size: size, ids: list.GetBlocks(), rest: list.GetBlocks(), blocks: map[string][]byte{}}
	home, stream := pointSpan(list.GetTenant(), list.GetShard()), pointSpan("", list.GetShard())
	if f.places = []span{home}; home != stream {
		f.places = []span{home, stream, home}
	}
	return f
}

// missing returns the ids to ask for. A call that another one overtook may still
// want them when the next round has begun.
func (f *foundByID) missing() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rest
}

func (f *foundByID) add(blocks [][]byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	bytes := 0
	for _, block := range blocks {
		id, err := encodedID(block)
		if err != nil {
			return err
		}
		f.blocks[id] = block
		bytes += recordSize(block)
	}
	return f.size.add(bytes)
}

// next ends a round and returns where to look for what is still missing.
func (f *foundByID) next() ([]span, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rest []string
	for _, id := range f.rest {
		if f.blocks[id] == nil {
			rest = append(rest, id)
		}
	}
	f.rest, f.places = rest, f.places[1:]
	if len(rest) == 0 || len(f.places) == 0 {
		return nil, nil
	}
	return f.places[:1], nil
}

// answer is an encoded metastore.v1.GetBlockMetadataResponse.
func (f *foundByID) answer() []byte {
	raw := make([]byte, 0, f.size.used.Load())
	for _, id := range f.ids {
		if block := f.blocks[id]; block != nil {
			raw = appendRecord(raw, block)
		}
	}
	return raw
}

// encodedID reads the id, one of the first fields, of an encoded block.
func encodedID(block []byte) (string, error) {
	const idField = 2
	for rest := block; len(rest) > 0; {
		number, kind, n := protowire.ConsumeField(rest)
		if n < 0 {
			return "", fmt.Errorf("a group answered with a damaged block: %w", protowire.ParseError(n))
		}
		if number == idField && kind == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(rest)
			id, _ := protowire.ConsumeBytes(rest[tag:])
			return string(id), nil
		}
		rest = rest[n:]
	}
	return "", errors.New("a group answered with a block without an id")
}
