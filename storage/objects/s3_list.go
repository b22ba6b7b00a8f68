package objects

import (
	"context"
	"fmt"
	"iter"
	"net/http/httptrace"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
)

// pageEntries is how many entries one request asks for: the most there are.
const pageEntries = 1000

// List is Bucket's. It keeps one page in memory.
func (s *S3) List(ctx context.Context, options ListOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := checkList(options); err != nil {
			yield(Entry{}, err)
			return
		}
		list := s3List{options: options, last: options.After, yield: yield}
		if err := s.list(ctx, &list); err != nil && !list.over {
			yield(Entry{}, s.s3Error(ctx, err, "list", ""))
		}
	}
}

// list fails unless it came to the end.
func (s *S3) list(ctx context.Context, list *s3List) error {
	// Where a page ends cannot be seen otherwise. Requests are made by the
	// goroutine that asks for the next entry.
	page := 0
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GetConn: func(string) { page++ }})
	noOwner, seen := false, page
	for found := range s.core.ListObjectsIter(traced, s.bucket, minio.ListObjectsOptions{
		Prefix: list.options.Prefix, Recursive: !list.options.Delimited, StartAfter: list.options.After, MaxKeys: s.page, FetchOwner: &noOwner,
	}) {
		// Also if it failed to get another page: what came before is right, and who
		// tries again goes on behind it.
		if page != seen || found.Err != nil {
			if err := list.flush(); err != nil || list.over {
				return err
			}
			seen = page
		}
		if found.Err != nil {
			return found.Err
		}
		list.add(found)
	}
	// It ends without a word if it was cancelled.
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return list.flush()
}

type s3List struct {
	options ListOptions
	yield   func(Entry, error) bool
	page    []Entry
	last    string // that was yielded, or what to begin after
	over    bool   // the caller wants no more
}

// add takes an entry into the page. It leaves out what is no name, such as the
// empty objects that stand for directories.
func (l *s3List) add(found minio.ObjectInfo) {
	entry := Entry{Name: found.Key, Size: found.Size, Modified: found.LastModified}
	// Common prefixes have nothing but their name.
	if l.options.Delimited && strings.HasSuffix(found.Key, "/") && found.LastModified.IsZero() {
		entry = Entry{Name: found.Key, Prefix: true}
	}
	if checkName(strings.TrimSuffix(entry.Name, "/")) != nil || !entry.Prefix && strings.HasSuffix(entry.Name, "/") {
		return
	}
	l.page = append(l.page, entry)
}

// flush yields a whole page. In it, prefixes follow all objects; over all pages,
// each must come after the one before.
func (l *s3List) flush() error {
	slices.SortStableFunc(l.page, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	for _, entry := range l.page {
		if entry.Name <= l.last {
			if entry.Name < l.last && l.last != l.options.After {
				return fmt.Errorf("%w: it lists %q after %q: entries would be lost", ErrUnsupported, entry.Name, l.last)
			}
			continue // a prefix of several pages, or of what comes before
		}
		l.last = entry.Name
		if !l.yield(entry, nil) {
			l.over = true
			return nil
		}
	}
	l.page = l.page[:0]
	return nil
}
