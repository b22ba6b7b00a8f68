package shardgroup

import (
	"context"
	"testing"
)

// A node that hangs holds up its own steps only.
func TestStepsAreIndependent(t *testing.T) {
	c := &controller{running: map[work]string{}, wake: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	hang := func(ctx context.Context) bool {
		<-ctx.Done()
		return false
	}
	for group := range uint64(stepsPerNode) {
		c.launch(ctx, work{group: 100 + group}, "hangs", hang)
	}
	begun := make(chan string, 8)
	step := func(what string) func(context.Context) bool {
		return func(context.Context) bool {
			begun <- what
			return true
		}
	}
	c.launch(ctx, work{group: 2}, "hangs", step("one too many on a node"))
	c.launch(ctx, work{group: 100}, "well", step("a second one for a group"))
	c.launch(ctx, work{group: 1}, "well", step("the directory's before the others"))
	c.launch(ctx, work{group: 3}, "well", step("another node's"))
	<-c.wake
	cancel()
	c.steps.Wait()
	c.launch(t.Context(), work{group: 1}, "well", step("the directory's"))
	c.steps.Wait()
	close(begun)
	var all []string
	for what := range begun {
		all = append(all, what)
	}
	if len(all) != 2 || all[0] != "another node's" || all[1] != "the directory's" {
		t.Errorf("steps taken: %q", all)
	}
	if len(c.running) != 0 {
		t.Errorf("steps under way: %v", c.running)
	}
}
