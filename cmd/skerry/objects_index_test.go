package main

import (
	"context"
	"flag"
	"math"
	"testing"
	"time"

	"google.golang.org/grpc"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// widely answers as a cluster whose blocks lie at both ends of time.
type widely struct {
	metastorev1.TenantServiceClient
	metastorev1.MetadataQueryServiceClient
	asked int
	found map[int64]int
}

func (w *widely) GetTenant(context.Context, *metastorev1.GetTenantRequest, ...grpc.CallOption) (*metastorev1.GetTenantResponse, error) {
	return &metastorev1.GetTenantResponse{Stats: &metastorev1.TenantStats{DataIngested: true, OldestProfileTime: math.MinInt64, NewestProfileTime: math.MaxInt64}}, nil
}

func (w *widely) QueryMetadata(ctx context.Context, request *metastorev1.QueryMetadataRequest, _ ...grpc.CallOption) (*metastorev1.QueryMetadataResponse, error) {
	w.asked++
	for at := range w.found {
		if request.GetStartTime() <= at && at <= request.GetEndTime() {
			w.found[at]++
		}
	}
	return &metastorev1.QueryMetadataResponse{}, ctx.Err()
}

// Times are the writers', and may be as far apart as numbers are.
func TestBlocksOfAllTimes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cluster := &widely{found: map[int64]int{math.MinInt64: 0, -1: 0, 0: 0, time.Now().UnixMilli(): 0, math.MaxInt64: 0}}
	index := &clusterIndex{client: clientFlags(flag.NewFlagSet("test", flag.ContinueOnError)), queries: cluster, tenants: cluster, tenant: "acme"}
	for _, err := range index.Blocks(ctx) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for at, times := range cluster.found {
		if times != 1 {
			t.Errorf("%d was asked for %d times", at, times)
		}
	}
	if cluster.asked > 100 {
		t.Errorf("%d queries", cluster.asked)
	}
}
