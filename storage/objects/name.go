package objects

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Files that are not complete yet; no object's last name begins so.
const temporaryPrefix = ".skerry-"

// checkName refuses everything that could lead out of a bucket, for all backends
// alike: what one of them stores can be copied to the others.
func checkName(name string) error {
	if !fs.ValidPath(name) || name == "." || strings.HasPrefix(path.Base(name), temporaryPrefix) || strings.Contains(name, "\x00") {
		return fmt.Errorf("%w: %q", ErrName, name)
	}
	return nil
}

// checkList refuses prefixes with which no name can begin.
func checkList(options ListOptions) error {
	prefix := strings.TrimSuffix(options.Prefix, "/")
	if options.Prefix != "" && (prefix == "." || !fs.ValidPath(prefix) || strings.Contains(prefix, "\x00")) {
		return fmt.Errorf("%w: prefix %q", ErrName, options.Prefix)
	}
	return nil
}

// checkLength refuses limits that would mean nothing, or everything.
func checkLength(length int64) error {
	if length <= 0 {
		return fmt.Errorf("%w: %d", ErrRange, length)
	}
	return nil
}

// bounds returns where a range of an object begins and ends.
func bounds(size, offset, length int64) (from, to int64) {
	if from = offset; offset < 0 {
		from = max(0, size+offset)
	}
	from = min(from, size)
	return from, from + min(length, size-from)
}
