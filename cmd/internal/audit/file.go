package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.uber.org/zap"
)

// rotated is the name of a file that was put aside; the current one for 0.
func rotated(path string, i int) string {
	if i == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, i)
}

// openFile opens the file at its end. A line that a crash tore is completed by a
// newline, so that it spoils no other.
func (l *Log) openFile() error {
	file, err := os.OpenFile(l.options.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	size, err := file.Seek(0, io.SeekEnd)
	last := []byte{'\n'}
	if err == nil && size > 0 {
		_, err = file.ReadAt(last, size-1)
	}
	if err == nil {
		// The name must outlive a power cut as well as the lines.
		err = syncFolder(filepath.Dir(l.options.Path))
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	l.file, l.size, l.torn = file, size, last[0] != '\n'
	return nil
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func (l *Log) closeFile() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// appendLine writes a whole line or, as far as it can be told, nothing.
func (l *Log) appendLine(line []byte, sync bool) error {
	if err := l.reopen(); err != nil {
		return err
	}
	if l.size > 0 && l.size+int64(len(line)) > l.options.MaxBytes {
		if err := l.rotate(); err != nil {
			return fmt.Errorf("rotate: %w", err)
		}
	}
	if l.torn {
		line = append([]byte{'\n'}, line...)
	}
	written, err := l.file.Write(line)
	if err == nil && sync {
		err = l.file.Sync()
	}
	if err == nil {
		l.size, l.torn = l.size+int64(written), false
		return nil
	}
	// Take back what was written of it: the action will not happen.
	if cut := l.file.Truncate(l.size); cut != nil {
		l.log.Warn("the audit log may hold part of a line", zap.Error(cut))
		l.size += int64(written)
		l.torn = true
	}
	return err
}

// reopen makes sure that lines go to the file of that name: somebody may have
// moved it, or a rotation failed half way.
func (l *Log) reopen() error {
	if l.file != nil {
		named, err := os.Stat(l.options.Path)
		if err == nil {
			var open os.FileInfo
			if open, err = l.file.Stat(); err == nil && os.SameFile(named, open) {
				return nil
			}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		l.log.Warn("the audit log was moved or removed: a new file begins", zap.String("path", l.options.Path))
		if err := l.closeFile(); err != nil {
			l.log.Warn("closing the old audit log failed; its lines are synced", zap.Error(err))
		}
	}
	return l.openFile()
}

// rotate puts the file aside and begins a new one. What fails half way is tried
// again with the next line. Only the files before the first free name move, so
// that trying again and again pushes none out.
func (l *Log) rotate() error {
	if err := l.file.Sync(); err != nil {
		return err
	}
	free := 1
	for ; free < l.options.Keep; free++ {
		if _, err := os.Lstat(rotated(l.options.Path, free)); errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	for i := free; i >= 1; i-- {
		if err := os.Rename(rotated(l.options.Path, i-1), rotated(l.options.Path, i)); err != nil {
			return err
		}
	}
	if err := l.closeFile(); err != nil {
		l.log.Warn("closing a full audit log failed; its lines are synced", zap.Error(err))
	}
	return l.openFile()
}
