// Package objects is the object store: a bucket, and what keeps one.
//
// Names of objects are slash-separated paths. An object appears whole or not at
// all, and is durable when Put returns. Folder keeps a bucket in a local folder:
// the embedded default, for one node and for development. S3 is a bucket of S3,
// or of what speaks like it. Open puts together what a process needs.
package objects

import (
	"context"
	"errors"
	"iter"
	"time"
)

var (
	// ErrNotFound is returned for objects that do not exist.
	ErrNotFound = errors.New("object not found")
	// ErrExists is returned by PutIfAbsent for objects that exist.
	ErrExists = errors.New("object exists")
	// ErrTooLarge is returned for objects larger than the caller's limit.
	ErrTooLarge = errors.New("object too large")
	// ErrName is returned for names that are no clean relative paths, or that
	// the store keeps for itself.
	ErrName = errors.New("bad object name")
	// ErrRange is returned for limits and lengths that are not positive.
	ErrRange = errors.New("bad limit or length")
	// ErrRefused is returned for what the store refuses and would refuse again:
	// keys, permissions, the bucket's name.
	ErrRefused = errors.New("refused by the object store")
	// ErrUnsupported is returned for what a backend cannot do.
	ErrUnsupported = errors.New("not supported by this object store")
)

// Bucket holds objects. Names are clean relative paths, as fs.ValidPath has them;
// a prefix that a backend puts before them is never seen by callers. Methods may
// be called concurrently; of concurrent Puts of one name the last to end stands.
//
// Other errors than those named here are failures of the store: the same call may
// succeed later. What a call that failed was to change may have changed.
type Bucket interface {
	// Get returns the whole object; ErrNotFound; ErrTooLarge if it is larger than
	// limit bytes, which must be positive.
	Get(ctx context.Context, name string, limit int64) ([]byte, error)
	// GetRange returns up to length bytes from offset on, and the size of the whole
	// object. A negative offset counts from the end; the start, if the object is
	// shorter than that. There are fewer bytes only where the object ends: a
	// transfer that was cut short is an error. ErrNotFound.
	GetRange(ctx context.Context, name string, offset, length int64) (content []byte, size int64, err error)
	// Put stores an object, replacing one of that name.
	Put(ctx context.Context, name string, content []byte) error
	// PutIfAbsent stores an object unless there is one of that name: ErrExists.
	// ErrUnsupported where the backend cannot. After another error the object may
	// be there or come to be there.
	PutIfAbsent(ctx context.Context, name string, content []byte) error
	// Delete removes an object. Of one that does not exist it says ErrNotFound, or
	// nothing where the backend cannot tell.
	Delete(ctx context.Context, name string) error
	// List yields objects in the order of their names as bytes. It yields what was
	// there all the time once; what comes or goes meanwhile, once or not at all.
	// An error ends it; the entries before it are right.
	List(ctx context.Context, options ListOptions) iter.Seq2[Entry, error]
	// Attributes returns what is known of an object without reading it, or
	// ErrNotFound.
	Attributes(ctx context.Context, name string) (Attributes, error)
	// Check writes, reads and deletes a small object of a new name, and says what
	// is wrong, for people.
	Check(ctx context.Context) error
	// String says where the bucket is, for messages, without secrets.
	String() string
}

// ListOptions says what to list.
type ListOptions struct {
	// Prefix is what all names begin with: a name, or one followed by a slash, or
	// the beginning of a name; empty is everything.
	Prefix string
	// After is what all names come after, in their order as bytes. It need not
	// exist. Empty is from the start.
	After string
	// Delimited lists what is directly below Prefix only, as a folder shows it:
	// names that have a slash after it are cut off behind that slash, and
	// each such beginning is yielded once, as an entry with Prefix set.
	Delimited bool
}

// Entry is what a list tells of an object, or of a common prefix of several.
type Entry struct {
	Name     string // ends with a slash only if Prefix is set
	Prefix   bool   // there may be objects below; Size and Modified are not set
	Size     int64  // bytes
	Modified time.Time
}

// Attributes are what is known of an object without reading it.
type Attributes struct {
	Size     int64 // bytes
	Modified time.Time
}
