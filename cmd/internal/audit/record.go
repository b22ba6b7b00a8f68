package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Phase is when a record was written.
type Phase string

// Phases of an action.
const (
	// Attempt is written and synced before the action begins.
	Attempt Phase = "attempt"
	// Outcome is written after it.
	Outcome Phase = "outcome"
	// Denied is all there is of an action that its caller might not do.
	Denied Phase = "denied"
	// Unreadable stands, in what Read returns, for a line that is none of ours: the
	// last one before a power cut, or an edit.
	Unreadable Phase = "unreadable"
)

// Record is one line of the log.
type Record struct {
	Time  time.Time `json:"time"`
	Phase Phase     `json:"phase"`
	// RequestID is the same in the attempt and its outcome.
	RequestID string `json:"request_id,omitempty"`
	// Who is the caller's name; empty if anonymous.
	Who string `json:"who"`
	// How the caller was identified: token, certificate, anonymous.
	How  string `json:"how"`
	Peer string `json:"peer,omitempty"`
	// Method is the full name.
	Method string `json:"method"`
	DryRun bool   `json:"dry_run,omitempty"`
	// Request is the request as protobuf's JSON, in an Attempt. One that is long is
	// a string with its beginning, or only its size.
	Request json.RawMessage `json:"request,omitempty"`
	// Code is a gRPC code's name, in an Outcome; OK if it succeeded.
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// DurationSeconds is from the attempt to the outcome.
	DurationSeconds float64 `json:"duration_seconds,omitempty"`
	// Reason says why the caller was denied, and Suppressed how many denials before
	// were left out of the log because there were too many.
	Reason     string `json:"reason,omitempty"`
	Suppressed uint64 `json:"suppressed,omitempty"`
}

// lineBytesMax bounds a line that is read back; those that are written are
// shorter.
const lineBytesMax = 64 << 10

// Read returns the last records of a log and the files that it was rotated into,
// at most limit of them, newest last. It may run while the log is written. No
// file is no error if it has rotated ones.
func Read(path string, limit int) ([]Record, error) {
	if limit <= 0 {
		return nil, fmt.Errorf("limit is %d: want 1 or more", limit)
	}
	var newestFirst [][]Record
	var last os.FileInfo
	missing, left := 0, limit
	for i := 0; i <= keepMax && left > 0 && missing < 2; i++ {
		records, info, err := readFile(rotated(path, i), last, left)
		if errors.Is(err, os.ErrNotExist) {
			missing++ // a rotation may be in progress
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		newestFirst = append(newestFirst, records)
		last, left = info, left-len(records)
	}
	if newestFirst == nil {
		return nil, fmt.Errorf("read audit log: %s: %w", path, os.ErrNotExist)
	}
	var all []Record
	for i := len(newestFirst) - 1; i >= 0; i-- {
		all = append(all, newestFirst[i]...)
	}
	return all, nil
}

// readFile returns the last records of one file, none if it is the one read last:
// it was put aside meanwhile.
func readFile(path string, last os.FileInfo, limit int) ([]Record, os.FileInfo, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || last != nil && os.SameFile(info, last) {
		return nil, info, err
	}
	records, err := lastRecords(file, limit)
	return records, info, err
}

func lastRecords(file io.Reader, limit int) ([]Record, error) {
	reader := bufio.NewReaderSize(file, lineBytesMax)
	var ring []Record
	next := 0
	for {
		line, err := reader.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		if len(line) > 0 {
			record := parseLine(line)
			if len(ring) < limit {
				ring = append(ring, record)
			} else {
				ring[next] = record
				next = (next + 1) % limit
			}
		}
		for cut && errors.Is(err, bufio.ErrBufferFull) {
			_, err = reader.ReadSlice('\n')
		}
		if errors.Is(err, io.EOF) {
			return append(ring[next:len(ring):len(ring)], ring[:next]...), nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func parseLine(line []byte) Record {
	var record Record
	if err := json.Unmarshal(line, &record); err != nil || record.Phase == "" {
		const shown = 200
		return Record{Phase: Unreadable, Message: fmt.Sprintf("%.*q", shown, line)}
	}
	return record
}
