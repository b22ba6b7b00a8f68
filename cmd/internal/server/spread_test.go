package server

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/config"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// R-PLC-13: a process that was told where the objects are makes rules of what comes
// through its public API, and shows them; one that keeps them to itself says so.
func TestProcessSpreadsDatasets(t *testing.T) {
	describe := func(s *server) (*nodev1.DescribePlacementResponse, error) {
		admin := adminv1.NewAdminServiceClient(dialTest(t, s.ports.node.Addr().String(), insecure.NewCredentials()))
		answer, err := admin.DescribePlacement(t.Context(), &adminv1.DescribePlacementRequest{Page: &nodev1.DescribePlacementRequest{}})
		return answer.GetPage(), err
	}
	settings := testSettings(t, config.CommandServe)
	settings.ObjectsDir, settings.Spread.Interval = t.TempDir(), time.Second
	s := startProcess(t, settings)
	index := metastorev1.NewIndexServiceClient(dialTest(t, s.ports.public.Addr().String(), insecure.NewCredentials()))
	eventually(t, "a rule", func() bool {
		now := time.Now().UnixMilli()
		_, err := index.AddBlock(t.Context(), &metastorev1.AddBlockRequest{Block: &metastorev1.BlockMeta{
			FormatVersion: 1, Id: ulid.MustNew(uint64(now), ulid.DefaultEntropy()).String(), Shard: 7, MinTime: now, MaxTime: now, Size: 1 << 20,
			StringTable: []string{"", "acme", "shop", "writer-1"}, CreatedBy: 3,
			Datasets: []*metastorev1.Dataset{{Tenant: 1, Name: 2, MinTime: now, MaxTime: now, Size: 1 << 20}},
		}})
		page, fault := describe(s)
		time.Sleep(20 * time.Millisecond)
		return err == nil && fault == nil && len(page.GetDatasets()) == 1 && page.GetDatasets()[0].GetName() == "shop" &&
			page.GetDatasets()[0].GetShards()[0].GetOwner() == "writer-1" && page.GetBucket() != ""
	})

	alone := startProcess(t, testSettings(t, config.CommandServe))
	eventually(t, "a refusal", func() bool {
		_, err := describe(alone)
		return status.Code(err) == codes.FailedPrecondition
	})
}
