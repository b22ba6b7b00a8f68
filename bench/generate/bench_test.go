package generate_test

import (
	"testing"
	"time"

	"github.com/skerrydb/skerry/bench/check"
	"github.com/skerrydb/skerry/bench/generate"
)

// BenchmarkBlock is what the measurer itself takes for each block: making one, and hashing one of an answer.
func BenchmarkBlock(b *testing.B) {
	for _, shape := range []generate.Shape{generate.Standard, generate.Real} {
		settings := generate.Settings{Seed: 1, Blocks: 1 << 20, Shape: shape}
		g, err := generate.New(settings.WithDefaults(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(string(shape)+"/make", func(b *testing.B) {
			for i := uint64(0); b.Loop(); i++ {
				g.Block(i)
			}
		})
		b.Run(string(shape)+"/hash", func(b *testing.B) {
			block, h := g.Block(1), check.NewHasher()
			for b.Loop() {
				h.Block(block)
			}
		})
	}
}
