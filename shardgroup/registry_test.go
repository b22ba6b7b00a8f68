package shardgroup

import "testing"

// Addresses may change while replicas are known; unknown ones are errors.
func TestRegistryResolves(t *testing.T) {
	r := newRegistry()
	if _, err := r.Create("", 4, nil); err != nil {
		t.Fatal(err)
	}
	r.Add(2, 11, "node-a")
	if _, _, err := r.Resolve(2, 11); err == nil {
		t.Error("a node without address was resolved")
	}
	for _, address := range []string{"a:1", "b:2"} {
		r.setAddress("node-a", address)
		if got, key, err := r.Resolve(2, 11); err != nil || got != address || key == "" {
			t.Errorf("%q by %q, %v, want %q", got, key, err, address)
		}
	}
	// Groups share the connections to an address, but not all use one.
	keys := map[string]bool{}
	for group := range uint64(100) {
		r.Add(group, 11, "node-a")
		_, key, err := r.Resolve(group, 11)
		if err != nil {
			t.Fatal(err)
		}
		keys[key] = true
	}
	if len(keys) != raftConnections {
		t.Errorf("%d connections to one node, want %d", len(keys), raftConnections)
	}
	r.setAddress("node-b", "c:3")
	r.Add(2, 11, "node-b")
	if got, _, err := r.Resolve(2, 11); err != nil || got != "c:3" {
		t.Errorf("%q, %v: want the node that the replica is on now", got, err)
	}
	r.Remove(2, 11)
	if _, _, err := r.Resolve(2, 11); err == nil {
		t.Error("a replica that was removed was resolved")
	}
	r.RemoveShard(3)
	if _, _, err := r.Resolve(3, 11); err == nil {
		t.Error("a replica of a group that was removed was resolved")
	}
}

// Dragonboat tells of the sender with each message, and asks for the target: neither
// must allocate, nor wait for readers.
func TestRegistryIsCheapForEachMessage(t *testing.T) {
	r := newRegistry()
	r.setAddress("node-a", "a:1")
	r.Add(2, 11, "node-a")
	r.mu.RLock() // another message
	defer r.mu.RUnlock()
	allocated := testing.AllocsPerRun(100, func() {
		r.Add(2, 11, "node-a")
		if _, _, err := r.Resolve(2, 11); err != nil {
			t.Error(err)
		}
	})
	if allocated > 0 {
		t.Errorf("%v allocations", allocated)
	}
}
