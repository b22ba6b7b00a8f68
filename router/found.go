package router

import (
	"crypto/sha256"
	"sync"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	typesv1 "github.com/skerrydb/skerry/proto/types/v1"
)

// foundLabels are the labels of a query, of all its parts. They are a set: it
// does not matter that data was read on both sides of a transfer, or that a point
// was read twice.
type foundLabels struct {
	size *answerSize

	mu     sync.Mutex
	labels []*typesv1.Labels
	bytes  int
	marks  watermarks
}

func (f *foundLabels) add(answer *nodev1.QueryLabelsResponse) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.labels = append(f.labels, answer.GetLabels()...)
	f.marks.add(answer.GetWatermarks())
	bytes := answer.SizeVT()
	f.bytes += bytes
	return f.size.add(bytes)
}

func (f *foundLabels) stale() stale         { return f.marks.stale(false) }
func (f *foundLabels) forget(spans spanSet) { f.marks.forget(spans) }

func (f *foundLabels) reset() {
	f.size.release(f.bytes)
	f.labels, f.bytes, f.marks = nil, 0, watermarks{}
}

// answer is distinct and sorted.
func (f *foundLabels) answer() []*typesv1.Labels {
	f.labels = mergeLabels(f.labels)
	return f.labels
}

func (f *foundLabels) sum() ([sha256.Size]byte, error) {
	encoded, err := (&metastorev1.QueryMetadataLabelsResponse{Labels: f.answer()}).MarshalVT()
	return sha256.Sum256(encoded), err
}

// foundStats bound a tenant's data in all parts. They are the bounds of a set, too.
type foundStats struct {
	mu    sync.Mutex
	total metastorev1.TenantStats
	marks watermarks
}

func (f *foundStats) add(answer *nodev1.TenantStatsResponse) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	widen(&f.total, answer.GetStats())
	f.marks.add(answer.GetWatermarks())
	return nil
}

func (f *foundStats) stale() stale         { return f.marks.stale(false) }
func (f *foundStats) forget(spans spanSet) { f.marks.forget(spans) }

func (f *foundStats) reset() {
	f.total.Reset()
	f.marks = watermarks{}
}

func (f *foundStats) sum() ([sha256.Size]byte, error) {
	encoded, err := f.total.MarshalVT()
	return sha256.Sum256(encoded), err
}
