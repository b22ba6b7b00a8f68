package boltrows

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/skerrydb/skerry/storage/kv/rowstore"
)

// Options are a store's. The zero value works.
type Options struct {
	// Address space reserved for each file. A file that outgrows it is mapped anew, for which the writer waits
	// until no view is open. Zero: 32 GiB.
	MapBytes int
	// Of rows that Replace writes in a transaction. Zero: 16 MiB.
	ReplaceBytes int
}

const (
	suffix         = ".bolt"
	suffixNew      = ".new"
	replaceBytes   = 16 << 20
	mapBytes       = 32 << 30
	lockTimeout    = time.Second
	replaceFill    = 0.95 // rows come in order and stay as they are for a while
	fileMode       = 0o600
	directoryMode  = 0o755
	namespaceDigit = 16
)

var rowsName = []byte("rows")

// Store is a folder of bbolt's files. It is safe for concurrent use as rowstore.Store says.
type Store struct {
	dir     string
	options Options

	mu    sync.Mutex
	files map[uint64]*file
}

// file is a namespace's. A namespace that nobody wrote has none.
type file struct {
	db *bolt.DB
	// Views and writers, and whether another has taken its place: then the last of them closes it.
	users    int
	replaced bool
}

var _ rowstore.Store = (*Store)(nil)

// Open opens the store in a folder, which it makes if it is missing.
func Open(dir string, options Options) (*Store, error) {
	if options.MapBytes == 0 {
		options.MapBytes = mapBytes
	}
	if options.ReplaceBytes == 0 {
		options.ReplaceBytes = replaceBytes
	}
	if err := os.MkdirAll(dir, directoryMode); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, options: options, files: map[uint64]*file{}}
	ids, err := s.listed()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if _, err := s.open(id); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

func (s *Store) path(id uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%0*x%s", namespaceDigit, id, suffix))
}

// listed are the namespaces that have a file.
func (s *Store) listed() ([]uint64, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for _, entry := range entries {
		if hex, ok := strings.CutSuffix(entry.Name(), suffix); ok {
			if id, err := strconv.ParseUint(hex, 16, 64); err == nil {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// boltOptions are those of a metastore that lets its log be what makes commits durable: see DESIGN.md.
func (s *Store) boltOptions() *bolt.Options {
	return &bolt.Options{
		Timeout: lockTimeout, NoSync: true, NoGrowSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType, InitialMmapSize: s.options.MapBytes,
	}
}

// open opens a namespace's file, and makes it if it is missing. The lock is held, or nobody else knows the store.
func (s *Store) open(id uint64) (*file, error) {
	db, err := s.openAt(s.path(id))
	if err != nil {
		return nil, err
	}
	f := &file{db: db}
	s.files[id] = f
	return f, nil
}

func (s *Store) openAt(path string) (*bolt.DB, error) {
	db, err := bolt.Open(path, fileMode, s.boltOptions())
	if err != nil {
		return nil, fmt.Errorf("boltrows: open %s: %w", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if tx.Bucket(rowsName) != nil {
			return errNothing
		}
		_, err := tx.CreateBucket(rowsName)
		return err
	})
	if err != nil && !errors.Is(err, errNothing) {
		return nil, errors.Join(fmt.Errorf("boltrows: prepare %s: %w", path, err), db.Close())
	}
	return db, nil
}

// errNothing ends a transaction that has nothing to do.
var errNothing = errors.New("nothing to do")

// use returns a namespace's file, for as long as it is not let go.
func (s *Store) use(id uint64) (*file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[id]
	if f == nil {
		var err error
		if f, err = s.open(id); err != nil {
			return nil, err
		}
	}
	f.users++
	return f, nil
}

func (s *Store) letGo(f *file) error {
	s.mu.Lock()
	f.users--
	last := f.users == 0 && f.replaced
	s.mu.Unlock()
	if last {
		return f.db.Close()
	}
	return nil
}

// Namespaces lists those whose file has rows.
func (s *Store) Namespaces() ([]uint64, error) {
	s.mu.Lock()
	var ids []uint64
	for id := range s.files {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	slices.Sort(ids)
	var found []uint64
	for _, id := range ids {
		v, err := s.view(id)
		if err != nil {
			return nil, err
		}
		if first, _ := v.bucket.Cursor().First(); first != nil {
			found = append(found, id)
		}
		if err := v.Close(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// Drop empties a file.
func (s *Store) Drop(n rowstore.Namespace) error {
	f, err := s.use(n.ID)
	if err != nil {
		return err
	}
	err = f.db.Update(func(tx *bolt.Tx) error {
		if err := tx.DeleteBucket(rowsName); err != nil {
			return err
		}
		_, err := tx.CreateBucket(rowsName)
		return err
	})
	return errors.Join(err, s.letGo(f))
}

// Sync syncs all files.
func (s *Store) Sync() error {
	s.mu.Lock()
	var all []*file
	for _, f := range s.files {
		f.users++
		all = append(all, f)
	}
	s.mu.Unlock()
	var faults []error
	for _, f := range all {
		faults = append(faults, f.db.Sync(), s.letGo(f))
	}
	return errors.Join(faults...)
}

// Size is that of the file.
func (s *Store) Size(n rowstore.Namespace) (uint64, error) {
	info, err := os.Stat(s.path(n.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return uint64(info.Size()), nil
}

// Close closes all files. What was not synced is left to the system.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var faults []error
	for _, f := range s.files {
		faults = append(faults, f.db.Close())
	}
	clear(s.files)
	return errors.Join(faults...)
}
