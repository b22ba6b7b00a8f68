// Package errors holds the errors of the key-value store.
//
// They are returned bare by storage/kv, so that callers may compare with == as well as with
// errors.Is. The few that describe a whole store directory (ErrInUse, ErrForeignDirectory,
// ErrNewerFormat) are wrapped with the directory's name and what to do about it.
package errors

import "errors"

// Opening a store.
var (
	// ErrDatabaseNotOpen is returned when a database is used before it is opened or after it
	// is closed.
	ErrDatabaseNotOpen = errors.New("database not open")

	// ErrInvalid is returned when what is found at a path is no database of this store.
	ErrInvalid = errors.New("invalid database")

	// ErrTimeout is returned when the lock of a database is not free within Options.Timeout.
	ErrTimeout = errors.New("timeout")

	// ErrInvalidMapping exists for programs written for bbolt. It is never returned.
	ErrInvalidMapping = errors.New("database isn't correctly mapped")

	// ErrVersionMismatch exists for programs written for bbolt. It is never returned.
	ErrVersionMismatch = errors.New("version mismatch")

	// ErrChecksum exists for programs written for bbolt. It is never returned.
	ErrChecksum = errors.New("checksum error")

	// ErrInUse is returned when another handle, in this process or another, has the
	// directory open.
	ErrInUse = errors.New("directory is in use by another process")

	// ErrForeignDirectory is returned for a directory that holds files of something else.
	ErrForeignDirectory = errors.New("directory is not empty and holds no store")

	// ErrNewerFormat is returned for a directory written by a newer version of this program.
	ErrNewerFormat = errors.New("store has a newer format than this binary can read")
)

// Transactions.
var (
	// ErrTxNotWritable is returned when a read-only transaction is asked to write.
	ErrTxNotWritable = errors.New("tx not writable")

	// ErrTxClosed is returned when a transaction is used after it ended.
	ErrTxClosed = errors.New("tx closed")

	// ErrTxTooLarge is returned when one transaction would write more than about 4 GiB.
	ErrTxTooLarge = errors.New("tx too large")

	// ErrDatabaseReadOnly is returned when a writing transaction is begun on a read-only
	// database.
	ErrDatabaseReadOnly = errors.New("database is in read-only mode")

	// ErrFreePagesNotLoaded exists for programs written for bbolt. It is never returned.
	ErrFreePagesNotLoaded = errors.New("free pages are not pre-loaded")
)

// Buckets and keys.
var (
	// ErrBucketNotFound is returned when a bucket does not exist, or no longer does.
	ErrBucketNotFound = errors.New("bucket not found")

	// ErrBucketExists is returned when a bucket is created a second time.
	ErrBucketExists = errors.New("bucket already exists")

	// ErrBucketNameRequired is returned when a bucket is created without a name.
	ErrBucketNameRequired = errors.New("bucket name required")

	// ErrKeyRequired is returned when an empty key is put.
	ErrKeyRequired = errors.New("key required")

	// ErrKeyTooLarge is returned for a key longer than MaxKeySize.
	ErrKeyTooLarge = errors.New("key too large")

	// ErrValueTooLarge is returned for a value longer than MaxValueSize.
	ErrValueTooLarge = errors.New("value too large")

	// ErrIncompatibleValue is returned when a bucket is used as a key or a key as a bucket.
	ErrIncompatibleValue = errors.New("incompatible value")

	// ErrSameBuckets is returned when a bucket is moved to where it already is.
	ErrSameBuckets = errors.New("the source and target are the same bucket")

	// ErrDifferentDB is returned when a bucket is moved between databases or transactions.
	ErrDifferentDB = errors.New("the source and target buckets are in different databases")
)

// Streams.
var (
	// ErrCorruptStream is returned, wrapped, when a stream to restore is cut short, damaged
	// or not such a stream at all.
	ErrCorruptStream = errors.New("corrupt stream")
)

// Reads.
var (
	// ErrRead is wrapped by what gets and cursors panic with when the store below cannot be
	// read: bbolt's interface has no room for an error there.
	ErrRead = errors.New("kv: read")
)
