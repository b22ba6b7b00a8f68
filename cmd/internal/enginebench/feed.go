package enginebench

import (
	"context"

	"github.com/skerrydb/skerry/bench/generate"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// feedAhead is how many entries wait to be applied: they are made beside, so that making them takes no time of the
// engine's.
const feedAhead = 64

// feed makes entries of so many blocks each, in the order of the workload. Blocks from limit on are left out.
type feed struct {
	entries chan entry
	stop    context.CancelFunc
	done    chan struct{}
}

type entry struct {
	encoded []byte
	blocks  uint64
	err     error
}

func newFeed(ctx context.Context, g *generate.Generator, first, limit, each uint64) *feed {
	ctx, stop := context.WithCancel(ctx)
	f := &feed{entries: make(chan entry, feedAhead), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		defer close(f.entries)
		for at := first; at < limit; at += each {
			e := entry{blocks: min(each, limit-at)}
			e.encoded, e.err = encodeBlocks(g, at, e.blocks)
			select {
			case f.entries <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return f
}

func encodeBlocks(g *generate.Generator, first, count uint64) ([]byte, error) {
	commands := make([]*raftlogv1.Command, count)
	for i := range count {
		var err error
		if commands[i], err = add(g.Block(first+i), first+i); err != nil {
			return nil, err
		}
	}
	return encode(commands...)
}

// end stops making entries, and waits until nobody does.
func (f *feed) end() {
	f.stop()
	<-f.done
}
