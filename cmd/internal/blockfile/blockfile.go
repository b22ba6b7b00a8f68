// Package blockfile reads files of block metadata, one block at a time, in
// memory bounded by the largest block allowed.
//
// Three formats are told apart by their first byte, which none of them shares:
//
//	framed  blocks, each a 4-byte big-endian length and that many bytes of
//	        protobuf. No length is over BlockBytesMax, so the first byte is
//	        0 to 6; in protobuf it would name field 0, which does not exist.
//	JSON    protobuf's JSON mapping: one object, several, or an array of them.
//	        After white space the first byte is { or [, in protobuf the begin
//	        of a group, which the metadata does not have.
//	bare    one block in protobuf; everything else.
//
// So a damaged file is reported as what it is, where it is damaged, and a
// stream need not be read twice.
package blockfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// BlockBytesMax is the largest encoded block: a message that is larger can
// neither be sent nor received.
const BlockBytesMax = 100 << 20

const (
	readBytes  = 64 << 10
	lengthSize = 4
)

// Blocks yields the blocks of a file of any format. An error ends the sequence;
// the blocks before it are good. An empty file, or one of
// white space, holds no blocks.
func Blocks(r io.Reader) iter.Seq2[*metastorev1.BlockMeta, error] {
	return blocks(r, BlockBytesMax)
}

// blocks is Blocks with another limit, of at most BlockBytesMax.
func blocks(r io.Reader, limit int64) iter.Seq2[*metastorev1.BlockMeta, error] {
	return func(yield func(*metastorev1.BlockMeta, error) bool) {
		buffered := bufio.NewReaderSize(r, readBytes)
		read, err := detect(buffered, limit)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				yield(nil, err)
			}
			return
		}
		for {
			block, err := read()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(block, err) || err != nil {
				return
			}
		}
	}
}

// reader returns the next block, or io.EOF itself after the last one.
type reader func() (*metastorev1.BlockMeta, error)

func detect(r *bufio.Reader, limit int64) (reader, error) {
	first, err := r.Peek(1)
	if err != nil {
		return nil, err
	}
	if first[0] <= BlockBytesMax>>24 {
		return (&framed{r: r, limit: limit}).next, nil
	}
	opening, err := firstVisible(r)
	if err != nil {
		return nil, err
	}
	switch opening {
	case '{', '[':
		return newJSONReader(r, limit, opening == '[').next, nil
	default:
		return (&bare{r: r, limit: limit}).next, nil
	}
}

// firstVisible returns the first byte that is not white space; io.EOF if there
// is none. A run of it longer than the buffer, for which it returns 0, is no
// JSON that anybody wrote.
func firstVisible(r *bufio.Reader) (byte, error) {
	for n := 1; n <= r.Size(); n++ {
		head, err := r.Peek(n)
		if err != nil {
			return 0, err
		}
		switch c := head[n-1]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c, nil
		}
	}
	return 0, nil
}

type framed struct {
	r      *bufio.Reader
	limit  int64
	offset int64 // of the next frame
	buffer bytes.Buffer
}

func (f *framed) next() (*metastorev1.BlockMeta, error) {
	var prefix [lengthSize]byte
	if n, err := io.ReadFull(f.r, prefix[:]); err != nil {
		if n == 0 {
			return nil, err
		}
		return nil, f.broken("the length ends after %d of %d bytes", n, lengthSize)
	}
	length := binary.BigEndian.Uint32(prefix[:])
	if int64(length) > f.limit {
		return nil, f.broken("length %d is over the limit of %d", length, f.limit)
	}
	// The buffer grows with what is there, not with what is announced.
	f.buffer.Reset()
	n, err := io.CopyN(&f.buffer, f.r, int64(length))
	if errors.Is(err, io.EOF) {
		return nil, f.broken("the block ends after %d of %d bytes", n, length)
	}
	if err != nil {
		return nil, err
	}
	block, err := decode(f.buffer.Bytes())
	if err != nil {
		return nil, f.broken("%w", err)
	}
	f.offset += lengthSize + int64(length)
	return block, nil
}

func (f *framed) broken(format string, args ...any) error {
	return fmt.Errorf("frame at byte %d: %w", f.offset, fmt.Errorf(format, args...))
}

type bare struct {
	r     io.Reader
	limit int64
	done  bool
}

func (b *bare) next() (*metastorev1.BlockMeta, error) {
	if b.done {
		return nil, io.EOF
	}
	b.done = true
	encoded, err := io.ReadAll(io.LimitReader(b.r, b.limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(encoded)) > b.limit {
		return nil, fmt.Errorf("neither framed nor JSON, and over the limit of %d bytes for one block", b.limit)
	}
	block, err := decode(encoded)
	if err != nil {
		return nil, fmt.Errorf("neither framed nor JSON, and %w", err)
	}
	return block, nil
}

func decode(encoded []byte) (*metastorev1.BlockMeta, error) {
	block := new(metastorev1.BlockMeta)
	if err := block.UnmarshalVT(encoded); err != nil {
		return nil, fmt.Errorf("no block metadata: %w", err)
	}
	return block, nil
}

// WriteFrame writes a block in the framed format.
func WriteFrame(w io.Writer, block *metastorev1.BlockMeta) error {
	size := block.SizeVT()
	if size > BlockBytesMax {
		return fmt.Errorf("block %.64q has %d bytes, over the limit of %d", block.GetId(), size, BlockBytesMax)
	}
	frame := make([]byte, lengthSize+size)
	binary.BigEndian.PutUint32(frame, uint32(size))
	if _, err := block.MarshalToSizedBufferVT(frame[lengthSize:]); err != nil {
		return err
	}
	_, err := w.Write(frame)
	return err
}
