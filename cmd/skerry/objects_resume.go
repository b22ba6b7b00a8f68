package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/rebuild"
)

// resumeNotes are kept in a file while a rebuild runs: which shards are done.
// They hold for the same work only.
type resumeNotes struct {
	Store    string    `json:"store"`
	Address  string    `json:"addr"`
	Since    time.Time `json:"since"`
	Tenant   string    `json:"tenant"`
	Doubtful bool      `json:"doubtful"`
	Shards   []uint32  `json:"shards_done"`

	path string
}

// openNotes reads the notes of an earlier run, if there are any. A time that was
// given from now on back stays what it was then.
func openNotes(path, store, address string, options rebuild.Options) (*resumeNotes, error) {
	mine := &resumeNotes{Store: store, Address: address, Since: options.Since, Tenant: options.Tenant, Doubtful: options.Doubtful, path: path}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return mine, mine.write()
	}
	if err != nil {
		return nil, err
	}
	notes := &resumeNotes{path: path}
	if err := json.Unmarshal(content, notes); err != nil {
		return nil, fmt.Errorf("-resume: %s does not hold the notes of a rebuild: %w", path, err)
	}
	if notes.Store != mine.Store || notes.Address != mine.Address || notes.Tenant != mine.Tenant || notes.Doubtful != mine.Doubtful || notes.Since.After(mine.Since) {
		return nil, fmt.Errorf("-resume: %s is about another rebuild, of %s into %s: repeat that one, or remove the file", path, notes.Store, notes.Address)
	}
	return notes, nil
}

func (n *resumeNotes) done(shard uint32) bool { return slices.Contains(n.Shards, shard) }

func (n *resumeNotes) finished(shard uint32) error {
	n.Shards = append(n.Shards, shard)
	return n.write()
}

func (n *resumeNotes) write() error {
	content, err := json.Marshal(n)
	if err != nil {
		return err
	}
	unfinished := n.path + ".new"
	if err := os.WriteFile(unfinished, append(content, '\n'), 0o644); err != nil {
		return fmt.Errorf("-resume: %w", err)
	}
	return os.Rename(unfinished, n.path)
}

func (n *resumeNotes) remove() error { return os.Remove(n.path) }
