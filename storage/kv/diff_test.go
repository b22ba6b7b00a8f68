package kv

import (
	"bytes"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"pgregory.net/rapid"
)

// TestDifferential runs the same random operations against bbolt and this package and compares
// every answer.
func TestDifferential(t *testing.T) {
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		d := newDiffer(t, filepath.Join(dir, fmt.Sprint(run)))
		defer d.close()
		steps := rapid.IntRange(5, 60).Draw(t, "steps")
		for i := 0; i < steps; i++ {
			d.step()
		}
	})
}

// differ drives both databases.
type differ struct {
	t       *rapid.T
	path    string
	fs      vfs.FS
	engine  *Engine
	ours    *DB
	bolt    *bolt.DB
	readers []readerPair
	current *readerPair // the transaction of this step, to end it when the step fails
	alive   bool
}

type readerPair struct {
	ours *Tx
	bolt *bolt.Tx
}

func newDiffer(t *rapid.T, path string) *differ {
	d := &differ{t: t, path: path, fs: vfs.NewMem()}
	d.open()
	return d
}

func (d *differ) open() {
	var err error
	beside := func() string { return d.path + ".rows" }
	d.engine, err = openTestEngine("db", beside, EngineOptions{FS: d.fs, MemTableBytes: 64 << 10, CacheBytes: 1 << 20})
	d.must(err)
	d.ours, err = d.engine.DB(7)
	d.must(err)
	d.bolt, err = bolt.Open(d.path, 0o600, &bolt.Options{NoSync: true, InitialMmapSize: 16 << 20})
	d.must(err)
	d.alive = true
}

func (d *differ) close() {
	if !d.alive {
		return
	}
	d.alive = false
	if d.current != nil {
		_ = d.current.ours.Rollback()
		_ = d.current.bolt.Rollback()
	}
	for _, r := range d.readers {
		_ = r.ours.Rollback()
		_ = r.bolt.Rollback()
	}
	d.readers = nil
	_ = d.bolt.Close()
	d.must(d.engine.Close())
}

func (d *differ) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *differ) equal(what string, ours, bolt any) {
	d.t.Helper()
	if !reflect.DeepEqual(ours, bolt) {
		d.t.Fatalf("%s: ours %#v, bbolt %#v", what, ours, bolt)
	}
}

// boltErrors pairs the errors of both.
var boltErrors = map[error]error{
	nil:                              nil,
	bolterrors.ErrTxNotWritable:      ErrTxNotWritable,
	bolterrors.ErrTxClosed:           ErrTxClosed,
	bolterrors.ErrBucketNotFound:     ErrBucketNotFound,
	bolterrors.ErrBucketExists:       ErrBucketExists,
	bolterrors.ErrBucketNameRequired: ErrBucketNameRequired,
	bolterrors.ErrKeyRequired:        ErrKeyRequired,
	bolterrors.ErrKeyTooLarge:        ErrKeyTooLarge,
	bolterrors.ErrIncompatibleValue:  ErrIncompatibleValue,
	bolterrors.ErrSameBuckets:        ErrSameBuckets,
}

func (d *differ) equalErr(what string, ours, bolt error) {
	d.t.Helper()
	want, known := boltErrors[bolt]
	if !known {
		d.t.Fatalf("%s: unexpected bbolt error %v", what, bolt)
	}
	if ours != want {
		d.t.Fatalf("%s: ours %v, bbolt %v", what, ours, bolt)
	}
}

var diffNames = []string{"a", "b", "ab", "a\x00", "a\x00b", "\x00", "\x00\x01", "\x00\xff", "\xff", "c"}

func (d *differ) name(label string) []byte {
	return []byte(rapid.SampledFrom(diffNames).Draw(d.t, label))
}

// key is a name out of more, so that buckets get some length.
func (d *differ) key(label string) []byte {
	if rapid.Bool().Draw(d.t, label+" from names") {
		return d.name(label)
	}
	return fmt.Appendf(nil, "k%02d", rapid.IntRange(0, 40).Draw(d.t, label))
}

func (d *differ) value() []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(d.t, "value")
}

func (d *differ) step() {
	switch rapid.SampledFrom([]string{"update", "update", "update", "view", "hold", "release", "reopen"}).Draw(d.t, "step") {
	case "update":
		d.update()
	case "view":
		d.view()
	case "hold":
		d.hold()
	case "release":
		d.release()
	case "reopen":
		for len(d.readers) > 0 {
			d.release()
		}
		d.close()
		d.open()
		d.view()
	}
}

func (d *differ) update() {
	ours, err := d.ours.Begin(true)
	d.must(err)
	theirs, err := d.bolt.Begin(true)
	d.must(err)
	d.equal("writer id", ours.ID(), theirs.ID())
	d.current = &readerPair{ours, theirs}
	x := &diffTx{differ: d, ours: ours, bolt: theirs}
	n := rapid.IntRange(0, 25).Draw(d.t, "ops")
	for i := 0; i < n; i++ {
		x.op()
	}
	d.equal("dump in writer", dumpOurs(ours), dumpBolt(theirs))
	if rapid.IntRange(0, 3).Draw(d.t, "rollback") == 0 {
		d.equalErr("rollback", ours.Rollback(), theirs.Rollback())
		return
	}
	d.equalErr("commit", ours.Commit(), theirs.Commit())
}

func (d *differ) view() {
	ours, err := d.ours.Begin(false)
	d.must(err)
	theirs, err := d.bolt.Begin(false)
	d.must(err)
	d.equal("reader id", ours.ID(), theirs.ID())
	d.equal("dump in reader", dumpOurs(ours), dumpBolt(theirs))
	d.current = &readerPair{ours, theirs}
	x := &diffTx{differ: d, ours: ours, bolt: theirs}
	n := rapid.IntRange(0, 5).Draw(d.t, "reads")
	for i := 0; i < n; i++ {
		x.op()
	}
	d.equalErr("commit of reader", ours.Commit(), theirs.Commit())
	d.equalErr("end of reader", ours.Rollback(), theirs.Rollback())
}

func (d *differ) hold() {
	if len(d.readers) >= 3 {
		return
	}
	ours, err := d.ours.Begin(false)
	d.must(err)
	theirs, err := d.bolt.Begin(false)
	d.must(err)
	d.readers = append(d.readers, readerPair{ours, theirs})
}

func (d *differ) release() {
	if len(d.readers) == 0 {
		return
	}
	r := d.readers[0]
	d.readers = d.readers[1:]
	d.equal("held reader id", r.ours.ID(), r.bolt.ID())
	d.equal("dump of held reader", dumpOurs(r.ours), dumpBolt(r.bolt))
	d.must(r.ours.Rollback())
	d.must(r.bolt.Rollback())
}

// diffTx runs operations in one transaction of each.
type diffTx struct {
	*differ
	ours    *Tx
	bolt    *bolt.Tx
	touched []string // row keys of buckets that operations were made in
}

// loses reports whether bbolt would lose changes by moving a bucket: those made to it earlier in the
// same transaction. Ours move with it, which TestMoveKeepsChanges shows.
func (x *diffTx) loses(parent *bucketPair, name []byte) bool {
	moved := string(appendElement(bytes.Clone(parent.ours.prefix), name, endBucket))
	return slices.ContainsFunc(x.touched, func(t string) bool { return strings.HasPrefix(t, moved) })
}

type bucketPair struct {
	ours *Bucket
	bolt *bolt.Bucket
}

// bucket opens a bucket some levels deep; nil if it does not exist in both.
func (x *diffTx) bucket() *bucketPair {
	depth := rapid.IntRange(1, 3).Draw(x.t, "depth")
	var path [][]byte
	p := &bucketPair{}
	for i := 0; i < depth; i++ {
		name := x.name("bucket")
		path = append(path, name)
		if i == 0 {
			p.ours, p.bolt = x.ours.Bucket(name), x.bolt.Bucket(name)
		} else {
			p.ours, p.bolt = p.ours.Bucket(name), p.bolt.Bucket(name)
		}
		x.equal("bucket missing", p.ours == nil, p.bolt == nil)
		if p.ours == nil {
			if at := x.ours.BucketAt(path...); at != nil {
				x.t.Fatalf("BucketAt finds a missing bucket")
			}
			return nil
		}
	}
	if at := x.ours.BucketAt(path...); at == nil {
		x.t.Fatalf("BucketAt finds no bucket")
	}
	return p
}

func (x *diffTx) op() {
	switch rapid.IntRange(0, 15).Draw(x.t, "op") {
	case 0:
		x.rootOp()
	case 1, 2, 3, 4:
		x.inBucket(x.write)
	case 5, 6:
		x.inBucket(x.nest)
	case 7:
		x.inBucket(x.move)
	case 8, 9:
		x.inBucket(x.sequence)
	case 10, 11, 12:
		x.inBucket(x.cursor)
	case 13:
		x.inBucket(x.deleteLoop)
	case 14:
		x.inBucket(x.read)
	case 15:
		name := x.name("new root bucket")
		_, err1 := x.ours.CreateBucketIfNotExists(name)
		_, err2 := x.bolt.CreateBucketIfNotExists(name)
		x.equalErr("create root bucket", err1, err2)
	}
}

func (x *diffTx) inBucket(fn func(*bucketPair)) {
	if p := x.bucket(); p != nil {
		x.touched = append(x.touched, string(p.ours.prefix))
		fn(p)
	}
}

func (x *diffTx) rootOp() {
	name := x.name("root name")
	switch rapid.IntRange(0, 3).Draw(x.t, "root op") {
	case 0:
		_, err1 := x.ours.CreateBucket(name)
		_, err2 := x.bolt.CreateBucket(name)
		x.equalErr("create root bucket", err1, err2)
	case 1:
		x.equalErr("delete root bucket", x.ours.DeleteBucket(name), x.bolt.DeleteBucket(name))
	case 2:
		x.cursorMoves(x.ours.Cursor(), x.bolt.Cursor())
	case 3:
		child := x.name("moved")
		src, dst := x.bucket(), x.bucket()
		if src == nil && dst == nil {
			x.equalErr("move root to root", x.ours.MoveBucket(child, nil, nil), x.bolt.MoveBucket(child, nil, nil))
		} else if dst == nil && !x.loses(src, child) {
			x.equalErr("move to root", x.ours.MoveBucket(child, src.ours, nil), x.bolt.MoveBucket(child, src.bolt, nil))
		}
	}
}

func (x *diffTx) write(p *bucketPair) {
	key := x.key("key")
	switch rapid.IntRange(0, 6).Draw(x.t, "write op") {
	case 0:
		x.equalErr("delete", p.ours.Delete(key), p.bolt.Delete(key))
	case 1:
		for i := 0; i < 60; i++ {
			k, v := fmt.Appendf(nil, "k%02d", i%41), fmt.Appendf(nil, "v%d", i)
			x.equalErr("put many", p.ours.Put(k, v), p.bolt.Put(k, v))
		}
	case 2:
		x.equalErr("put empty", p.ours.Put(nil, key), p.bolt.Put(nil, key))
		long := make([]byte, MaxKeySize+1)
		x.equalErr("put long", p.ours.Put(long, key), p.bolt.Put(long, key))
		x.equalErr("delete empty", p.ours.Delete(nil), p.bolt.Delete(nil))
	default:
		v := x.value()
		x.equalErr("put", p.ours.Put(key, v), p.bolt.Put(key, v))
		x.equal("get after put", p.ours.Get(key), p.bolt.Get(key))
	}
}

func (x *diffTx) nest(p *bucketPair) {
	name := x.key("nested")
	switch rapid.IntRange(0, 4).Draw(x.t, "nest op") {
	case 0:
		x.equalErr("delete bucket", p.ours.DeleteBucket(name), p.bolt.DeleteBucket(name))
	case 1:
		_, err1 := p.ours.CreateBucket(name)
		_, err2 := p.bolt.CreateBucket(name)
		x.equalErr("create bucket", err1, err2)
	case 2:
		_, err1 := p.ours.CreateBucket(nil)
		_, err2 := p.bolt.CreateBucket(nil)
		x.equalErr("create nameless bucket", err1, err2)
	default:
		_, err1 := p.ours.CreateBucketIfNotExists(name)
		_, err2 := p.bolt.CreateBucketIfNotExists(name)
		x.equalErr("ensure bucket", err1, err2)
	}
}

func (x *diffTx) move(p *bucketPair) {
	name := x.name("moved")
	dst := x.bucket()
	if dst == nil {
		return
	}
	if strings.HasPrefix(string(dst.ours.prefix), string(newSpan(p.ours.child(name, endBucket)).prefix)) &&
		p.ours.Bucket(name) != nil {
		return // into itself: ours refuses, bbolt loses the bucket
	}
	if bytes.Equal(p.ours.prefix, dst.ours.prefix) && p.bolt != dst.bolt || x.loses(p, name) {
		return
	}
	x.equalErr("move", p.ours.MoveBucket(name, dst.ours), p.bolt.MoveBucket(name, dst.bolt))
}

func (x *diffTx) sequence(p *bucketPair) {
	if rapid.Bool().Draw(x.t, "set") {
		v := rapid.Uint64().Draw(x.t, "sequence")
		x.equalErr("set sequence", p.ours.SetSequence(v), p.bolt.SetSequence(v))
	}
	v1, err1 := p.ours.NextSequence()
	v2, err2 := p.bolt.NextSequence()
	x.equalErr("next sequence", err1, err2)
	x.equal("next sequence", v1, v2)
	x.equal("sequence", p.ours.Sequence(), p.bolt.Sequence())
}

func (x *diffTx) read(p *bucketPair) {
	key := x.key("key")
	x.equal("get", p.ours.Get(key), p.bolt.Get(key))
	for _, n := range diffNames {
		x.equal("get name", p.ours.Get([]byte(n)), p.bolt.Get([]byte(n)))
	}
}

func (x *diffTx) cursor(p *bucketPair) { x.cursorMoves(p.ours.Cursor(), p.bolt.Cursor()) }

func (x *diffTx) cursorMoves(ours *Cursor, theirs *bolt.Cursor) {
	placed := false
	n := rapid.IntRange(1, 30).Draw(x.t, "moves")
	for i := 0; i < n; i++ {
		var k1, v1, k2, v2 []byte
		move := rapid.SampledFrom([]string{"first", "last", "seek", "next", "prev", "next", "prev"}).Draw(x.t, "move")
		switch move {
		case "first":
			k1, v1 = ours.First()
			k2, v2 = theirs.First()
		case "last":
			k1, v1 = ours.Last()
			k2, v2 = theirs.Last()
		case "seek":
			key := x.key("seek")
			k1, v1 = ours.Seek(key)
			k2, v2 = theirs.Seek(key)
		case "next":
			k1, v1 = ours.Next()
			if placed {
				k2, v2 = theirs.Next()
			}
		case "prev":
			k1, v1 = ours.Prev()
			if placed {
				k2, v2 = theirs.Prev()
			}
		}
		placed = placed || move == "first" || move == "last" || move == "seek"
		x.equal(move+" key", k1, k2)
		x.equal(move+" value", v1, v2)
	}
}

// deleteLoop walks a bucket and deletes some of it: each element must come exactly once.
func (x *diffTx) deleteLoop(p *bucketPair) {
	if !x.ours.Writable() {
		return
	}
	var want []string
	x.must(p.bolt.ForEach(func(k, _ []byte) error { want = append(want, string(k)); return nil }))
	back := rapid.Bool().Draw(x.t, "backward")
	c := p.ours.Cursor()
	first, next := c.First, c.Next
	if back {
		sort.Sort(sort.Reverse(sort.StringSlice(want)))
		first, next = c.Last, c.Prev
	}
	var got, gone []string
	for k, v := first(); k != nil; k, v = next() {
		got = append(got, string(k))
		if rapid.Bool().Draw(x.t, "delete") {
			err := c.Delete()
			if v == nil {
				x.equal("cursor delete of bucket", err, ErrIncompatibleValue)
				continue
			}
			x.must(err)
			gone = append(gone, string(k))
		}
		if rapid.IntRange(0, 9).Draw(x.t, "other write") == 0 {
			_, err := p.ours.NextSequence()
			x.must(err)
			_, err = p.bolt.NextSequence()
			x.must(err)
		}
	}
	x.equal("visited", got, want)
	for _, k := range gone {
		x.must(p.bolt.Delete([]byte(k)))
	}
}

// dumpOurs and dumpBolt write a whole database out, forwards and backwards.
func dumpOurs(tx *Tx) string {
	var sb strings.Builder
	c := tx.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		dumpOursBucket(&sb, k, tx.Bucket(k), 1)
	}
	return sb.String()
}

func dumpOursBucket(sb *strings.Builder, name []byte, b *Bucket, depth int) {
	fmt.Fprintf(sb, "%d %q seq %d\n", depth, name, b.Sequence())
	var back []string
	c := b.Cursor()
	for k, v := c.Last(); k != nil; k, v = c.Prev() {
		back = append(back, fmt.Sprintf("%q=%q %t", k, v, v == nil))
	}
	for k, v := c.First(); k != nil; k, v = c.Next() {
		line := fmt.Sprintf("%q=%q %t", k, v, v == nil)
		if last := len(back) - 1; last < 0 || back[last] != line {
			fmt.Fprintf(sb, "not so backwards: %s\n", line)
		} else {
			back = back[:last]
		}
		fmt.Fprintf(sb, "%d %s\n", depth, line)
		if v == nil {
			dumpOursBucket(sb, k, b.Bucket(k), depth+1)
		}
	}
	fmt.Fprintf(sb, "%d keys %d buckets %d\n", depth, b.Stats().KeyN, b.Stats().BucketN)
}

func dumpBolt(tx *bolt.Tx) string {
	var sb strings.Builder
	c := tx.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		dumpBoltBucket(&sb, k, tx.Bucket(k), 1)
	}
	return sb.String()
}

// dumpBoltBucket counts by walking: bbolt counts committed pages only.
func dumpBoltBucket(sb *strings.Builder, name []byte, b *bolt.Bucket, depth int) (keys, buckets int) {
	fmt.Fprintf(sb, "%d %q seq %d\n", depth, name, b.Sequence())
	buckets = 1
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		fmt.Fprintf(sb, "%d %q=%q %t\n", depth, k, v, v == nil)
		keys++
		if v == nil {
			inner, below := dumpBoltBucket(sb, k, b.Bucket(k), depth+1)
			keys, buckets = keys+inner, buckets+below
		}
	}
	fmt.Fprintf(sb, "%d keys %d buckets %d\n", depth, keys, buckets)
	return keys, buckets
}
