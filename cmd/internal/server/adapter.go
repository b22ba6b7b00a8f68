package server

import (
	"context"
	"errors"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/config"
	"github.com/skerrydb/skerry/shardgroup"
)

// startTimeout bounds the start: replaying the log's tail and electing leaders.
const startTimeout = 5 * time.Minute

// openNode opens the node of a cluster of one.
func openNode(ctx context.Context, s *server) (clusterNode, error) {
	if s.settings.Command != config.CommandServe {
		return nil, errors.New("this build knows clusters of one node only: run skerry serve")
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	options := s.nodeOptions()
	options.Found = true
	node, err := shardgroup.Open(ctx, options, s.log, s.metrics)
	if err != nil {
		return nil, err
	}
	if err := node.WaitReady(ctx); err != nil {
		return nil, errors.Join(err, node.Close())
	}
	return lonelyNode{node}, nil
}

// lonelyNode has nobody to give its leaders to.
type lonelyNode struct{ *shardgroup.Node }

func (lonelyNode) Drain(context.Context) error { return nil }

func (lonelyNode) Failed() <-chan error { return nil }
