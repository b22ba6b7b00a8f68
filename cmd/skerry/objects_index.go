package main

import (
	"context"
	"errors"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/skerrydb/skerry/cmd/internal/rebuild"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// clusterIndex is a cluster's index, asked as Pyroscope asks.
type clusterIndex struct {
	client  *client
	index   metastorev1.IndexServiceClient
	queries metastorev1.MetadataQueryServiceClient
	tenants metastorev1.TenantServiceClient
	tenant  string // the only one of interest; empty for all
}

var _ rebuild.Catalog = (*clusterIndex)(nil)

func newClusterIndex(c *client, conn *grpc.ClientConn, tenant string) *clusterIndex {
	return &clusterIndex{c, metastorev1.NewIndexServiceClient(conn), metastorev1.NewMetadataQueryServiceClient(conn), metastorev1.NewTenantServiceClient(conn), tenant}
}

// A call that fails for reasons that pass is made so often, some seconds in all.
const (
	indexAttempts  = 6
	indexFirstWait = 100 * time.Millisecond
)

// ask makes a call again that failed for reasons that pass. All of them may be
// repeated.
func ask[Request, Response any](ctx context.Context, c *client, method func(context.Context, *Request, ...grpc.CallOption) (*Response, error), request *Request) (*Response, error) {
	for attempt := 1; ; attempt++ {
		response, err := call(ctx, c, method, request)
		var failed *callError
		if err == nil || !errors.As(err, &failed) || attempt == indexAttempts {
			return response, err
		}
		switch failed.status.Code() {
		case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted:
		default:
			return nil, err
		}
		timer := time.NewTimer(indexFirstWait << attempt)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, errInterrupted
		case <-timer.C:
		}
	}
}

// Lookup is rebuild.Index's.
func (i *clusterIndex) Lookup(ctx context.Context, tenant string, shard uint32, ids []string) ([]*metastorev1.BlockMeta, error) {
	answer, err := ask(ctx, i.client, i.index.GetBlockMetadata, &metastorev1.GetBlockMetadataRequest{
		Blocks: &metastorev1.BlockList{Tenant: tenant, Shard: shard, Blocks: ids},
	})
	return answer.GetBlocks(), err
}

// Add is rebuild.Index's.
func (i *clusterIndex) Add(ctx context.Context, block *metastorev1.BlockMeta) error {
	_, err := ask(ctx, i.client, i.index.AddBlock, &metastorev1.AddBlockRequest{Block: block})
	var failed *callError
	if errors.As(err, &failed) && failed.status.Code() == codes.InvalidArgument {
		return &rebuild.RefusedError{Reason: failed.short()}
	}
	return err
}

// Blocks is rebuild.Catalog's. Each tenant is asked for, a stretch of time after
// the other.
func (i *clusterIndex) Blocks(ctx context.Context) iter.Seq2[*metastorev1.BlockMeta, error] {
	return func(yield func(*metastorev1.BlockMeta, error) bool) {
		tenants := []string{i.tenant}
		if i.tenant == "" {
			answer, err := ask(ctx, i.client, i.tenants.GetTenants, &metastorev1.GetTenantsRequest{})
			if err != nil {
				yield(nil, err)
				return
			}
			tenants = answer.GetTenantIds()
		}
		for _, tenant := range tenants {
			if !i.blocksOf(ctx, tenant, yield) {
				return
			}
		}
	}
}

// Stretches of time that queries ask for: the first, and the shortest. They get
// longer while answers are small, and shorter when one fails.
const (
	stretchFirst = 6 * time.Hour
	stretchMin   = time.Second
	stretchMax   = 1 << 62 // milliseconds
	fewBlocks    = 2000
)

func (i *clusterIndex) blocksOf(ctx context.Context, tenant string, yield func(*metastorev1.BlockMeta, error) bool) bool {
	answer, err := ask(ctx, i.client, i.tenants.GetTenant, &metastorev1.GetTenantRequest{TenantId: tenant})
	if err != nil {
		yield(nil, err)
		return false
	}
	stats := answer.GetStats()
	if !stats.GetDataIngested() {
		return true
	}
	stretch, from, newest := stretchFirst.Milliseconds(), stats.GetOldestProfileTime(), stats.GetNewestProfileTime()
	for from <= newest {
		to := newest
		// Times may lie as far apart as numbers do: their difference and sum may not fit.
		if uint64(newest)-uint64(from) >= uint64(stretch) {
			to = from + stretch - 1
		}
		found, err := ask(ctx, i.client, i.queries.QueryMetadata, &metastorev1.QueryMetadataRequest{
			TenantId: []string{tenant}, StartTime: from, EndTime: to, Query: "{}",
		})
		if err != nil && ctx.Err() == nil && stretch > stretchMin.Milliseconds() {
			stretch = max(stretchMin.Milliseconds(), stretch/8)
			continue
		}
		if err != nil {
			yield(nil, err)
			return false
		}
		for _, block := range found.GetBlocks() {
			if !yield(block, nil) {
				return false
			}
		}
		if to == newest {
			break
		}
		if from = to + 1; len(found.GetBlocks()) < fewBlocks {
			stretch = min(2*stretch, stretchMax)
		}
	}
	return true
}
