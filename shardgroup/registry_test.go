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
	if len(keys) != 4 {
		t.Errorf("%d connections to one node, want 4", len(keys))
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
