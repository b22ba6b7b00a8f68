package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func rangesSplitCommand() command {
	return command{
		name: "ranges split", args: "RANGE", summary: "make two ranges of one",
		detail: `Both stay with the group. Without -at or -tenant the middle is where the second
begins. -at takes the first digits of a point: 8 is 8000000000000000. With -tenant the
second begins with the tenant's data, or with that of one data shard; :SHARD alone
means the shard's segments, in a range of streams. What follows the tenant stays with
it, until its end is split off, too.

` + changeHelp,
		setup: setUpRangesSplit,
	}
}

func setUpRangesSplit(set *flag.FlagSet) action {
	ch := changeFlags(set)
	at := set.String("at", "", "`HEX` first point of the second range")
	tenant := set.String("tenant", "", "`NAME[:SHARD]` whose data the second range begins with")
	return func(ctx context.Context, std streams, args []string) error {
		id, err := oneID(args, "range", "skerry ranges")
		if err != nil {
			return err
		}
		if *at != "" && *tenant != "" {
			return flags.Usagef("give -at or -tenant, not both")
		}
		point, err := parsePoint(*at)
		if err != nil {
			return err
		}
		keyspace, tenantPoint, err := parseTenantPoint(*tenant)
		if err != nil {
			return err
		}
		return ch.run(ctx, std, func(ask *asker) (*wish, error) {
			if *tenant != "" {
				state, err := ask.cluster()
				if err != nil {
					return nil, err
				}
				if err := holdsPoint(state, id, keyspace, tenantPoint, *tenant); err != nil {
					return nil, err
				}
				point = tenantPoint
			}
			return &wish{
				action: func(request *nodev1.OperateRequest) {
					request.Action = &nodev1.OperateRequest_Split{Split: &nodev1.SplitAction{RangeId: id, At: point}}
				},
				left: operationLeft, watch: "skerry operations",
			}, nil
		})
	}
}

// parsePoint reads the first digits of a point; 0 for none.
func parsePoint(digits string) (uint64, error) {
	if digits == "" {
		return 0, nil
	}
	hex := strings.TrimPrefix(digits, "0x")
	point := uint64(0)
	if len(hex) <= 16 {
		hex += strings.Repeat("0", 16-len(hex))
		if parsed, err := strconv.ParseUint(hex, 16, 64); err == nil {
			point = parsed
		}
	}
	if point == 0 {
		return 0, flags.Usagef("-at is %q: want 1 to 16 hexadecimal digits, not all 0", digits)
	}
	return point, nil
}

// parseTenantPoint finds where the data of NAME[:SHARD] begins.
func parseTenantPoint(text string) (clusterv1.Keyspace, uint64, error) {
	if text == "" {
		return 0, 0, nil
	}
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		lo, _ := clusterv1.TenantSpan(text)
		return clusterv1.Keyspace_KEYSPACE_TENANT, lo, nil
	}
	shard, err := strconv.ParseUint(text[colon+1:], 10, 32)
	if err != nil {
		return 0, 0, flags.Usagef("-tenant is %q: want NAME or NAME:SHARD, the shard a number of 32 bits", text)
	}
	keyspace, point := clusterv1.BlockPoint(text[:colon], uint32(shard))
	return keyspace, point, nil
}

// holdsPoint demands that a range can be split at a point.
func holdsPoint(state cluster, id uint64, keyspace clusterv1.Keyspace, point uint64, what string) error {
	r := state.rangeOf(id)
	if r == nil {
		return fmt.Errorf("there is no range %d: see: skerry ranges", id)
	}
	if r.GetKeyspace() == keyspace && r.Contains(point) {
		if point == r.GetLo() {
			return fmt.Errorf("range %d begins with %q already", id, what)
		}
		return nil
	}
	for _, other := range state.GetMap().GetRanges() {
		if other.GetKeyspace() == keyspace && other.Contains(point) {
			return fmt.Errorf("%q is at %016x, in range %d: split that one", what, point, other.GetRangeId())
		}
	}
	return fmt.Errorf("%q is at %016x, not in range %d: see: skerry ranges", what, point, id)
}

func rangesMergeCommand() command {
	return command{
		name: "ranges merge", args: "RANGE", summary: "make one range of two, the named one and the next",
		detail: "Both must be owned by one group.\n\n" + changeHelp,
		setup:  setUpRangesMerge,
	}
}

func setUpRangesMerge(set *flag.FlagSet) action {
	ch := changeFlags(set)
	return func(ctx context.Context, std streams, args []string) error {
		id, err := oneID(args, "range", "skerry ranges")
		if err != nil {
			return err
		}
		return ch.run(ctx, std, func(*asker) (*wish, error) {
			return &wish{
				action: func(request *nodev1.OperateRequest) {
					request.Action = &nodev1.OperateRequest_Merge{Merge: &nodev1.MergeAction{RangeId: id}}
				},
				left: operationLeft, watch: "skerry operations",
			}, nil
		})
	}
}

// operationLeft tells how far the operation is that the answer began.
func operationLeft(state cluster, answer *nodev1.OperateResponse) (string, error) {
	id := answer.GetOperationId()
	if id == 0 {
		return "", nil
	}
	for _, operation := range state.GetOperations() {
		if operation.GetOperationId() != id {
			continue
		}
		switch operation.GetState() {
		case clusterv1.Operation_STATE_DONE:
			return "", nil
		case clusterv1.Operation_STATE_FAILED:
			return "", fmt.Errorf("operation %d failed, the ranges are as they were: %s", id, operation.GetError())
		}
		return fmt.Sprintf("operation %d is %s", id, enumName(operation.GetState().String(), "STATE_")), nil
	}
	return "", fmt.Errorf("operation %d is not listed any more: whether it was done tells: skerry ranges", id)
}
