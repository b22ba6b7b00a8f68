package server

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/skerrydb/skerry/cmd/internal/config"
	"github.com/skerrydb/skerry/storage/objects"
)

// objectsCheckTimeout bounds the check at the start; S3's attempts have bounds of
// their own.
const objectsCheckTimeout = time.Minute

// openObjects opens the object store. A folder that cannot be used ends the
// start: it is a mistake in the settings, or the disk that the data is on. S3 may
// be away for a while, and nothing that the metastore promises depends on it: it
// is only looked at, aside.
func (s *server) openObjects() error {
	bucket, err := objects.Open(s.settings.ObjectStore(), s.metrics)
	if err != nil {
		return err
	}
	s.objects = bucket
	if s.settings.Backend == config.BackendS3 {
		go s.checkObjects(s.streams)
		return nil
	}
	if s.settings.Command == config.CommandNode && s.settings.ObjectsDir == "" {
		s.log.Warn("objects are in a folder of this node, which other nodes do not see: for a cluster set -storage.backend s3, or -storage.filesystem.dir to a folder that all nodes share",
			zap.Stringer("objects", bucket))
	}
	return nil
}

// checkObjects says early, and to people, what would fail later. The failure is
// counted as one of the operation check.
func (s *server) checkObjects(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, objectsCheckTimeout)
	defer cancel()
	err := s.objects.Check(ctx)
	if s.streams.Err() != nil {
		return // it is stopping
	}
	if err != nil {
		s.log.Error("the object store cannot be used: check -storage.s3.endpoint, -storage.s3.bucket-name and the credentials (-storage.s3.access-key-id, -storage.s3.credentials-file); blocks are indexed and queried without it", zap.Error(err))
		return
	}
	s.log.Info("the object store can be used", zap.Stringer("objects", s.objects))
}
