package router

import (
	"context"
	"slices"
	"sync"
	"time"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

const (
	// A second replica is asked no sooner and no later than that.
	hedgeSoonest = 50 * time.Millisecond
	hedgeLatest  = 2 * time.Second
	// Without experience.
	hedgeFirst = 200 * time.Millisecond
	// Second calls per first call, on average, and how many may come at once: all
	// of them slow at the same time means load, which more calls would add to.
	hedgeShare = 0.05
	hedgeBurst = 20
)

// hedged tells whether a second replica may be asked while the first one takes
// its time: reads only.
func hedged(call string) bool {
	switch call {
	case "GetBlockMetadata", "QueryMetadata", "QueryMetadataLabels", "GetTenants", "GetTenant":
		return true
	}
	return false
}

// hedges knows how long calls usually take, and how many more may be made.
type hedges struct {
	mu     sync.Mutex
	tokens float64
	usual  map[string]time.Duration // by call: what 19 of 20 stay below
}

func newHedges() *hedges {
	return &hedges{tokens: hedgeBurst, usual: map[string]time.Duration{}}
}

// delay counts a call and returns after which time it is slow.
func (h *hedges) delay(call string) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens = min(hedgeBurst, h.tokens+hedgeShare)
	usual, known := h.usual[call]
	if !known {
		return hedgeFirst
	}
	return max(hedgeSoonest, min(usual*3/2, hedgeLatest))
}

// took learns from a call that was answered. The estimate rises nineteen times as
// far for a slower call as it falls for a faster one, so it settles where one of
// twenty is slower.
func (h *hedges) took(call string, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	usual, known := h.usual[call]
	if !known {
		usual = hedgeFirst * 2 / 3
	}
	step := usual / 200
	if d > usual {
		usual += 19 * step
	} else {
		usual -= step
	}
	h.usual[call] = max(time.Millisecond, min(usual, hedgeLatest))
}

// allow spends a token.
func (h *hedges) allow() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tokens < 1 {
		return false
	}
	h.tokens--
	return true
}

// hedge calls a replica, and another one if that is slow; the first success
// counts, and the other call is cancelled. The caller has entered for one call.
func (j *job) hedge(ctx context.Context, m *clusterv1.Map, p part, first string, a attempt, bound time.Duration) result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	results := make(chan result, 2)
	launch := func(node string, bound time.Duration) {
		go func() {
			r := result{node: node}
			defer func() { results <- r }()
			defer j.leave()
			defer j.recover(j.name, &r.err)
			r = j.send(ctx, m, p, node, bound)
		}()
	}
	launch(first, bound)
	timer := time.NewTimer(j.hedges.delay(j.name))
	defer timer.Stop()
	second, flying := "", 1
	for {
		select {
		case <-timer.C:
			if second = j.second(m, p, first, a); second != "" {
				flying++
				launch(second, bound)
			}
		case r := <-results:
			flying--
			if r.err == nil {
				j.hedges.took(j.name, time.Since(start))
				j.settled(m, p, first, second, r, time.Since(start), flying > 0)
				return r
			}
			v := judge(r.err)
			if flying == 0 || v.action != elsewhere && v.action != relieve {
				return r
			}
			// The other one may do better.
			if _ = j.judged(r.err); v.action == elsewhere {
				j.failed(m, p.group, r.node, r.err)
			}
		}
	}
}

// second chooses another replica for a slow call, or none, and enters for it.
func (j *job) second(m *clusterv1.Map, p part, first string, a attempt) string {
	node, ok := j.replicas.pick(m.Group(p.group), "", append(slices.Clone(a.tried), first))
	if !ok || node == first || !j.replicas.awake(p.group, node) {
		return ""
	}
	select {
	case j.slots <- struct{}{}:
	default:
		return ""
	}
	if !j.hedges.allow() {
		j.leave()
		j.metrics.hedges.WithLabelValues(j.name, "refused").Inc()
		return ""
	}
	return node
}

// settled counts how a hedge ended. A first replica that was overtaken by far is
// left alone.
func (j *job) settled(m *clusterv1.Map, p part, first, second string, won result, elapsed time.Duration, open bool) {
	switch {
	case second == "":
		return
	case won.node != second:
		j.metrics.hedges.WithLabelValues(j.name, "lost").Inc()
		return
	}
	j.metrics.hedges.WithLabelValues(j.name, "won").Inc()
	if open && won.took*2 < elapsed {
		j.replicas.rest(p.group, first)
		j.suspect(m, first)
	}
}
