package workload

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/skerrydb/skerry/cmd/internal/clustertest/history"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// datumLabel holds the name of a datum.
const datumLabel = "datum"

// Lanes 0 to Tenants-1 are tenants whose data come in segments, a datum of each in
// every segment; those from Tenants on have blocks of their own.

func tenantName(lane uint32) string { return fmt.Sprintf("tenant-%d", lane) }

func datumName(d history.Datum) string { return fmt.Sprintf("%d/%d", d.Lane, d.Serial) }

func parseDatum(name string) (history.Datum, error) {
	lane, serial, _ := strings.Cut(name, "/")
	l, err := strconv.ParseUint(lane, 10, 32)
	if err != nil {
		return history.Datum{}, fmt.Errorf("datum %q: %w", name, err)
	}
	s, err := strconv.ParseUint(serial, 10, 32)
	if err != nil {
		return history.Datum{}, fmt.Errorf("datum %q: %w", name, err)
	}
	return history.Datum{Lane: uint32(l), Serial: uint32(s)}, nil
}

// addition is a block on its way, and what it holds.
type addition struct {
	block *metastorev1.BlockMeta
	data  []history.Datum
	// The data are in the index together: in the place of a stream, or of a tenant's
	// shard.
	point uint32
	tries int
}

// millisecond is a serial's own.
func (w *Workload) millisecond(serial uint32) int64 { return w.base + int64(serial) }

func blockID(millisecond int64, seed string) string {
	var id ulid.ULID
	if err := id.SetTime(uint64(millisecond)); err != nil {
		panic(err) // a time of this century
	}
	sum := sha256.Sum256([]byte(seed))
	copy(id[6:], sum[:])
	return id.String()
}

// shard spreads serials over shards, numbered from 1.
func (w *Workload) shard(serial uint32) uint32 { return 1 + serial%uint32(w.options.Shards) }

// segment is the block with a serial's data of all tenants without own blocks.
func (w *Workload) segment(serial uint32) *addition {
	at := w.millisecond(serial)
	block := &metastorev1.BlockMeta{
		FormatVersion: 1, Id: blockID(at, fmt.Sprintf("segment %d", serial)), Shard: w.shard(serial), MinTime: at, MaxTime: at,
		Size: 100, StringTable: []string{"", "writer", "service", datumLabel}, CreatedBy: 1,
	}
	a := &addition{block: block, point: block.Shard}
	for lane := range uint32(w.options.Tenants) {
		a.put(history.Datum{Lane: lane, Serial: serial}, at)
	}
	return a
}

// tenantBlock is the block with a serial's datum of a tenant.
func (w *Workload) tenantBlock(lane, serial uint32) *addition {
	at := w.millisecond(serial)
	block := &metastorev1.BlockMeta{
		FormatVersion: 1, Id: blockID(at, fmt.Sprintf("tenant %d, %d", lane, serial)), Shard: w.shard(serial), MinTime: at, MaxTime: at,
		CompactionLevel: 1, Size: 100, StringTable: []string{"", tenantName(lane), "service", datumLabel}, Tenant: 1,
	}
	a := &addition{block: block, point: block.Shard}
	a.put(history.Datum{Lane: lane, Serial: serial}, at)
	return a
}

func (a *addition) put(datum history.Datum, millisecond int64) {
	tenant := int32(len(a.block.StringTable))
	a.block.StringTable = append(a.block.StringTable, tenantName(datum.Lane), datumName(datum))
	a.block.Datasets = append(a.block.Datasets, &metastorev1.Dataset{
		Tenant: tenant, Name: 2, MinTime: millisecond, MaxTime: millisecond, Size: 10, Labels: []int32{1, 3, tenant + 1},
	})
	a.data = append(a.data, datum)
}
