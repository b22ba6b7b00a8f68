package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	"github.com/skerrydb/skerry/proto/adaptiveplacement"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func placementCommand() command {
	return command{
		name: "placement show", summary: "show over how many shards Pyroscope spreads each dataset, and why",
		detail: `The directory's leader makes rules of what is added, and writes them into the bucket, where
Pyroscope's distributors read them. SHARDS is what a dataset may have, IN where it came to lately,
USAGE what comes of it in a second; one without usage keeps its rule for a while. DEVIATION tells
how unevenly the shards are loaded: the true one, and the published one if it is another.
`,
		setup: setUpPlacement,
	}
}

// placementLimit bounds what is listed altogether.
const placementLimit = 100_000

func setUpPlacement(set *flag.FlagSet) action {
	c := clientFlags(set)
	tenant := set.String("tenant", "", "`TENANT` list only this tenant's datasets; empty for all")
	limit := set.Uint("limit", 1000, fmt.Sprintf("`N` how many datasets to list, 1 to %d", placementLimit))
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		if *limit < 1 || *limit > placementLimit {
			return flags.Usagef("-limit is %d: want 1 to %d", *limit, placementLimit)
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		answer, err := askPlacement(ctx, c, conn, *tenant, int(*limit))
		if err != nil {
			return err
		}
		return show(std, c, newPlacementView(answer), func(w io.Writer) error { return writePlacement(w, answer) }, nil)
	}
}

// askPlacement reads pages until there is no more to list. Rules that are made anew
// meanwhile show in the later ones.
func askPlacement(ctx context.Context, c *client, conn *grpc.ClientConn, tenant string, limit int) (*nodev1.DescribePlacementResponse, error) {
	admin := adminv1.NewAdminServiceClient(conn)
	page := &nodev1.DescribePlacementRequest{Tenant: tenant}
	var all *nodev1.DescribePlacementResponse
	for {
		page.Limit = uint32(min(limit-len(all.GetDatasets()), 1000))
		response, err := call(ctx, c, admin.DescribePlacement, &adminv1.DescribePlacementRequest{Page: page})
		if err != nil {
			return nil, err
		}
		got := response.GetPage()
		if got == nil {
			got = &nodev1.DescribePlacementResponse{}
		}
		if all != nil {
			got.Datasets = append(all.Datasets, got.Datasets...)
		}
		last := len(got.Datasets)
		if !got.GetMore() || last >= limit || last == len(all.GetDatasets()) {
			return got, nil
		}
		all = got
		page.AfterTenant, page.AfterDataset = got.Datasets[last-1].GetTenant(), got.Datasets[last-1].GetName()
	}
}

// placementView is the answer in the order of fields that JSON output promises.
type placementView struct {
	Node      string              `json:"node_id"`
	Bucket    string              `json:"bucket"`
	Since     string              `json:"since,omitempty"`
	CreatedAt string              `json:"created_at,omitempty"`
	WrittenAt string              `json:"written_at,omitempty"`
	Error     string              `json:"error,omitempty"`
	Rates     uint64              `json:"rates"`
	Dropped   uint64              `json:"dropped"`
	Total     uint64              `json:"datasets_total"`
	Datasets  []placedDatasetView `json:"datasets"`
	Truncated bool                `json:"truncated"`
}

type placedDatasetView struct {
	Tenant        string            `json:"tenant"`
	Dataset       string            `json:"dataset"`
	Shards        uint64            `json:"dataset_shard_limit"`
	TenantShards  uint64            `json:"tenant_shard_limit"`
	LoadBalancing string            `json:"load_balancing"`
	Usage         uint64            `json:"usage_bytes_per_second"`
	Deviation     uint64            `json:"deviation_bytes_per_second"`
	Published     uint64            `json:"std_dev_published"`
	ByShard       []placedShardView `json:"shards"`
}

type placedShardView struct {
	Shard uint32 `json:"shard"`
	Owner string `json:"owner"`
	Usage uint64 `json:"usage_bytes_per_second"`
}

func balancingText(b adaptiveplacement.LoadBalancing) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(b.String(), "LOAD_BALANCING_")), "_", "-")
}

func usageOf(d *nodev1.PlacedDataset) (usage uint64) {
	for _, shard := range d.GetShards() {
		usage += shard.GetUsage()
	}
	return usage
}

func newPlacementView(answer *nodev1.DescribePlacementResponse) placementView {
	view := placementView{
		Node: answer.GetNodeId(), Bucket: answer.GetBucket(), Since: moment(answer.GetSince()), CreatedAt: moment(answer.GetCreatedAt()),
		WrittenAt: moment(answer.GetWrittenAt()), Error: answer.GetError(), Rates: answer.GetRates(), Dropped: answer.GetDropped(),
		Total: answer.GetDatasetsTotal(), Datasets: []placedDatasetView{}, Truncated: answer.GetMore(),
	}
	for _, d := range answer.GetDatasets() {
		row := placedDatasetView{
			Tenant: d.GetTenant(), Dataset: d.GetName(), Shards: d.GetRule().GetDatasetShardLimit(), TenantShards: d.GetRule().GetTenantShardLimit(),
			LoadBalancing: balancingText(d.GetRule().GetLoadBalancing()), Usage: usageOf(d), Deviation: d.GetDeviation(), Published: d.GetStdDev(),
			ByShard: []placedShardView{},
		}
		for _, shard := range d.GetShards() {
			row.ByShard = append(row.ByShard, placedShardView{shard.GetId(), shard.GetOwner(), shard.GetUsage()})
		}
		view.Datasets = append(view.Datasets, row)
	}
	return view
}

func writePlacement(w io.Writer, answer *nodev1.DescribePlacementResponse) error {
	facts := [][2]string{
		{"node", answer.GetNodeId()}, {"bucket", answer.GetBucket()},
		{"rules made", cmp.Or(moment(answer.GetCreatedAt()), "not yet")}, {"written", cmp.Or(moment(answer.GetWrittenAt()), "not yet")},
		{"datasets", thousands(answer.GetDatasetsTotal())}, {"left out", plural(answer.GetDropped(), "sample")},
	}
	if fault := answer.GetError(); fault != "" {
		facts = append(facts, [2]string{"problem", oneLine(fault)})
	}
	for _, fact := range facts {
		if _, err := fmt.Fprintf(w, "%-12s%s\n", fact[0]+":", printable(fact[1])); err != nil {
			return err
		}
	}
	table := newGrid("TENANT", "DATASET", "SHARDS", "OF TENANT", "BALANCING", "IN", "USAGE", "DEVIATION", "PUBLISHED")
	for _, d := range answer.GetDatasets() {
		usage, deviation, published, ofTenant := "", "", "", ""
		if len(d.GetShards()) > 0 {
			usage, deviation = sizeText(usageOf(d)), sizeText(d.GetDeviation())
			if d.GetStdDev() != d.GetDeviation() {
				published = sizeText(d.GetStdDev())
			}
		}
		if n := d.GetRule().GetTenantShardLimit(); n > 0 {
			ofTenant = thousands(n)
		}
		table.row(d.GetTenant(), d.GetName(), thousands(d.GetRule().GetDatasetShardLimit()), ofTenant,
			balancingText(d.GetRule().GetLoadBalancing()), len(d.GetShards()), usage, deviation, published)
	}
	return writeAll(w, titled("datasets", table), func(w io.Writer) error {
		if !answer.GetMore() {
			return nil
		}
		_, err := fmt.Fprintf(w, "\n%s of %s are listed; see more with -limit, or -tenant\n", thousands(uint64(len(answer.GetDatasets()))), thousands(answer.GetDatasetsTotal()))
		return err
	})
}
