package placement

import (
	"errors"
	"fmt"
)

// ChooseNodes picks the nodes for a new group: as many as voters are wanted and
// possible, an odd number, spread over zones and then over nodes. For another group,
// call it with a map that has this one. It fails without any node that may be given
// replicas.
func ChooseNodes(p Picture, c Config) ([]string, error) {
	w := newWorld(p, c)
	if w == nil {
		return nil, errors.New("there is no map yet")
	}
	eligible := 0
	for _, n := range w.nodes {
		eligible += yes(n.eligible())
	}
	want := min(Factor(w.settings, 0), eligible)
	if want%2 == 0 {
		want--
	}
	if want < 1 {
		return nil, fmt.Errorf("no node can take a replica%s", w.unfit())
	}
	in, chosen := map[string]int{}, map[string]bool{}
	var out []string
	for range want {
		n := best(w.nodes, in, func(n *node) bool { return n.eligible() && !chosen[n.id] })
		in[n.zone]++
		chosen[n.id] = true
		out = append(out, n.id)
	}
	return out, nil
}

// unfit says of each node that may come back why it is given nothing.
func (w *world) unfit() string {
	out := ""
	for _, n := range w.nodes {
		if !n.gone() {
			out += fmt.Sprintf("; not %s: %s", n.id, n.unfit())
		}
	}
	return out
}
