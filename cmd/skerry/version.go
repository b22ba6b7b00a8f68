package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/skerrydb/skerry/cmd/internal/build"
	"github.com/skerrydb/skerry/cmd/internal/flags"
)

func versionCommand() command {
	return command{
		name: "version", summary: "tell what this binary was built from",
		setup: func(*flag.FlagSet) action {
			return func(_ context.Context, std streams, args []string) error {
				if len(args) > 0 {
					return flags.Usagef("unexpected argument %q", args[0])
				}
				_, err := fmt.Fprintln(std.out, build.Read())
				return err
			}
		},
	}
}
