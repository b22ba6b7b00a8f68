package kv

import "github.com/skerrydb/skerry/storage/kv/errors"

// The errors of package errors under the names callers know them by.
var (
	ErrDatabaseNotOpen    = errors.ErrDatabaseNotOpen
	ErrInvalid            = errors.ErrInvalid
	ErrTimeout            = errors.ErrTimeout
	ErrInvalidMapping     = errors.ErrInvalidMapping
	ErrVersionMismatch    = errors.ErrVersionMismatch
	ErrChecksum           = errors.ErrChecksum
	ErrInUse              = errors.ErrInUse
	ErrForeignDirectory   = errors.ErrForeignDirectory
	ErrNewerFormat        = errors.ErrNewerFormat
	ErrTxNotWritable      = errors.ErrTxNotWritable
	ErrTxClosed           = errors.ErrTxClosed
	ErrTxTooLarge         = errors.ErrTxTooLarge
	ErrDatabaseReadOnly   = errors.ErrDatabaseReadOnly
	ErrFreePagesNotLoaded = errors.ErrFreePagesNotLoaded
	ErrBucketNotFound     = errors.ErrBucketNotFound
	ErrBucketExists       = errors.ErrBucketExists
	ErrBucketNameRequired = errors.ErrBucketNameRequired
	ErrKeyRequired        = errors.ErrKeyRequired
	ErrKeyTooLarge        = errors.ErrKeyTooLarge
	ErrValueTooLarge      = errors.ErrValueTooLarge
	ErrIncompatibleValue  = errors.ErrIncompatibleValue
	ErrSameBuckets        = errors.ErrSameBuckets
	ErrDifferentDB        = errors.ErrDifferentDB
	ErrCorruptStream      = errors.ErrCorruptStream
	ErrRead               = errors.ErrRead
)
