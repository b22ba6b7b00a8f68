package objects

import (
	"context"
	"fmt"
	"iter"
	"strings"
)

// prefixed is the part of a bucket whose names begin with a path.
type prefixed struct {
	inner  Bucket
	prefix string // ends with a slash
}

// WithPrefix returns the part of a bucket that is below a path, as a bucket;
// all of it if the path is empty. Slashes around the path mean nothing.
func WithPrefix(bucket Bucket, prefix string) (Bucket, error) {
	prefix = strings.Trim(prefix, "/")
	if prefix == "" {
		return bucket, nil
	}
	if err := checkName(prefix); err != nil {
		return nil, err
	}
	return &prefixed{bucket, prefix + "/"}, nil
}

// name checks before it puts the prefix there: nothing leads out of it.
func (p *prefixed) name(name string) (string, error) {
	return p.prefix + name, checkName(name)
}

func (p *prefixed) Get(ctx context.Context, name string, limit int64) ([]byte, error) {
	full, err := p.name(name)
	if err != nil {
		return nil, err
	}
	return p.inner.Get(ctx, full, limit)
}

func (p *prefixed) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, int64, error) {
	full, err := p.name(name)
	if err != nil {
		return nil, 0, err
	}
	return p.inner.GetRange(ctx, full, offset, length)
}

func (p *prefixed) Put(ctx context.Context, name string, content []byte) error {
	full, err := p.name(name)
	if err != nil {
		return err
	}
	return p.inner.Put(ctx, full, content)
}

func (p *prefixed) PutIfAbsent(ctx context.Context, name string, content []byte) error {
	full, err := p.name(name)
	if err != nil {
		return err
	}
	return p.inner.PutIfAbsent(ctx, full, content)
}

func (p *prefixed) Delete(ctx context.Context, name string) error {
	full, err := p.name(name)
	if err != nil {
		return err
	}
	return p.inner.Delete(ctx, full)
}

func (p *prefixed) Attributes(ctx context.Context, name string) (Attributes, error) {
	full, err := p.name(name)
	if err != nil {
		return Attributes{}, err
	}
	return p.inner.Attributes(ctx, full)
}

func (p *prefixed) List(ctx context.Context, options ListOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := checkList(options); err != nil {
			yield(Entry{}, err)
			return
		}
		options := options
		options.Prefix = p.prefix + options.Prefix
		if options.After != "" {
			options.After = p.prefix + options.After
		}
		for entry, err := range p.inner.List(ctx, options) {
			entry.Name = strings.TrimPrefix(entry.Name, p.prefix)
			if !yield(entry, err) {
				return
			}
		}
	}
}

func (p *prefixed) Check(ctx context.Context) error { return check(ctx, p) }

func (p *prefixed) String() string { return fmt.Sprintf("%s, below %s", p.inner, p.prefix) }
