package kv

import (
	"testing"

	"github.com/skerrydb/skerry/storage/kv/boltrows"
)

// overBolt has openTestEngine put rows into bbolt. Tests run one after the other.
var overBolt bool

// openTestEngine opens an engine in a folder of opts.FS, or, over bbolt, in one of the system's.
func openTestEngine(dir string, real func() string, opts EngineOptions) (*Engine, error) {
	if !overBolt {
		return OpenEngine(dir, opts)
	}
	store, err := boltrows.Open(real(), boltrows.Options{MapBytes: 64 << 20, ReplaceBytes: 1 << 10})
	if err != nil {
		return nil, err
	}
	return EngineOver(store, dir, EngineOptions{Durability: opts.Durability})
}

// TestOverBolt repeats over bbolt the tests that are about buckets, cursors and transactions, and not about
// Pebble's files. Rows there have keys of 32 KB at most, with their whole path: TestLargeValues has longer ones.
func TestOverBolt(t *testing.T) {
	overBolt = true
	defer func() { overBolt = false }()
	for name, test := range map[string]func(*testing.T){
		"Differential":              TestDifferential,
		"NamespacesAreApart":        TestNamespacesAreApart,
		"WritersOfNamespacesApart":  TestWritersOfNamespacesAreApart,
		"CloseWaitsForTransactions": TestEngineCloseWaitsForTransactions,
		"Isolation":                 TestIsolation,
		"TxTooLarge":                TestTxTooLarge,
		"MoveTooLarge":              TestMoveTooLarge,
		"ManyHandles":               TestManyHandles,
		"BucketCacheFollowsCommits": TestBucketCacheFollowsCommits,
		"RestoreRoundTrip":          TestRestoreRoundTrip,
		"RestoreKeepsIDsRising":     TestRestoreKeepsIDsRising,
		"RestorePassesReadErrors":   TestRestorePassesReadErrors,
		"RestoreAmongWriters":       TestRestoreAmongWriters,
		"ForEach":                   TestForEach,
		"StreamRefusesNonsense":     TestStreamRefusesNonsense,
		"WriteToPassesWriteErrors":  TestWriteToPassesWriteErrors,
		"UpdateRollsBack":           TestUpdateRollsBack,
		"ManagedTransactionRefuses": TestManagedTransactionRefusesToEnd,
		"OnCommit":                  TestOnCommit,
		"ClosedTransaction":         TestClosedTransaction,
		"ReadOnlyTransaction":       TestReadOnlyTransaction,
		"Batch":                     TestBatch,
		"SlicesStayValid":           TestSlicesStayValid,
		"EmptyValues":               TestEmptyValues,
		"ManyCursors":               TestManyCursors,
		"CursorAfterWrites":         TestCursorAfterWrites,
		"MoveBucketChecks":          TestMoveBucketChecks,
		"MoveKeepsChanges":          TestMoveKeepsChanges,
		"DeadHandles":               TestDeadHandles,
		"ReadersDoNotBlock":         TestReadersDoNotBlock,
		"ManyDeletedRanges":         TestManyDeletedRanges,
		"Lending":                   TestLending,
	} {
		t.Run(name, test)
	}
}
