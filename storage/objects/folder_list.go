package objects

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// List is Bucket's. It keeps one directory's names in memory for each level.
func (f *Folder) List(ctx context.Context, options ListOptions) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := checkList(options); err != nil {
			yield(Entry{}, err)
			return
		}
		walk := folderWalk{folder: f, ctx: ctx, options: options, yield: yield}
		// Nothing can match outside of the last whole directory of the prefix.
		walk.directory(options.Prefix[:strings.LastIndexByte(options.Prefix, '/')+1])
	}
}

type folderWalk struct {
	folder  *Folder
	ctx     context.Context
	options ListOptions
	yield   func(Entry, error) bool
}

// directory yields what is in a directory, "" or a name with a slash at the end;
// false if the list is over.
func (w *folderWalk) directory(directory string) bool {
	if err := w.ctx.Err(); err != nil {
		w.yield(Entry{}, err)
		return false
	}
	listed, err := os.ReadDir(filepath.Join(w.folder.root, filepath.FromSlash(directory)))
	if missing(err) {
		// In a bucket, what has nothing below does not exist.
		err = w.folder.present()
	}
	if err != nil {
		w.yield(Entry{}, err)
		return false
	}
	// All names below a directory come where its own name with a slash belongs:
	// "a-b" before "a/b" before "ab".
	slices.SortFunc(listed, func(a, b fs.DirEntry) int { return strings.Compare(key(a), key(b)) })
	for _, entry := range listed {
		if !w.entry(directory+key(entry), entry) {
			return false
		}
	}
	return true
}

func (w *folderWalk) entry(name string, entry fs.DirEntry) bool {
	if entry.IsDir() {
		return w.below(name)
	}
	if checkName(name) != nil || !strings.HasPrefix(name, w.options.Prefix) || name <= w.options.After || !entry.Type().IsRegular() {
		return true
	}
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return true // deleted meanwhile
	}
	if err != nil {
		w.yield(Entry{}, err)
		return false
	}
	return w.yield(Entry{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil)
}

// below yields what a directory stands for, if it can be asked for.
func (w *folderWalk) below(name string) bool {
	if !strings.HasPrefix(name, w.options.Prefix) {
		return true
	}
	if w.options.Delimited {
		if checkName(strings.TrimSuffix(name, "/")) != nil {
			return true // what is below could not be asked for
		}
		return name <= w.options.After || w.yield(Entry{Name: name, Prefix: true}, nil)
	}
	if name < w.options.After && !strings.HasPrefix(w.options.After, name) {
		return true // all of it comes before
	}
	return w.directory(name)
}

func key(entry fs.DirEntry) string {
	if entry.IsDir() {
		return entry.Name() + "/"
	}
	return entry.Name()
}
