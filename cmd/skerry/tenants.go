package main

import (
	"context"
	"flag"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/cmd/internal/blockview"
	"github.com/skerrydb/skerry/cmd/internal/flags"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

// Tenants whose statistics are asked for at a time.
const tenantCallsMax = 16

func tenantsCommand() command {
	return command{
		name: "tenants", summary: "list the tenants that have data",
		setup: setUpTenants,
	}
}

func setUpTenants(set *flag.FlagSet) action {
	c := clientFlags(set)
	withStats := set.Bool("stats", false, "ask for the times of each tenant's oldest and newest profile")
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		answer, err := call(ctx, c, metastorev1.NewTenantServiceClient(conn).GetTenants, &metastorev1.GetTenantsRequest{})
		if err != nil {
			return err
		}
		tenants := make([]tenant, len(answer.GetTenantIds()))
		for i, id := range answer.GetTenantIds() {
			tenants[i].Tenant = id
		}
		if *withStats {
			if err := askStats(ctx, c, conn, tenants); err != nil {
				return err
			}
		}
		return writeTenants(std.out, c.format.Value, tenants, *withStats)
	}
}

type tenant struct {
	Tenant string       `json:"tenant"`
	Stats  *tenantStats `json:"stats,omitempty"`
}

type tenantStats struct {
	DataIngested bool   `json:"data_ingested"`
	Oldest       string `json:"oldest_profile_time"`
	OldestMS     int64  `json:"oldest_profile_time_ms"`
	Newest       string `json:"newest_profile_time"`
	NewestMS     int64  `json:"newest_profile_time_ms"`
}

// askStats fills in the statistics of all tenants, or fails with the first error.
func askStats(ctx context.Context, c *client, conn grpc.ClientConnInterface, tenants []tenant) error {
	calls, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	service := metastorev1.NewTenantServiceClient(conn)
	next := make(chan *tenant)
	var workers sync.WaitGroup
	for range min(tenantCallsMax, len(tenants)) {
		workers.Go(func() {
			for t := range next {
				answer, err := call(calls, c, service.GetTenant, &metastorev1.GetTenantRequest{TenantId: t.Tenant})
				if err != nil {
					cancel(err) // the first cause stays
					continue
				}
				t.Stats = newTenantStats(answer.GetStats())
			}
		})
	}
	for i := range tenants {
		if calls.Err() != nil {
			break
		}
		next <- &tenants[i]
	}
	close(next)
	workers.Wait()
	if ctx.Err() != nil {
		return errInterrupted
	}
	return context.Cause(calls)
}

func newTenantStats(stats *metastorev1.TenantStats) *tenantStats {
	return &tenantStats{
		DataIngested: stats.GetDataIngested(),
		Oldest:       blockview.Time(stats.GetOldestProfileTime()),
		OldestMS:     stats.GetOldestProfileTime(),
		Newest:       blockview.Time(stats.GetNewestProfileTime()),
		NewestMS:     stats.GetNewestProfileTime(),
	}
}

func writeTenants(w io.Writer, format string, tenants []tenant, withStats bool) error {
	if format == formatJSON {
		return writeJSON(w, struct {
			Tenants []tenant `json:"tenants"`
		}{tenants})
	}
	if !withStats {
		table := newGrid("TENANT")
		for _, t := range tenants {
			table.row(t.Tenant)
		}
		return table.write(w)
	}
	table := newGrid("TENANT", "OLDEST PROFILE", "NEWEST PROFILE")
	for _, t := range tenants {
		if t.Stats.DataIngested {
			table.row(t.Tenant, t.Stats.Oldest, t.Stats.Newest)
		} else {
			table.row(t.Tenant, "", "")
		}
	}
	return table.write(w)
}
