package clustertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// CheckStores stops all nodes and looks into their stores: each must be sound, and
// replicas of a group must hold the same. They should be idle, and have converged:
// nothing may happen any more but changes of leaders.
func (c *Cluster) CheckStores(ctx context.Context) error {
	var stopping sync.WaitGroup
	faults := make([]error, len(c.Nodes))
	for i, n := range c.Nodes {
		stopping.Go(func() { faults[i] = n.Stop() })
	}
	stopping.Wait()
	held := map[uint64]map[string]stateHash{}
	for _, n := range c.Nodes {
		if n.Process.Lives() == 0 || !exists(n.DataDir()) {
			continue
		}
		output, err := exec.CommandContext(ctx, c.options.Binary, "inspect", "check", "-data-dir", n.DataDir()).CombinedOutput()
		if err != nil {
			faults = append(faults, fmt.Errorf("store of %s: %w: %s", n.Name, err, tail(output)))
		}
		hashes, err := c.hashes(ctx, n)
		if err != nil {
			faults = append(faults, err)
		}
		for _, h := range hashes {
			if held[h.Group] == nil {
				held[h.Group] = map[string]stateHash{}
			}
			held[h.Group][n.Name] = h
		}
	}
	for group, byNode := range held {
		faults = append(faults, sameStates(group, byNode))
	}
	return errors.Join(faults...)
}

// stateHash is a row of: skerry inspect hash.
type stateHash struct {
	Group   uint64 `json:"group"`
	Applied uint64 `json:"applied"`
	// Of everything, and of what is not about the log itself.
	State string `json:"state"`
	Data  string `json:"data"`
}

func (c *Cluster) hashes(ctx context.Context, n *Node) ([]stateHash, error) {
	command := exec.CommandContext(ctx, c.options.Binary, "inspect", "hash", "-data-dir", n.DataDir(), "-o", "json")
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("hashes of %s: %w: %s", n.Name, err, tail(output))
	}
	var hashes []stateHash
	if err := json.Unmarshal(output, &hashes); err != nil {
		return nil, fmt.Errorf("hashes of %s: %w: %s", n.Name, err, tail(output))
	}
	return hashes, nil
}

// sameStates compares replicas. Those that have applied the same are the same;
// others may only differ in what changes of leaders do.
func sameStates(group uint64, byNode map[string]stateHash) error {
	byState := map[uint64]string{}
	data := map[string][]string{}
	for node, h := range byNode {
		if before, known := byState[h.Applied]; known && before != h.State {
			return fmt.Errorf("group %d: replicas have applied %d and differ: %v", group, h.Applied, byNode)
		}
		byState[h.Applied] = h.State
		data[h.Data] = append(data[h.Data], node)
	}
	if len(data) > 1 {
		return fmt.Errorf("group %d: replicas hold different data: %v", group, byNode)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

const tailBytes = 2000

func tail(output []byte) string {
	return strings.TrimSpace(string(output[max(0, len(output)-tailBytes):]))
}
