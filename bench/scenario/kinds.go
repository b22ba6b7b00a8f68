package scenario

import (
	"math/rand/v2"
	"time"

	"github.com/skerrydb/skerry/bench/check"
	"github.com/skerrydb/skerry/bench/generate"
)

// Kind is a way of asking, and the questions that are asked in turn.
type Kind struct {
	Name string
	// Whether it asks for sets of labels rather than for blocks.
	Labels  bool
	Queries []check.Query
}

const (
	poolSize = 8
	hour     = int64(time.Hour / time.Millisecond)
)

// Kinds are the questions of the standard suite. Of each pool the first asks for the
// newest time, the others for any.
func Kinds(g *generate.Generator) []Kind {
	draw := rand.New(rand.NewPCG(g.Settings().Seed, 1))
	rare := []check.Matcher{{Name: generate.LabelUnsymbolized, Value: "true"}}
	kinds := []Kind{
		{Name: "tenant-1h-service"}, {Name: "tenant-24h"}, {Name: "tenant-7d-rare"}, {Name: "tenants-6h"}, {Name: "labels-24h", Labels: true},
	}
	for k := range kinds {
		for n := range poolSize {
			tenants := min(5, len(g.Tenants()))
			one := g.Tenants()[draw.IntN(tenants):][:1]
			var q check.Query
			switch kinds[k].Name {
			case "tenant-1h-service":
				q = window(g, draw, n, 1*hour)
				service := g.Services()[draw.IntN(min(5, len(g.Services())))]
				q.Tenants, q.Matchers, q.Labels = one, []check.Matcher{{Name: generate.LabelService, Value: service}}, []string{generate.LabelUnsymbolized}
			case "tenant-24h":
				q = window(g, draw, n, 24*hour)
				q.Tenants = one
			case "tenant-7d-rare":
				q = window(g, draw, n, 7*24*hour)
				q.Tenants, q.Matchers, q.Labels = one, rare, []string{generate.LabelService}
			case "tenants-6h":
				q = window(g, draw, n, 6*hour)
				q.Tenants = g.Tenants()[:min(10, len(g.Tenants()))]
			case "labels-24h":
				q = window(g, draw, n, 24*hour)
				q.Tenants, q.Labels = one, []string{generate.LabelService, generate.LabelType}
			}
			kinds[k].Queries = append(kinds[k].Queries, q)
		}
	}
	return kinds
}

func window(g *generate.Generator, draw *rand.Rand, n int, length int64) check.Query {
	end := g.Settings().End
	if room := end - length - g.Begin(); n > 0 && room > 0 {
		end -= draw.Int64N(room + 1)
	}
	return check.Query{From: end - length, To: end}
}
