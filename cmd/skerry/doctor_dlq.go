package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	// Dead letters are recovered within seconds. What waits longer is held up.
	lettersLate = 15 * time.Minute
	// As many or more are left after each sweep for that long.
	lettersStuck = 5 * time.Minute
)

// examineLetters looks for dead letters that are not recovered. It fails only if it
// is interrupted: nodes that do not answer are found elsewhere, and older routers do
// not know.
func (d *doctor) examineLetters() error {
	answer, err := call(d.ctx, d.client, adminv1.NewAdminServiceClient(d.conn).GetDLQStatus, &adminv1.GetDLQStatusRequest{})
	if errors.Is(err, errInterrupted) {
		return err
	}
	rejected, where := false, ""
	for _, node := range answer.GetNodes() {
		status := node.GetStatus()
		if status == nil {
			continue
		}
		if status.GetRejected() && !rejected {
			rejected, where = true, status.GetObjects()
		}
		d.examineRecovery(node.GetNodeId(), status)
	}
	if rejected {
		d.find(&nodev1.Finding{
			Severity: nodev1.Finding_SEVERITY_WARNING, Code: "dead-letters-rejected", Subject: "objects",
			Cause:       "metadata below dlq-rejected/ in " + where + " can never be indexed as it is",
			Consequence: "data that it describes is not found by queries, unless its object is gone anyway",
			Command:     "see what it is: skerry dlq list -rejected; skerry dlq show KEY; then skerry dlq retry KEY, or skerry dlq purge",
		})
	}
	return nil
}

func (d *doctor) examineRecovery(node string, status *nodev1.GetDLQStatusResponse) {
	if why := status.GetListError(); why != "" && status.GetInterval() != 0 {
		d.find(&nodev1.Finding{
			Severity: nodev1.Finding_SEVERITY_WARNING, Code: "dead-letters-unseen", Subject: "node " + node, Cause: "it cannot list dead letters: " + why,
			Consequence: "blocks that writers could not add to the groups that it leads stay unknown to queries",
			Command:     "see whether the node reaches its object store, and may list it; see: skerry dlq list",
		})
	}
	for _, g := range status.GetGroups() {
		late := g.GetOldest() != 0 && time.Duration(status.GetNow()-g.GetOldest()) >= lettersLate
		stuck := g.GetStuckSince() != 0 && time.Duration(status.GetNow()-g.GetStuckSince()) >= lettersStuck
		if g.GetPending() == 0 || !late && !stuck {
			continue
		}
		cause := plural(g.GetPending(), "dead letter")
		if late {
			cause += " waiting, the oldest for " + age(status.GetNow(), g.GetOldest())
		}
		if stuck {
			cause += ", getting no fewer for " + age(status.GetNow(), g.GetStuckSince())
		}
		if why := g.GetError(); why != "" {
			cause += ": " + why
		}
		d.find(&nodev1.Finding{
			Severity: nodev1.Finding_SEVERITY_WARNING, Code: "dead-letters-late", Subject: fmt.Sprintf("group %d", g.GetGroupId()), Cause: strings.TrimSpace(cause),
			Consequence: "blocks that writers could not add are not found by queries yet",
			Command:     "see why: skerry dlq list; once that is mended: skerry dlq retry",
		})
	}
}
