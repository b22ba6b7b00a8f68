package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/user"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// changeHelp follows in the help of commands that change the cluster.
const changeHelp = `What takes time goes on in the cluster whether this command waits for it or not.
Exit codes: 0 done, accepted, or nothing to do; 1 failed or refused; 2 wrong usage;
3 accepted, but not complete within -wait-timeout. With -dry-run 0 tells that it
would be accepted.
`

// change holds the flags of commands that change the cluster.
type change struct {
	client      *client
	dryRun      bool
	wait        bool
	waitTimeout time.Duration
	force       bool
	reason      string
	actor       string
}

func changeFlags(set *flag.FlagSet) *change {
	ch := &change{client: clientFlags(set)}
	set.BoolVar(&ch.dryRun, "dry-run", false, "check and tell what would happen, but change nothing")
	set.BoolVar(&ch.wait, "wait", false, "return only when the effect is complete; shows progress on a terminal")
	set.DurationVar(&ch.waitTimeout, "wait-timeout", 10*time.Minute, "`DURATION` how long to wait")
	set.BoolVar(&ch.force, "force", false, "go on though checks say that it is unwise")
	set.StringVar(&ch.reason, "reason", "", "`TEXT` why, for the audit log and for colleagues")
	set.StringVar(&ch.actor, "actor", "", "`NAME` who wants it, unless the cluster knows better (default USER@HOST)")
	return ch
}

// wish is a change as a command line asks for it.
type wish struct {
	action func(*nodev1.OperateRequest)
	// left tells what is missing for the effect to be complete, in a few words, or
	// that it will never be. Nil if the effect is complete with the answer.
	left func(cluster, *nodev1.OperateResponse) (string, error)
	// Where to look how far it is.
	watch string
	// Set if there is nothing to do: why. Nothing is asked for then.
	nothing string
}

func setNodeState(id string, state clusterv1.NodeState) func(*nodev1.OperateRequest) {
	return func(request *nodev1.OperateRequest) {
		request.Action = &nodev1.OperateRequest_SetNodeState{SetNodeState: &raftlogv1.SetNodeState{NodeId: id, State: state}}
	}
}

// asker asks one router.
type asker struct {
	ctx    context.Context
	client *client
	conn   grpc.ClientConnInterface
}

// cluster returns the state that a change may be decided on.
func (a *asker) cluster() (cluster, error) {
	state, err := askCluster(a.ctx, a.client, a.conn)
	if err == nil && !state.whole() {
		return state, errors.New("the directory does not answer, so nothing can be changed: see: skerry doctor")
	}
	return state, err
}

// changeView is the outcome in the order of fields that JSON output promises.
type changeView struct {
	DryRun  bool     `json:"dry_run"`
	Changed bool     `json:"changed"`
	Steps   []string `json:"steps"`
	// Whether the effect is complete; false also if nobody waited for it.
	Complete    bool     `json:"complete"`
	MapVersion  uint64   `json:"map_version"`
	GroupIDs    []uint64 `json:"group_ids"`
	OperationID uint64   `json:"operation_id"`
}

// run makes a wish and carries it out.
func (ch *change) run(ctx context.Context, std streams, plan func(*asker) (*wish, error)) error {
	if ch.waitTimeout <= 0 {
		return flags.Usagef("-wait-timeout is %s: want more than 0", ch.waitTimeout)
	}
	conn, err := ch.client.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ask := &asker{ctx, ch.client, conn}
	w, err := plan(ask)
	if err != nil {
		return err
	}
	if w.nothing != "" {
		return ch.finish(std, changeView{DryRun: ch.dryRun, Steps: []string{w.nothing}, Complete: true, GroupIDs: []uint64{}}, "nothing to do", nil)
	}
	answer, err := ch.operate(ask, w)
	if err != nil {
		return err
	}
	view := changeView{
		DryRun: ch.dryRun, Changed: answer.GetChanged(), Steps: append([]string{}, answer.GetSteps()...), Complete: w.left == nil && !ch.dryRun,
		MapVersion: answer.GetMapVersion(), GroupIDs: append([]uint64{}, answer.GetGroupIds()...), OperationID: answer.GetOperationId(),
	}
	switch {
	case ch.dryRun:
		return ch.finish(std, view, "dry run: nothing was changed", nil)
	case w.left != nil && ch.wait:
		if err := ch.writeSteps(std, view); err != nil {
			return err
		}
		err := ch.await(ask, std, w, answer)
		view.Complete = err == nil
		if ch.client.format.Value == formatTable {
			view.Steps = nil
		}
		return ch.finish(std, view, "done", err)
	case !answer.GetChanged():
		return ch.finish(std, view, "nothing to do: it was so before", nil)
	case w.left == nil:
		return ch.finish(std, view, "done", nil)
	}
	return ch.finish(std, view, "accepted: it goes on by itself; see: "+w.watch, nil)
}

func (ch *change) operate(ask *asker, w *wish) (*nodev1.OperateResponse, error) {
	request := &nodev1.OperateRequest{DryRun: ch.dryRun, Actor: ch.actor, Reason: ch.reason, Force: ch.force, RequestId: make([]byte, 16)}
	rand.Read(request.RequestId) // never fails
	if request.Actor == "" {
		request.Actor = defaultActor()
	}
	w.action(request)
	answer, err := call(ask.ctx, ch.client, adminv1.NewAdminServiceClient(ask.conn).Operate, &adminv1.OperateRequest{Operation: request})
	return answer.GetOutcome(), err
}

func defaultActor() string {
	name, host := "unknown", "unknown"
	if current, err := user.Current(); err == nil {
		name = current.Username
	}
	if known, err := os.Hostname(); err == nil {
		host = known
	}
	return name + "@" + host
}

func (ch *change) writeSteps(std streams, view changeView) error {
	if ch.client.format.Value == formatJSON {
		return nil
	}
	for _, step := range view.Steps {
		if _, err := fmt.Fprintln(std.out, oneLine(step)); err != nil {
			return err
		}
	}
	return nil
}

// finish writes the outcome; in words only if nothing went wrong.
func (ch *change) finish(std streams, view changeView, words string, fault error) error {
	return show(std, ch.client, view, func(w io.Writer) error {
		if err := ch.writeSteps(std, view); err != nil || fault != nil {
			return err
		}
		_, err := fmt.Fprintln(w, words)
		return err
	}, fault)
}

// pendingError is a change that was accepted and goes on.
type pendingError struct{ text string }

func (e *pendingError) Error() string { return e.text }

// Looks at the cluster follow each other in these times, the first ones quickly.
const (
	firstLook   = 50 * time.Millisecond
	slowestLook = time.Second
)

// await looks at the cluster until nothing is left to do.
func (ch *change) await(ask *asker, std streams, w *wish, answer *nodev1.OperateResponse) error {
	limited, cancel := context.WithTimeout(ask.ctx, ch.waitTimeout)
	defer cancel()
	progress := progressLine{std: std}
	defer progress.clear()
	left := "not looked at yet"
	for pause := firstLook; ; pause = min(pause*3/2, slowestLook) {
		state, err := askCluster(limited, ch.client, ask.conn)
		switch {
		case err == nil && !state.whole():
			left = "the directory does not answer"
		case err == nil && state.GetMap().GetCluster().GetMapVersion() < answer.GetMapVersion():
			left = "the directory's leader does not know of it yet"
		case err == nil:
			if left, err = w.left(state, answer); err != nil || left == "" {
				return err
			}
		case limited.Err() == nil && !passes(err):
			return err
		case limited.Err() == nil:
			left = "cannot tell how far it is: " + err.Error()
		}
		progress.write(left)
		select {
		case <-limited.Done():
			if ask.ctx.Err() != nil {
				return fmt.Errorf("%w, but it goes on: see: %s", errInterrupted, w.watch)
			}
			return &pendingError{fmt.Sprintf("not complete after %s: %s; it goes on: see: %s, or wait on with the same command", ch.waitTimeout, oneLine(left), w.watch)}
		case <-time.After(pause):
		}
	}
}

// passes tells whether a call may work in a moment, as when leaders change.
func passes(err error) bool {
	var failed *callError
	if !errors.As(err, &failed) {
		return false
	}
	switch failed.status.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.ResourceExhausted:
		return true
	}
	return false
}

// progressLine is a line of the terminal that is written again and again.
type progressLine struct {
	std     streams
	written bool
}

func (p *progressLine) write(text string) {
	if p.std.terminal {
		p.written = true
		fmt.Fprint(p.std.err, clearLine, oneLine(text))
	}
}

func (p *progressLine) clear() {
	if p.written {
		fmt.Fprint(p.std.err, clearLine)
	}
}
