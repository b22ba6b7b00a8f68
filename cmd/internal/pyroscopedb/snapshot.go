package pyroscopedb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// Files of a snapshot.
const (
	metaFile  = "meta.json"
	stateFile = "state.bin"
)

// ErrSnapshot means that a directory holds no snapshot that can be used.
var ErrSnapshot = errors.New("not a usable snapshot")

var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// Window of a compressed snapshot, above what encoders choose by default.
const zstdWindowMax = 128 << 20

// Unpacking says where a compressed snapshot is unpacked.
type Unpacking struct {
	// Directory of the temporary file; empty for the system's.
	Directory string
	// MaxBytes bounds its size. Required.
	MaxBytes int64
}

// snapshotMeta is what Raft says about a snapshot.
type snapshotMeta struct {
	ID    string
	Index uint64
	Term  uint64
	Size  int64
	CRC   []byte
}

// OpenSnapshot opens the database in the directory of a Raft snapshot, after it has
// checked the sum that Raft made. A compressed one is unpacked to a temporary file
// that is gone once the database is closed, or the process ends.
func OpenSnapshot(ctx context.Context, directory string, unpacking Unpacking) (*DB, error) {
	meta, err := readMeta(directory)
	if err != nil {
		return nil, err
	}
	state := filepath.Join(directory, stateFile)
	file, err := os.Open(state)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", directory, ErrSnapshot, err)
	}
	defer file.Close()
	sum := crc64.New(crc64.MakeTable(crc64.ECMA))
	size := new(counter)
	whole := bufio.NewReaderSize(io.TeeReader(readerOf(ctx, file), io.MultiWriter(sum, size)), 1<<20)
	magic, err := whole.Peek(len(zstdMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", state, err)
	}
	path, remove := state, func() error { return nil }
	if bytes.Equal(magic, zstdMagic) {
		if path, err = unpack(whole, unpacking); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", state, err)
		}
		remove = func() error { return os.Remove(path) }
	}
	if _, err := io.Copy(io.Discard, whole); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", state, err), remove())
	}
	if err := meta.check(int64(*size), sum.Sum(nil)); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", state, err), remove())
	}
	db, err := openAs(path, fmt.Sprintf("snapshot %s (term %d, index %d)", directory, meta.Term, meta.Index))
	// An open file stays until it is closed.
	if removed := remove(); removed != nil && err == nil {
		return nil, errors.Join(removed, db.Close())
	}
	return db, err
}

func readMeta(directory string) (snapshotMeta, error) {
	var meta snapshotMeta
	encoded, err := os.ReadFile(filepath.Join(directory, metaFile))
	if errors.Is(err, os.ErrNotExist) {
		return meta, fmt.Errorf("%s: %w: it has no %s: want one directory of Pyroscope's snapshots/, which has the name TERM-INDEX-TIME", directory, ErrSnapshot, metaFile)
	}
	if err != nil {
		return meta, err
	}
	if err := json.Unmarshal(encoded, &meta); err != nil {
		return meta, fmt.Errorf("%s: %w: %s: %w", directory, ErrSnapshot, metaFile, err)
	}
	return meta, nil
}

func (m snapshotMeta) check(size int64, sum []byte) error {
	if size != m.Size {
		return fmt.Errorf("%w: it has %d bytes, %s says %d: it was not copied completely", ErrSnapshot, size, metaFile, m.Size)
	}
	if !bytes.Equal(sum, m.CRC) {
		return fmt.Errorf("%w: its checksum is %x, %s says %x: it is damaged", ErrSnapshot, sum, metaFile, m.CRC)
	}
	return nil
}

// unpack decompresses to a temporary file and returns its path.
func unpack(from io.Reader, unpacking Unpacking) (_ string, err error) {
	decoder, err := zstd.NewReader(from, zstd.WithDecoderMaxWindow(zstdWindowMax), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return "", err
	}
	defer decoder.Close()
	file, err := os.CreateTemp(unpacking.Directory, "skerry-import-*.boltdb")
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	n, err := io.Copy(file, io.LimitReader(decoder, unpacking.MaxBytes+1))
	if err != nil {
		return "", err
	}
	if n > unpacking.MaxBytes {
		return "", fmt.Errorf("it is larger than %d bytes: raise -unpack-max-gib, and see that %s has room", unpacking.MaxBytes, filepath.Dir(file.Name()))
	}
	return file.Name(), nil
}

// counter counts bytes.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// readerOf stops reading once a context ends.
func readerOf(ctx context.Context, r io.Reader) io.Reader { return contextReader{ctx, r} }

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
