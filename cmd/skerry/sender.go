package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/skerrydb/skerry/cmd/internal/blockfile"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// sender reads files one after the other and sends their blocks, a bounded
// number at a time.
type sender struct {
	concurrency int
	open        func(name string) (io.ReadCloser, error)
	send        func(context.Context, *metastorev1.BlockMeta) error
}

// sent is the fate of one block, or of a file that cannot be read (on).
type sent struct {
	file string
	// Empty if the failure is the file's.
	block string
	err   error
}

// job is a block to send, or a failure to pass on.
type job struct {
	file  string
	block *metastorev1.BlockMeta
	err   error
}

// start returns what becomes of each block. The channel must be drained; it
// closes at the end, or once calls under way have ended after ctx has. The
// reader is not waited for: nothing ends a read of a silent terminal.
func (s *sender) start(ctx context.Context, files []string) <-chan sent {
	jobs, results := make(chan job), make(chan sent)
	go func() {
		defer close(jobs)
		for _, file := range files {
			if err := s.read(ctx, file, jobs); err != nil && !put(ctx, jobs, job{file: file, err: err}) {
				return
			}
		}
	}()
	var workers sync.WaitGroup
	for range s.concurrency {
		workers.Go(func() { s.work(ctx, jobs, results) })
	}
	go func() {
		workers.Wait()
		close(results)
	}()
	return results
}

func (s *sender) work(ctx context.Context, jobs <-chan job, results chan<- sent) {
	for {
		select {
		case <-ctx.Done():
			return
		case j, more := <-jobs:
			if !more {
				return
			}
			result := sent{file: j.file, err: j.err}
			if j.err == nil {
				result.block, result.err = j.block.GetId(), s.send(ctx, j.block)
			}
			results <- result
		}
	}
}

// put tells whether the job was taken before ctx ended.
func put(ctx context.Context, jobs chan<- job, j job) bool {
	select {
	case jobs <- j:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *sender) read(ctx context.Context, file string, jobs chan<- job) error {
	input, err := s.open(file)
	if err != nil {
		return err
	}
	defer input.Close()
	for block, err := range blockfile.Blocks(input) {
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if !put(ctx, jobs, job{file: file, block: block}) {
			return ctx.Err()
		}
	}
	return nil
}

func openInput(name string, stdin io.Reader) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(stdin), nil
	}
	return os.Open(name)
}
