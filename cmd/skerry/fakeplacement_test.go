package main

import (
	"context"
	"fmt"
	"time"

	"github.com/skerrydb/skerry/proto/adaptiveplacement"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// DescribePlacement knows three datasets of tenant acme, and 2,500 of tenant many.
func (f *fakeRouter) DescribePlacement(_ context.Context, request *adminv1.DescribePlacementRequest) (*adminv1.DescribePlacementResponse, error) {
	if f.fault != nil {
		return nil, f.fault
	}
	page := request.GetPage()
	all := []*nodev1.PlacedDataset{
		{
			Tenant: "acme", Name: "checkout\x1b[2J", StdDev: 2184, Deviation: 32768,
			Rule:   &adaptiveplacement.DatasetPlacement{DatasetShardLimit: 3, TenantShardLimit: 16, LoadBalancing: adaptiveplacement.LoadBalancing_LOAD_BALANCING_ROUND_ROBIN},
			Shards: []*nodev1.PlacedShard{{Id: 4, Owner: "writer-1", Usage: 163840}, {Id: 9, Owner: "writer-2", Usage: 98304}},
		},
		{Tenant: "acme", Name: "quiet", Rule: &adaptiveplacement.DatasetPlacement{DatasetShardLimit: 1, LoadBalancing: adaptiveplacement.LoadBalancing_LOAD_BALANCING_FINGERPRINT}},
	}
	for i := range 2500 {
		all = append(all, &nodev1.PlacedDataset{
			Tenant: "many", Name: fmt.Sprintf("s%04d", i), Rule: &adaptiveplacement.DatasetPlacement{DatasetShardLimit: 1},
			Shards: []*nodev1.PlacedShard{{Id: 1, Owner: "writer-1", Usage: 10}},
		})
	}
	response := &nodev1.DescribePlacementResponse{
		NodeId: "aaaa", Since: ago(time.Hour), CreatedAt: ago(15 * time.Second), WrittenAt: ago(14 * time.Second), Bucket: "s3://profiles",
		Error: "node bbbb does not say what it counted:\nconnection refused", Rates: 2502, Dropped: 7,
	}
	for _, d := range all {
		if page.GetTenant() != "" && page.GetTenant() != d.Tenant {
			continue
		}
		response.DatasetsTotal++
		behind := d.Tenant > page.GetAfterTenant() || d.Tenant == page.GetAfterTenant() && d.Name > page.GetAfterDataset()
		switch {
		case !behind:
		case len(response.Datasets) < int(min(page.GetLimit(), 900)):
			response.Datasets = append(response.Datasets, d)
		default:
			response.More = true
		}
	}
	return &adminv1.DescribePlacementResponse{Page: response}, nil
}
