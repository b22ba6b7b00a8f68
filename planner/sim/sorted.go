package sim

import (
	"iter"
	"slices"
)

// sorted is a table: rows in the order of compare, no two of them equal.
type sorted[T any] struct {
	compare func(a, b T) int
	rows    []T
	reads   *Reads
}

// Reads counts what was read.
type Reads struct {
	// Lists opened, and single rows looked up.
	Seeks int
	// Rows taken from lists.
	Rows int
}

func (s *sorted[T]) find(row T) (at int, found bool) {
	return slices.BinarySearchFunc(s.rows, row, s.compare)
}

func (s *sorted[T]) put(row T) {
	at, found := s.find(row)
	if found {
		s.rows[at] = row
		return
	}
	s.rows = slices.Insert(s.rows, at, row)
}

func (s *sorted[T]) drop(row T) (found bool) {
	at, found := s.find(row)
	if found {
		s.rows = slices.Delete(s.rows, at, at+1)
	}
	return found
}

// from lists the rows from a place on.
func (s *sorted[T]) from(at int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		s.reads.Seeks++
		for ; at < len(s.rows); at++ {
			s.reads.Rows++
			if !yield(s.rows[at], nil) {
				return
			}
		}
	}
}
