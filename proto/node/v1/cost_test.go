package nodev1

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// A figure that is added to the message must be added up and shown.
func TestCostItemsAreAllFigures(t *testing.T) {
	fields := (&QueryCost{}).ProtoReflect().Descriptor().Fields()
	if fields.Len() != len(CostItems()) {
		t.Fatalf("the message has %d figures, the list %d", fields.Len(), len(CostItems()))
	}
	one := &QueryCost{}
	for i, item := range CostItems() {
		*item.Of(one) = uint64(i + 1)
		field := fields.ByName(protoreflect.Name(item.Name))
		if field == nil || one.ProtoReflect().Get(field).Uint() != uint64(i+1) {
			t.Errorf("%s is not the figure of that name", item.Name)
		}
	}
	sum := &QueryCost{}
	sum.Add(one)
	sum.Add(nil)
	sum.Add(one)
	for i, item := range CostItems() {
		if got := *item.Of(sum); got != 2*uint64(i+1) {
			t.Errorf("%s adds up to %d", item.Name, got)
		}
	}
}
