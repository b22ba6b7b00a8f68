package main

import (
	"context"
	"flag"

	"google.golang.org/grpc/metadata"

	"github.com/skerrydb/skerry/router"
)

const strictHelp = `With -strict the answer is one snapshot of all data asked for, across streams:
what was stored is not missing if something stored later is there. All is read
at least twice. Without it each stream is exact by itself.
`

// strictness asks for one snapshot.
type strictness struct{ on bool }

func strictFlag(set *flag.FlagSet) *strictness {
	s := new(strictness)
	set.BoolVar(&s.on, "strict", false, "answer with one snapshot across streams, slower")
	return s
}

func (s *strictness) prepare(ctx context.Context) context.Context {
	if !s.on {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, router.StrictHeader, "1")
}
