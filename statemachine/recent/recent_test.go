package recent_test

import (
	"testing"

	"github.com/skerrydb/skerry/statemachine/recent"
)

func TestAgeForgetsWhatIsNotUsed(t *testing.T) {
	m := recent.New[int, int](10)
	put := func(from, to int) {
		for n := from; n < to; n++ {
			m.Put(n, &n)
		}
	}
	put(0, 10)
	m.Age()
	m.Age()
	if m.Get(0) == nil {
		t.Fatal("forgotten below the limit")
	}
	put(10, 11)
	m.Age()
	if got := m.Get(3); got == nil || *got != 3 {
		t.Fatal("forgotten within two times the limit")
	}
	put(20, 31)
	m.Age()
	for n, want := range map[int]bool{0: false, 3: true, 10: false, 20: true} {
		if got := m.Get(n) != nil; got != want {
			t.Errorf("key %d is remembered: %t, want %t", n, got, want)
		}
	}
	put(3, 4)
	put(40, 51)
	m.Age()
	put(60, 71)
	m.Age()
	if m.Get(20) != nil || m.Get(3) != nil {
		t.Error("what is not used any more is kept")
	}
}
