package shardgroup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// identity says whose data a data directory holds. It is written before anything
// else, and never changes but once: a node that waits for a cluster has none yet.
// Addresses may change, identity may not.
type identity struct {
	// Version of the directory's layout.
	Format int `json:"format"`
	// Empty while the node waits to found or to join a cluster.
	ClusterID string `json:"cluster_id,omitempty"`
	NodeID    string `json:"node_id"`
	// Number of nodes that founded the cluster; 0 if it was this one alone.
	Founders int `json:"founders,omitempty"`
}

const (
	// The newest format that is known: of nodes that waited for a cluster; then those
	// of nodes that were founded with a cluster, of several or of one. Formats before
	// are of builds before the first release. All three rise by three when what lies
	// beside the identity, the store's rows or the log, is written in another way.
	identityFormat        = 13
	identityFormatFounded = 12
	identityFormatAlone   = 11
	identityFormatFirst   = identityFormatAlone
	identityFile          = "identity.json"
	// Of files that are not complete yet.
	temporaryPrefix = ".new-"
)

// ErrDataDir is wrapped by every refusal to use a data directory.
var ErrDataDir = errors.New("cannot use the data directory")

// loadIdentity reads the identity of a data directory. A directory that is
// missing or empty gets the fresh one: it becomes (part of) a new cluster.
func loadIdentity(dir string, fresh identity) (identity, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return identity{}, fmt.Errorf("%w: %w", ErrDataDir, err)
	}
	content, err := os.ReadFile(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return newIdentity(dir, fresh)
	}
	if err != nil {
		return identity{}, fmt.Errorf("%w: %w", ErrDataDir, err)
	}
	// The format comes first: a newer one may have other fields.
	var id identity
	if err := json.Unmarshal(content, &id); err != nil {
		return identity{}, fmt.Errorf("%w %s: %s is damaged (%w): restore the file from a backup, or start with an empty directory", ErrDataDir, dir, identityFile, err)
	}
	if id.Format > identityFormat {
		return identity{}, fmt.Errorf("%w %s: it has format %d, this release knows formats up to %d: run the release that wrote it, or a newer one", ErrDataDir, dir, id.Format, identityFormat)
	}
	if id.Format >= 1 && id.Format < identityFormatFirst {
		return identity{}, fmt.Errorf("%w %s: it has format %d, of a development build that no release reads: start with an empty directory, or run the build that wrote it", ErrDataDir, dir, id.Format)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(&id)
	waits := id.Format == identityFormat && id.ClusterID == ""
	if err == nil && (id.Format < 1 || !waits && uuid.Validate(id.ClusterID) != nil || uuid.Validate(id.NodeID) != nil) {
		err = errors.New("it does not name a format, a cluster and a node")
	}
	if err != nil {
		return identity{}, fmt.Errorf("%w %s: %s is damaged (%w): restore the file from a backup, or start with an empty directory", ErrDataDir, dir, identityFile, err)
	}
	return id, nil
}

func newIdentity(dir string, id identity) (identity, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return identity{}, fmt.Errorf("%w: %w", ErrDataDir, err)
	}
	// A crash while the identity was written may have left its beginnings, and
	// new file systems have a folder of their own.
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		return e.Name() == temporaryPrefix+identityFile || e.Name() == "lost+found"
	})
	if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "store" || e.Name() == "raft" }) {
		return identity{}, fmt.Errorf("%w %s: %s is missing beside the data: restore it from a backup", ErrDataDir, dir, identityFile)
	}
	if len(entries) > 0 {
		return identity{}, fmt.Errorf("%w %s: it holds files (%s, …) but no %s, so they are not Skerry's: choose an empty or a new directory", ErrDataDir, dir, entries[0].Name(), identityFile)
	}
	return id, id.write(dir)
}

func (id identity) write(dir string) error {
	content, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	if err := writeDurably(dir, identityFile, append(content, '\n')); err != nil {
		return fmt.Errorf("%w: %w", ErrDataDir, err)
	}
	return nil
}

// join makes a waiting node part of a cluster, durably.
func (id identity) join(dir, clusterID string, founders int) (identity, error) {
	id.ClusterID, id.Founders = clusterID, founders
	return id, id.write(dir)
}

// waiting is the identity of a new node without a cluster.
func waiting() identity { return identity{Format: identityFormat, NodeID: uuid.NewString()} }

const bootsFile = "boots"

// readBoots returns how often a node was started on a data directory. The number
// tells others which addresses of a node are the youngest, and that a copy of the
// directory is older than the original.
func readBoots(dir string) (uint64, error) {
	path := filepath.Join(dir, bootsFile)
	content, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("%w: %w", ErrDataDir, err)
	}
	boots, err := strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %s is damaged: restore the directory from a backup", ErrDataDir, path)
	}
	return boots, nil
}

// writeBoots is durable when it returns.
func writeBoots(dir string, boots uint64) error {
	return writeDurably(dir, bootsFile, []byte(strconv.FormatUint(boots, 10)+"\n"))
}

// writeDurably makes a file appear whole or not at all, also after a crash.
func writeDurably(dir, name string, content []byte) error {
	temporary := filepath.Join(dir, temporaryPrefix+name)
	file, err := os.Create(temporary)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

// removeDurably removes a file if there is one.
func removeDurably(dir, name string) error {
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
