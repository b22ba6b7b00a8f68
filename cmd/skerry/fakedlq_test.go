package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	fakeObjects = "folder /data/objects"
	fakeLetter  = "dlq/7/anonymous/01JGJFGR480W3GE1R70W3GE1R7/meta.pb"
	otherLetter = "dlq/7/anon\x1b[2Jymous/01JGJFGR480W3GE1R70W3GE1R8/meta.pb"
	badLetter   = "dlq-rejected/7/anonymous/01JGJFGR480W3GE1R70W3GE1R9/meta.pb"
)

// GetDLQStatus shows two nodes, of which one has no object store; dead letters wait
// if the cluster says so.
func (f *fakeRouter) GetDLQStatus(context.Context, *adminv1.GetDLQStatusRequest) (*adminv1.GetDLQStatusResponse, error) {
	f.fakeCluster.mutex.Lock()
	defer f.fakeCluster.mutex.Unlock()
	if f.fault != nil {
		return nil, f.fault
	}
	status := &nodev1.GetDLQStatusResponse{
		Objects: fakeObjects, Interval: int64(15 * time.Second), Now: fakeNow, ListedAt: ago(time.Second), Rejected: f.letters,
		Groups: []*nodev1.DLQSweep{{GroupId: 2, StartedAt: ago(2 * time.Second), EndedAt: ago(time.Second), Met: 7, Recovered: 7}},
	}
	if f.letters {
		status.ListError = "dlq/3/: denied"
		status.Groups = append(status.Groups, &nodev1.DLQSweep{
			GroupId: 3, StartedAt: ago(2 * time.Second), EndedAt: ago(time.Second), Met: 12, Recovered: 3, Pending: 9, Oldest: ago(26 * time.Hour),
			StuckSince: ago(time.Hour), Error: "the disk\n\x1b[2Jis full",
		}, &nodev1.DLQSweep{GroupId: 4, Pending: 1, Oldest: ago(time.Minute), StuckSince: ago(time.Minute)})
		status.Failures = []*nodev1.DLQFailure{{Key: fakeLetter, Failures: 3, Error: "the disk\nis full", RetryAt: fakeNow}}
	}
	return &adminv1.GetDLQStatusResponse{Nodes: []*adminv1.NodeDLQ{
		{NodeId: nodeA, Status: status}, {NodeId: nodeB, Error: "node b has no\x1b[2J object store"},
	}}, nil
}

func (f *fakeRouter) ListDLQ(_ context.Context, request *adminv1.ListDLQRequest) (*adminv1.ListDLQResponse, error) {
	keys := []string{fakeLetter, otherLetter}
	if request.GetList().GetRejected() {
		keys = []string{badLetter}
	}
	list := &nodev1.ListDLQResponse{Objects: fakeObjects}
	for _, key := range keys {
		if key <= request.GetList().GetAfter() {
			continue
		}
		if len(list.Entries) == int(request.GetList().GetLimit()) {
			list.Next = list.Entries[len(list.Entries)-1].Key
			break
		}
		list.Entries = append(list.Entries, &nodev1.DLQEntry{Key: key, Bytes: 1234})
	}
	return &adminv1.ListDLQResponse{List: list}, nil
}

func (f *fakeRouter) GetDLQEntry(_ context.Context, request *adminv1.GetDLQEntryRequest) (*adminv1.GetDLQEntryResponse, error) {
	block := &metastorev1.BlockMeta{Id: "01JGJFGR480W3GE1R70W3GE1R7", Shard: 7, Size: 362, StringTable: []string{"", "sw-0"}, CreatedBy: 1}
	content, err := block.MarshalVT()
	if err != nil {
		return nil, err
	}
	entry := &nodev1.GetDLQEntryResponse{
		Entry: &nodev1.DLQEntry{Key: request.GetKey(), Bytes: int64(len(content)), ModifiedAt: fakeNow}, Content: content,
		Object: "segments/7/anonymous/01JGJFGR480W3GE1R70W3GE1R7/block.bin", ObjectBytes: 362,
	}
	switch request.GetKey() {
	case fakeLetter:
	case otherLetter:
		entry.Content, entry.Fault, entry.Footer = []byte("x"), "not a block's\x1b[2J metadata", content
	case badLetter:
		entry.Content, entry.Fault, entry.ObjectBytes = []byte("x"), "not a block's metadata", -1
	default:
		return nil, status.Error(codes.NotFound, "object not found: it may be recovered by now")
	}
	return &adminv1.GetDLQEntryResponse{Entry: entry}, nil
}

// fakeDLQPage is what one call changes of three rejected entries.
func fakeDLQPage(keys []string, after string) (entries uint64, next string, faults []*nodev1.DLQFault) {
	if len(keys) == 0 && after == "" {
		return 2, badLetter, nil
	}
	for _, key := range keys {
		if !strings.HasPrefix(key, "dlq-rejected/") {
			faults = append(faults, &nodev1.DLQFault{Key: key, Error: "only rejected\nentries"})
			continue
		}
		entries++
	}
	return max(entries, uint64(1-min(1, len(keys)))), "", faults
}

func (f *fakeRouter) RetryDLQ(_ context.Context, request *adminv1.RetryDLQRequest) (*adminv1.RetryDLQResponse, error) {
	retry, response := request.GetRetry(), &adminv1.RetryDLQResponse{Outcome: &nodev1.RetryDLQResponse{}}
	if retry.GetAll() || len(retry.GetKeys()) > 0 {
		response.Outcome.Moved, response.Outcome.Next, _ = fakeDLQPage(retry.GetKeys(), retry.GetAfter())
	}
	if slices.Contains(retry.GetKeys(), badLetter) {
		response.SilentNodes = []string{fmt.Sprintf("%s: connection\nrefused", nodeB)}
	}
	if response.Outcome.Next == "" && !retry.GetDryRun() {
		response.Nodes, response.Groups = 1, 3
	}
	return response, nil
}

func (f *fakeRouter) PurgeDLQ(_ context.Context, request *adminv1.PurgeDLQRequest) (*adminv1.PurgeDLQResponse, error) {
	outcome := &nodev1.PurgeDLQResponse{}
	outcome.Deleted, outcome.Next, outcome.Faults = fakeDLQPage(request.GetPurge().GetKeys(), request.GetPurge().GetAfter())
	outcome.Bytes = 100 * outcome.Deleted
	return &adminv1.PurgeDLQResponse{Outcome: outcome}, nil
}
