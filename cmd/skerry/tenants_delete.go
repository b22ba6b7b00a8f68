package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

func tenantsDeleteCommand() command {
	return command{
		name: "tenants delete", args: "TENANT", summary: "delete what a tenant has stored so far",
		detail: "The tenant's blocks and its part of segments disappear from all answers; compaction-workers delete\n" +
			"the objects later. What comes afterwards is served. There is no way back. The server must be\n" +
			"started with -tenants.allow-delete.\n",
		setup: setUpTenantsDelete,
	}
}

func setUpTenantsDelete(set *flag.FlagSet) action {
	c := clientFlags(set)
	sure := set.String("confirm", "", "`TENANT` once more, to show that it is meant")
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return flags.Usagef("give one tenant")
		}
		if *sure != args[0] {
			return flags.Usagef("this cannot be undone: to delete all data of %q add -confirm %s", args[0], args[0])
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := call(ctx, c, metastorev1.NewTenantServiceClient(conn).DeleteTenant, &metastorev1.DeleteTenantRequest{TenantId: args[0]}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(std.out, "deleted %s\n", args[0])
		return err
	}
}
