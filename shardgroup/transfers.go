package shardgroup

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

func (s service) AcceptTransfers(context.Context, *nodev1.AcceptTransfersRequest) (*nodev1.AcceptTransfersResponse, error) {
	return nil, status.Error(codes.Unimplemented, "transfers")
}

func (s service) TransferStatus(context.Context, *nodev1.TransferStatusRequest) (*nodev1.TransferStatusResponse, error) {
	return nil, status.Error(codes.Unimplemented, "transfers")
}
