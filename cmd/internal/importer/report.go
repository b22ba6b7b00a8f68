package importer

// listedMax bounds what is named one by one.
const listedMax = 20

// Report is what an import found and did.
type Report struct {
	Source     SourceReport     `json:"source"`
	Blocks     BlocksReport     `json:"blocks"`
	Verified   *VerifyReport    `json:"verified,omitempty"`
	Tombstones TombstonesReport `json:"tombstones"`
	// What the next sweeps of retention would remove, of all that the cluster holds.
	Expiring ExpiringReport `json:"retention_removes_next"`
	// Groups whose compaction the import paused and did not resume; and those that
	// were paused before, and stay so.
	PausedHere   []uint64 `json:"paused_by_import,omitempty"`
	PausedBefore []uint64 `json:"paused_before,omitempty"`
	Seconds      float64  `json:"seconds"`
}

// SourceReport is what the source holds.
type SourceReport struct {
	Name string `json:"name"`
	// Of the last Raft entry; 0 if unknown.
	Term  uint64 `json:"term"`
	Index uint64 `json:"index"`
	// Blocks to import, and the bytes of their objects.
	Blocks      uint64 `json:"blocks"`
	ObjectBytes uint64 `json:"object_bytes"`
	// Blocks that a tombstone names: their data is in others.
	BuriedBlocks uint64 `json:"blocks_under_tombstones"`
	Partitions   uint64 `json:"partitions"`
	Tenants      uint64 `json:"tenants"`
	Shards       uint64 `json:"shards"`
	EmptyShards  uint64 `json:"empty_shards"`
	// Rows that cannot be used, and the first of them.
	DamagedRows uint64   `json:"damaged_rows"`
	Damage      []string `json:"damage,omitempty"`
	// The queue arises anew as blocks are added.
	Queued          uint64 `json:"queue_entries"`
	QueuedStale     uint64 `json:"queue_entries_without_block"`
	BlockTombstones uint64 `json:"tombstones_of_blocks"`
	ShardTombstones uint64 `json:"tombstones_of_shards"`
}

// BlocksReport is what became of the source's blocks.
type BlocksReport struct {
	Added uint64 `json:"added"`
	// Were in the cluster before.
	Known   uint64  `json:"known"`
	Refused uint64  `json:"refused"`
	Seconds float64 `json:"seconds"`
}

// TombstonesReport is what became of the source's tombstones.
type TombstonesReport struct {
	Added uint64 `json:"added"`
	Held  uint64 `json:"held"`
	// Left out: they stand for objects of blocks that are in the source or the cluster.
	Live    uint64 `json:"left_out"`
	Refused uint64 `json:"refused"`
}

// ExpiringReport counts what is past its retention period.
type ExpiringReport struct {
	Shards uint64 `json:"shards"`
	Blocks uint64 `json:"blocks"`
}

// VerifyReport compares the source with the cluster.
type VerifyReport struct {
	Blocks    uint64 `json:"blocks"`
	Equal     uint64 `json:"equal"`
	Missing   uint64 `json:"missing"`
	Different uint64 `json:"different"`
	// Blocks of the cluster that the source does not have.
	Others uint64 `json:"others"`
	// Sums of all blocks' checksums, hexadecimal.
	SourceSum  string `json:"source_checksum"`
	ClusterSum string `json:"cluster_checksum"`
	// Partitions, tenants and shards compared, those that differ, and the first of them.
	Places       uint64        `json:"places"`
	PlacesDiffer uint64        `json:"places_that_differ"`
	Differences  []PlaceReport `json:"differences,omitempty"`
}

// PlaceReport compares the blocks of a partition, tenant and shard.
type PlaceReport struct {
	Place      string `json:"place"`
	Blocks     uint64 `json:"blocks"`
	Missing    uint64 `json:"missing"`
	Different  uint64 `json:"different"`
	SourceSum  string `json:"source_checksum"`
	ClusterSum string `json:"cluster_checksum"`
}

func newReport(source string) *Report { return &Report{Source: SourceReport{Name: source}} }
