package dlq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/skerrydb/skerry/proto/blockobject"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/objects"
)

// ErrKey is wrapped where a key is not that of an entry.
var ErrKey = errors.New("not the key of a dead letter")

const (
	// PageMax bounds the entries that one call of Retry or Purge changes.
	PageMax = 500
	// Of those, at a time.
	operating = 16
)

// Folders lets operators look into the queue and change it. It needs no recovery,
// and may be used on any process.
type Folders struct{ Bucket objects.Bucket }

// List returns entries, or those that were moved aside, behind a key and in order,
// and the key to go on behind if there are more than limit.
func (f Folders) List(ctx context.Context, aside bool, after string, limit int) (entries []objects.Entry, next string, err error) {
	prefix, parse := Prefix, blockobject.ParseDeadLetter
	if aside {
		prefix, parse = RejectedPrefix, parseAside
	}
	for e, err := range f.Bucket.List(ctx, objects.ListOptions{Prefix: prefix, After: after}) {
		if err != nil {
			return nil, "", err
		}
		if _, ok := parse(e.Name); !ok {
			continue
		}
		if len(entries) == limit {
			return entries, entries[limit-1].Name, nil
		}
		entries = append(entries, e)
	}
	return entries, "", nil
}

// Shown is an entry, and what a recovery would make of it.
type Shown struct {
	objects.Entry
	Content []byte
	// Why it cannot be indexed; nil if it can.
	Fault error
	// The block's object and its size, -1 if there is none.
	Object      string
	ObjectBytes int64
	// The metadata in the object's footer, as it is encoded there; nil without a good
	// one.
	Footer []byte
}

// Show reads an entry of either kind. Errors: ErrKey, objects.ErrNotFound.
func (f Folders) Show(ctx context.Context, name string) (*Shown, error) {
	k, ok := parseEither(name)
	if !ok {
		return nil, fmt.Errorf("%w: %.300q", ErrKey, name)
	}
	attributes, err := f.Bucket.Attributes(ctx, name)
	if err != nil {
		return nil, err
	}
	shown := &Shown{Entry: objects.Entry{Name: name, Size: attributes.Size, Modified: attributes.Modified}, ObjectBytes: -1}
	if shown.Content, err = f.Bucket.Get(ctx, name, metastorev1.MaxBlockBytes); err != nil {
		return nil, err
	}
	block, bad, fault := decode(shown.Content)
	shown.Fault, shown.Object = fault, objectsOf(k)[0]
	if bad == "" {
		shown.Object = objectOf(block)
	}
	switch attributes, err := f.Bucket.Attributes(ctx, shown.Object); {
	case err == nil:
		shown.ObjectBytes = attributes.Size
	case errors.Is(err, objects.ErrNotFound), errors.Is(err, objects.ErrName):
		return shown, nil
	default:
		return nil, err
	}
	if _, shown.Footer, err = secondCopy(ctx, f.Bucket, k); err != nil && !errors.Is(err, errNoCopy) {
		return nil, err
	}
	return shown, nil
}

// Fault is an entry that nothing was done about.
type Fault struct {
	Key string
	Err error
}

// Done is what one call has done.
type Done struct {
	Entries uint64
	Bytes   int64
	// The key to go on behind, if there is more.
	Next   string
	Faults []Fault
}

// Retry moves rejected entries back into the queue: those of the keys, or, without
// any, all behind a key, PageMax at a time. Keys in the queue are left as they are.
func (f Folders) Retry(ctx context.Context, keys []string, after string, dryRun bool) (Done, error) {
	return f.change(ctx, keys, after, func(name string) (int64, error) {
		if strings.HasPrefix(name, Prefix) {
			return 0, errInQueue
		}
		if dryRun {
			return f.size(ctx, name)
		}
		content, err := f.Bucket.Get(ctx, name, metastorev1.MaxBlockBytes)
		if err != nil {
			return 0, err
		}
		return int64(len(content)), move(ctx, f.Bucket, name, restored(name), content)
	})
}

// Purge deletes rejected entries, as Retry moves them. Keys in the queue are
// refused.
func (f Folders) Purge(ctx context.Context, keys []string, after string, dryRun bool) (Done, error) {
	return f.change(ctx, keys, after, func(name string) (int64, error) {
		if strings.HasPrefix(name, Prefix) {
			return 0, fmt.Errorf("only rejected entries, below %s, are purged", RejectedPrefix)
		}
		size, err := f.size(ctx, name)
		if err != nil || dryRun {
			return size, err
		}
		return size, remove(ctx, f.Bucket, name)
	})
}

// errInQueue means that there is nothing to do.
var errInQueue = errors.New("it is in the queue")

func (f Folders) size(ctx context.Context, name string) (int64, error) {
	attributes, err := f.Bucket.Attributes(ctx, name)
	return attributes.Size, err
}

func (f Folders) change(ctx context.Context, keys []string, after string, change func(name string) (int64, error)) (Done, error) {
	var done Done
	if len(keys) == 0 {
		entries, next, err := f.List(ctx, true, after, PageMax)
		if err != nil {
			return done, err
		}
		done.Next = next
		for _, e := range entries {
			keys = append(keys, e.Name)
		}
	}
	for _, name := range keys {
		if _, ok := parseEither(name); !ok {
			return Done{}, fmt.Errorf("%w: %.300q", ErrKey, name)
		}
	}
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		slots = make(chan struct{}, operating)
	)
	for _, name := range keys {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			size, err := change(name)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, errInQueue):
			case err != nil:
				done.Faults = append(done.Faults, Fault{name, err})
			default:
				done.Entries++
				done.Bytes += size
			}
		})
	}
	all.Wait()
	return done, ctx.Err()
}
