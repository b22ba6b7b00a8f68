package dlq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"

	"github.com/skerrydb/skerry/proto/blockobject"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/storage/objects"
)

// outcome is how an attempt at an entry ended: the label of the metric. Those of
// Pyroscope have its names.
type outcome string

const (
	success        outcome = "success"
	stray          outcome = "stray"
	notFound       outcome = "not_found"
	empty          outcome = "empty"
	readError      outcome = "read_error"
	unmarshalError outcome = "unmarshal_error"
	invalid        outcome = "invalid_metadata"
	metastoreError outcome = "metastore_error"
	canceled       outcome = "canceled"
	leadership     outcome = "leadership_change"
	// Its block's object does not exist, and it is so old that the block may have
	// been compacted and deleted meanwhile.
	objectMissing outcome = "object_missing"
	// It is larger than metadata may be, and stays where it is.
	tooLarge outcome = "too_large"
)

// outcomes are all there are.
var outcomes = []outcome{
	success, stray, notFound, empty, readError, unmarshalError, invalid, metastoreError, canceled, leadership, objectMissing, tooLarge,
}

// stops tells whether the sweep ends with it.
func (o outcome) stops() bool { return o == canceled || o == leadership }

// rejects tells whether the entry was moved aside.
func (o outcome) rejects() bool { return o == unmarshalError || o == invalid || o == objectMissing }

// recover takes one entry to its end. An error means that the entry is still there,
// and says why.
func (s *sweep) recover(e objects.Entry, k blockobject.Location) (outcome, error) {
	block, content, o, err := s.read(e, k)
	if block == nil {
		return o, err
	}
	switch err := s.add(k, block, content); {
	case err == nil:
		// If it stays it is met again, after a pause, and adding it then changes nothing.
		if err := s.remove(e.Name); err != nil {
			s.recovery.metrics.deletesFailed.Inc()
			return success, fmt.Errorf("it was added, but cannot be deleted: %w", err)
		}
		return success, nil
	case errors.Is(err, ErrInvalid):
		return invalid, s.moveAside(e.Name, content, invalid, err)
	case errors.Is(err, ErrMoved):
		return leadership, err
	default:
		return s.failed(metastoreError, err)
	}
}

// read returns the block to be added, also as it is encoded, or how the entry ended
// without one.
func (s *sweep) read(e objects.Entry, k blockobject.Location) (*metastorev1.BlockMeta, []byte, outcome, error) {
	block, content, bad, err := s.readEntry(e, k)
	if bad == "" {
		return block, content, "", nil
	}
	switch {
	case err == nil || !bad.rejects() && bad != empty:
		return nil, nil, bad, err
	case bad == empty:
		return nil, nil, empty, s.remove(e.Name)
	}
	return nil, nil, bad, s.moveAside(e.Name, content, bad, err)
}

// readEntry returns a block, or what is wrong and why. Of what is to be moved aside
// it returns the content.
func (s *sweep) readEntry(e objects.Entry, k blockobject.Location) (*metastorev1.BlockMeta, []byte, outcome, error) {
	s.access <- struct{}{}
	defer func() { <-s.access }()
	r := s.recovery
	reading, cancel := context.WithTimeout(s.ctx, r.options.Timeout)
	defer cancel()
	fails := func(err error) (*metastorev1.BlockMeta, []byte, outcome, error) {
		o, err := s.failed(readError, err)
		return nil, nil, o, err
	}
	content, err := r.bucket.Get(reading, e.Name, metastorev1.MaxBlockBytes)
	switch {
	case err == nil:
	case errors.Is(err, objects.ErrNotFound):
		return nil, nil, notFound, nil
	case errors.Is(err, objects.ErrTooLarge):
		return nil, nil, tooLarge, fmt.Errorf("%w: no metadata is so large, and it will never be recovered: look what it is, and delete it in the object store", err)
	default:
		return fails(err)
	}
	block, bad, fault := decode(content)
	if bad != "" || cutShort(block, k) {
		// The object's footer is a second copy, written before.
		copied, encoded, err := secondCopy(reading, r.bucket, k)
		switch {
		case err == nil:
			r.metrics.footers.Inc()
			return copied, encoded, "", nil
		case !errors.Is(err, errNoCopy):
			return fails(err)
		case bad != "":
			return nil, content, bad, fault
		}
	}
	if s.phantom(e, block) {
		switch err := s.objectExists(reading, block); {
		case errors.Is(err, objects.ErrNotFound):
			return nil, content, objectMissing, err
		case err != nil:
			return fails(err)
		}
	}
	return block, content, "", nil
}

// failed tells a failure from the end of the sweep.
func (s *sweep) failed(o outcome, err error) (outcome, error) {
	switch {
	case s.lane.ctx.Err() != nil:
		return leadership, fmt.Errorf("%w: %w", ErrMoved, err)
	case s.ctx.Err() != nil:
		return canceled, errStopped
	}
	return o, err
}

// decode tells what is wrong with an entry's content, if anything is.
func decode(content []byte) (block *metastorev1.BlockMeta, bad outcome, fault error) {
	if len(content) == 0 {
		return nil, empty, errors.New("it is empty")
	}
	block = &metastorev1.BlockMeta{}
	if err := block.UnmarshalVT(content); err != nil {
		return nil, unmarshalError, fmt.Errorf("not a block's metadata: %w", err)
	}
	if err := check(block); err != nil {
		return nil, invalid, err
	}
	return block, "", nil
}

// cutShort tells whether an entry may be the beginning of what was written. Metadata
// that ends behind its ID is metadata, too, but of no tenant and shard.
func cutShort(block *metastorev1.BlockMeta, k blockobject.Location) bool {
	id, err := ulid.Parse(block.GetId())
	return err == nil && id == k.ID && blockobject.DeadLetterOf(block.TenantName(), block.GetShard(), block.GetCompactionLevel(), id) != k
}

func check(block *metastorev1.BlockMeta) error {
	if err := metastorev1.ValidateBlock(block); err != nil {
		return err
	}
	return metastorev1.CheckLimits(block)
}

// phantom tells whether the block may have been indexed, compacted and deleted by
// now, so that nobody remembers it.
func (s *sweep) phantom(e objects.Entry, block *metastorev1.BlockMeta) bool {
	past := s.recovery.options.Now().Add(-s.recovery.options.TombstoneDelay)
	id, err := metastorev1.ParseID(block.GetId())
	return err != nil || ulid.Time(id.Time()).Before(past) || !e.Modified.IsZero() && e.Modified.Before(past)
}

// objectExists returns nil if a block's object does, or objects.ErrNotFound. An
// object of which nobody knows the name counts as one that exists.
func (s *sweep) objectExists(ctx context.Context, block *metastorev1.BlockMeta) error {
	_, err := s.recovery.bucket.Attributes(ctx, objectOf(block))
	if errors.Is(err, objects.ErrName) {
		return nil
	}
	return err
}

// add hands a block to its group. Entries in the folder of another tenant or shard
// go to the group that they belong to: what it says does not end the sweep.
func (s *sweep) add(k blockobject.Location, block *metastorev1.BlockMeta, content []byte) error {
	if !s.owns(home(k.Shard, k.Directory)) {
		return fmt.Errorf("%w: the range has another owner", ErrMoved)
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.recovery.options.Timeout)
	defer cancel()
	err := s.recovery.cluster.Add(ctx, block, content)
	if errors.Is(err, ErrMoved) && !s.owns(blockPoint(block)) {
		return fmt.Errorf("the group that it belongs to: %s", err)
	}
	return err
}

// lastWords is how long changes of objects may go on when the leadership has ended.
const lastWords = time.Second

// finishing returns a context for what is right whoever leads now.
func (s *sweep) finishing() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.lane.ctx), s.recovery.options.Timeout)
	unwatch := context.AfterFunc(s.lane.ctx, func() { time.AfterFunc(lastWords, cancel) })
	return ctx, func() { unwatch(); cancel() }
}

// remove deletes an entry.
func (s *sweep) remove(name string) error {
	s.access <- struct{}{}
	defer func() { <-s.access }()
	ctx, cancel := s.finishing()
	defer cancel()
	return remove(ctx, s.recovery.bucket, name)
}

// moveAside puts an entry where no sweep looks.
func (s *sweep) moveAside(name string, content []byte, why outcome, fault error) error {
	s.access <- struct{}{}
	defer func() { <-s.access }()
	ctx, cancel := s.finishing()
	defer cancel()
	if err := move(ctx, s.recovery.bucket, name, rejected(name), content); err != nil {
		return fmt.Errorf("move aside: %w", err)
	}
	s.mu.Lock()
	s.rejected++
	tell := s.rejected <= rejectionsLogged
	s.mu.Unlock()
	if tell {
		s.log.Error("rejected a dead letter: its data is not found by queries; see: skerry dlq list -rejected",
			zap.String("key", rejected(name)), zap.String("status", string(why)), zap.String("reason", shorten(fault.Error())))
	}
	return nil
}

// move puts an entry elsewhere, and only then deletes it. Meanwhile somebody may have
// moved it the other way: operators into the queue, sweeps out of it. Then the two
// deletions leave nothing; so each looks afterwards, and who deleted last sees that.
func move(ctx context.Context, bucket objects.Bucket, from, to string, content []byte) error {
	if err := bucket.Put(ctx, to, content); err != nil {
		return err
	}
	if err := remove(ctx, bucket, from); err != nil {
		return fmt.Errorf("delete what is also at %s: %w", to, err)
	}
	if _, err := bucket.Attributes(ctx, to); err == nil {
		return nil
	}
	// One that was recovered meanwhile is recovered again, which changes nothing.
	return bucket.Put(ctx, to, content)
}

func remove(ctx context.Context, bucket objects.Bucket, name string) error {
	if err := bucket.Delete(ctx, name); err != nil && !errors.Is(err, objects.ErrNotFound) {
		return err
	}
	return nil
}
