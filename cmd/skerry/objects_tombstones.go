package main

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/skerrydb/skerry/cmd/internal/rebuild"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
)

// tombstonesMax is what a group lists at most.
const tombstonesMax = 10_000

// tombstones asks what is to be deleted. What is not known is told, and is no
// fault: a cluster that was founded to be rebuilt has none, and others do not take
// blocks that are to be deleted one by one.
func (s *objectScan) tombstones(ctx context.Context, conn *grpc.ClientConn) (rebuild.Tombstones, []string, error) {
	var all rebuild.Tombstones
	warnings := []string{}
	warn := func(format string, args ...any) {
		warnings = append(warnings, "objects that are to be deleted may be taken for missing: "+fmt.Sprintf(format, args...))
	}
	asked := s.client
	if s.admin != "" {
		other := *s.client
		other.addr = s.admin
		asked = &other
		admin, err := asked.dial()
		if err != nil {
			return all, nil, err
		}
		defer admin.Close()
		conn = admin
	}
	answer, err := ask(ctx, asked, adminv1.NewAdminServiceClient(conn).ListTombstones, &adminv1.ListTombstonesRequest{Limit: tombstonesMax})
	var failed *callError
	if errors.As(err, &failed) {
		switch failed.status.Code() {
		case codes.Unimplemented, codes.PermissionDenied, codes.Unauthenticated:
			warn("%s does not say what is (%s); say with -admin-addr who does", asked.addr, failed.short())
			return all, warnings, nil
		}
	}
	if err != nil {
		return all, nil, err
	}
	for _, group := range answer.GetGroups() {
		if group.GetError() != "" {
			warn("group %d did not answer: %s", group.GetGroupId(), group.GetError())
		}
		if group.GetList().GetTruncated() {
			warn("group %d has more than %d tombstones", group.GetGroupId(), tombstonesMax)
		}
		for _, info := range group.GetList().GetTombstones() {
			all.Note(info.GetTombstone())
		}
	}
	return all, warnings, nil
}
