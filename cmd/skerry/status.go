package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
)

func statusCommand() command {
	return command{
		name: "status", summary: "show the cluster's nodes, groups and ranges",
		detail: `The answering router asks every node, and the directory's leader who lives: this is
shown without the latter, too. Ranges are shown as the first four digits
of their bounds in the keyspaces of tenants and streams; ~ stands for digits left
out. The JSON output has everything in full.
`,
		setup: setUpStatus,
	}
}

func setUpStatus(set *flag.FlagSet) action {
	c := clientFlags(set)
	return func(ctx context.Context, std streams, args []string) error {
		if len(args) > 0 {
			return flags.Usagef("unexpected argument %q", args[0])
		}
		conn, err := c.dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		seen := make(chan sight, 1)
		go func() { seen <- seeCluster(ctx, c, conn) }()
		answer, err := call(ctx, c, adminv1.NewAdminServiceClient(conn).Status, &adminv1.StatusRequest{})
		if err != nil {
			return err
		}
		view := newStatusView(answer)
		view.addLiveness(<-seen)
		if c.format.Value == formatJSON {
			return writeJSON(std.out, view)
		}
		return writeStatus(std.out, view)
	}
}

// The directory is not waited for any longer than this: status is what people
// ask for when things are broken.
const sightTimeout = 3 * time.Second

// sight is what the directory's leader sees, or the router without it and why.
type sight struct {
	cluster
	fault string
}

func seeCluster(ctx context.Context, c *client, conn grpc.ClientConnInterface) sight {
	hasty := *c
	hasty.timeout = min(c.timeout, sightTimeout)
	state, err := askCluster(ctx, &hasty, conn)
	var failed *callError
	switch {
	case err == nil && !state.whole():
		return sight{cluster: state, fault: "its leader is not reached; alive is whom the router reaches"}
	case err == nil:
		return sight{cluster: state}
	case errors.As(err, &failed):
		return sight{fault: failed.short()}
	}
	return sight{fault: err.Error()}
}

func writeStatus(w io.Writer, view statusView) error {
	_, err := fmt.Fprintf(w, "cluster %s, map version %d, router version %s\n\n",
		printable(view.ClusterID), view.MapVersion, printable(view.Version))
	if err != nil {
		return err
	}
	if view.DirectoryError != "" {
		if _, err := fmt.Fprintf(w, "the directory does not answer: %s\n\n", oneLine(view.DirectoryError)); err != nil {
			return err
		}
	}
	nodes := newGrid("NODE", "ZONE", "STATE", "ALIVE", "API", "RAFT", "ERROR")
	for _, n := range view.Nodes {
		nodes.row(n.ID, n.Zone, n.State, n.aliveText(), n.APIAddress, n.RaftAddress, oneLine(n.Error))
	}
	if err := nodes.write(w); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	replicas := newGrid("GROUP", "NODE", "REPLICA", "LEADER", "TERM", "APPLIED", "BLOCKS", "SIZE", "RANGES", "ERROR")
	for _, r := range view.Replicas {
		if !r.Reported {
			replicas.row(r.GroupID, short(r.NodeID), r.ReplicaID, "", "", "", "", "", "", oneLine(r.Error))
			continue
		}
		replicas.row(r.GroupID, short(r.NodeID), r.ReplicaID, r.leadership(), r.Term, r.AppliedIndex,
			r.Blocks, sizeText(r.ObjectBytes), spans(r.Ranges), oneLine(r.Error))
	}
	return replicas.write(w)
}

// short cuts a node's id to what tells nodes apart at a glance.
func short(id string) string {
	const digits = 8
	if len(id) > digits {
		return id[:digits]
	}
	return id
}
