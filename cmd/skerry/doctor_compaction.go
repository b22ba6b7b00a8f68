package main

import (
	"errors"
	"fmt"
	"strings"

	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

// examineCompaction looks for groups whose compaction is paused, as an import that was
// interrupted leaves them. It fails only if it is interrupted itself.
func (d *doctor) examineCompaction() error {
	answer, err := call(d.ctx, d.client, adminv1.NewAdminServiceClient(d.conn).CompactionStatus, &adminv1.CompactionStatusRequest{Limit: 1})
	if errors.Is(err, errInterrupted) {
		return err
	}
	var paused []string
	for _, group := range answer.GetGroups() {
		if group.GetStatus().GetPaused() {
			paused = append(paused, fmt.Sprint(group.GetGroupId()))
		}
	}
	if len(paused) == 0 {
		return nil
	}
	noun := "group"
	if len(paused) > 1 {
		noun = "groups"
	}
	d.find(&nodev1.Finding{
		Severity: nodev1.Finding_SEVERITY_WARNING, Code: "compaction-paused", Subject: noun + " " + strings.Join(paused, ", "),
		Cause:       "an operator, or an import that is not complete, paused compaction",
		Consequence: "blocks pile up, and queries become slower",
		Command:     "complete the import: skerry import; or, without one: skerry compaction resume",
	})
	return nil
}
