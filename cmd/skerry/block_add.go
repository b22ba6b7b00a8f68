package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Failures and ids that are named one by one; the rest is counted.
const listedMax = 10

func blockAddCommand() command {
	return command{
		name: "block add", args: "FILE...", summary: "add the blocks of files to the index",
		detail: `A FILE holds BlockMeta messages: each after its length in 4 bytes, big-endian;
or one alone; or as JSON, an array of objects or one after the other. - is the
standard input. Adding a block again changes nothing, so the command can be
repeated after a failure.
`,
		setup: setUpBlockAdd,
	}
}

func setUpBlockAdd(set *flag.FlagSet) action {
	c := clientFlags(set)
	concurrency := set.Int("concurrency", 16, "`N` number of blocks to send at a time, 1 to 1024")
	return func(ctx context.Context, std streams, files []string) error {
		if len(files) == 0 {
			return flags.Usagef("give at least one file (- is the standard input)")
		}
		if *concurrency < 1 || *concurrency > 1024 {
			return flags.Usagef("-concurrency is %d: want 1 to 1024", *concurrency)
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		index := metastorev1.NewIndexServiceClient(conn)
		sender := &sender{
			concurrency: *concurrency,
			open:        func(name string) (io.ReadCloser, error) { return openInput(name, std.in) },
			send: func(ctx context.Context, block *metastorev1.BlockMeta) error {
				_, err := call(ctx, c, index.AddBlock, &metastorev1.AddBlockRequest{Block: block})
				return err
			},
		}
		return addBlocks(ctx, std, sender, files, c.format.Value)
	}
}

// addBlocks sends the files' blocks and reports. A router that cannot be reached
// at all ends it at once: no other block would fare better.
func addBlocks(ctx context.Context, std streams, sender *sender, files []string, format string) error {
	sending, stop := context.WithCancel(ctx)
	defer stop()
	report := newAddReport(std, time.Now())
	var unreachable error
	for result := range sender.start(sending, files) {
		var failed *callError
		switch {
		case sending.Err() != nil && errors.Is(result.err, errInterrupted):
			// Neither added nor refused.
		case report.Added == 0 && errors.As(result.err, &failed) && failed.unreachable():
			if unreachable == nil {
				unreachable = failed
				stop()
			}
		default:
			report.note(result, time.Now())
		}
	}
	if unreachable != nil {
		return unreachable
	}
	if err := report.finish(std.out, format, time.Now()); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case report.Failed > 0:
		return fmt.Errorf("%s; correct what was listed and repeat the command", plural(report.Failed, "failure"))
	}
	return nil
}
