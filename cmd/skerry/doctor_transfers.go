package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const (
	// Transfers that wait for so long are held up by more than a restart.
	transfersLate = 5 * time.Minute
	// Outboxes of each group that are looked at, the oldest ones.
	lateOutboxes = 10
)

// examineTransfers looks for streams that cannot hand over what they compacted. It
// fails only if it is interrupted: groups that do not answer are found elsewhere,
// and older routers do not know.
func (d *doctor) examineTransfers() error {
	answer, err := call(d.ctx, d.client, adminv1.NewAdminServiceClient(d.conn).TransferStatus, &adminv1.TransferStatusRequest{Limit: lateOutboxes})
	if errors.Is(err, errInterrupted) {
		return err
	}
	for _, group := range answer.GetGroups() {
		d.examineOutboxes(group, answer.GetNow())
	}
	return nil
}

func (d *doctor) examineOutboxes(group *adminv1.GroupTransfers, now int64) {
	var streams []string
	for _, o := range group.GetStatus().GetOutboxes() {
		name := strconv.FormatUint(uint64(o.GetStream()), 10)
		if time.Duration(now-o.GetOldest()) >= transfersLate && !slices.Contains(streams, name) {
			streams = append(streams, name)
		}
	}
	if len(streams) == 0 {
		return
	}
	first, to := group.GetStatus().GetOutboxes()[0], "its group"
	if id := destination(group, 0); id != 0 {
		to = fmt.Sprintf("group %d", id)
	}
	noun := "stream"
	if len(streams) > 1 {
		noun = "streams"
	}
	cause := fmt.Sprintf("what was compacted of %s %s is not handed over; waiting longest, for %s: stream %d, tenant %.128q, to %s",
		noun, strings.Join(streams, ", "), age(now, first.GetOldest()), first.GetStream(), first.GetTenant(), to)
	if why := first.GetError(); why != "" {
		cause += ": " + why
	}
	d.find(&nodev1.Finding{
		Severity: nodev1.Finding_SEVERITY_WARNING, Code: "transfers-late", Subject: fmt.Sprintf("group %d", group.GetGroupId()), Cause: cause,
		Consequence: "what waits is found by queries, but compacted no further; once their outboxes are full, the streams are not compacted, either",
		Command:     fmt.Sprintf("see whether %s has a leader, and its nodes room on their disks: skerry groups; skerry nodes; skerry transfers -group %d", to, group.GetGroupId()),
	})
}
