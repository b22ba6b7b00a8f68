package router

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

type compactionService struct {
	metastorev1.UnimplementedCompactionServiceServer
}

// PollCompactionJobs refuses. An empty OK would be wrong: a worker forgets the
// results that it reported in an answered poll.
func (compactionService) PollCompactionJobs(context.Context, *metastorev1.PollCompactionJobsRequest) (*metastorev1.PollCompactionJobsResponse, error) {
	return nil, status.Error(codes.Unimplemented, "compaction is not served by this version; blocks are kept as they were added")
}
