package wirecodec

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// What a generated struct has besides its fields: the message state, the
	// slice of unknown fields, the cached size.
	headBytes = 40
	// A pointer, and the headers of strings and slices.
	pointerBytes, stringBytes, sliceBytes = 8, 16, 24
)

// layout is what a message of one type costs in memory.
type layout struct {
	structBytes int64
	// Fields by number: those that most types have only are in the array, which
	// makes the walk a third faster.
	low  [lowNumbers]*field
	high map[protowire.Number]*field
}

const lowNumbers = 32

// field returns nil for unknown numbers.
func (l *layout) field(number protowire.Number) *field {
	if number < lowNumbers {
		return l.low[number]
	}
	return l.high[number]
}

func (l *layout) add(number protowire.Number, f *field) {
	if number < lowNumbers {
		l.low[number] = f
		return
	}
	l.high[number] = f
}

// field is what an occurrence of a field adds to the struct that it is in.
type field struct {
	// elementBytes is added by each occurrence that is not packed, besides
	// what it contains. Elements of a list count twice: a slice that grows by
	// appending exists twice while it is copied, and is not full in the end.
	elementBytes int64
	// message is the type of a field that holds messages, else nil.
	message *layout
	// packed tells whether many elements can come in one occurrence; goBytes
	// is the size of one. wireBytes is its encoded size, 0 if that varies.
	packed    bool
	goBytes   int64
	wireBytes int
}

// layouts are made for one message and thrown away: that takes microseconds,
// and the messages that need them are large.
type layouts map[protoreflect.FullName]*layout

// of returns a type's layout. Types may contain themselves.
func (l layouts) of(message protoreflect.MessageDescriptor) *layout {
	if known := l[message.FullName()]; known != nil {
		return known
	}
	made := &layout{structBytes: headBytes, high: map[protowire.Number]*field{}}
	l[message.FullName()] = made
	for i := range message.Fields().Len() {
		descriptor := message.Fields().Get(i)
		made.structBytes += slotBytes(descriptor)
		made.add(descriptor.Number(), l.field(descriptor))
	}
	return made
}

func (l layouts) field(descriptor protoreflect.FieldDescriptor) *field {
	goBytes, wireBytes := kindBytes(descriptor.Kind())
	made := &field{goBytes: goBytes, wireBytes: wireBytes}
	switch kind := descriptor.Kind(); {
	case kind == protoreflect.MessageKind, kind == protoreflect.GroupKind:
		made.message = l.of(descriptor.Message())
	case kind == protoreflect.StringKind, kind == protoreflect.BytesKind:
		// The header of a single one is in the struct, but allocations are
		// rounded up.
		made.elementBytes = stringBytes
	case descriptor.IsList():
		made.packed = true
	}
	switch {
	case descriptor.IsList(), descriptor.IsMap():
		made.elementBytes = 2 * goBytes
	case descriptor.ContainingOneof() != nil:
		// A box of its own.
		made.elementBytes += stringBytes
	}
	return made
}

// slotBytes is what a field takes in the struct, used or not.
func slotBytes(descriptor protoreflect.FieldDescriptor) int64 {
	if descriptor.IsList() {
		return sliceBytes
	}
	goBytes, _ := kindBytes(descriptor.Kind())
	return goBytes
}

// kindBytes returns the size of one value as a slice holds it, and its encoded
// size, 0 if that varies.
func kindBytes(kind protoreflect.Kind) (goBytes int64, wireBytes int) {
	switch kind {
	case protoreflect.BoolKind:
		return 1, 0
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Uint32Kind, protoreflect.EnumKind:
		return 4, 0
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Uint64Kind:
		return 8, 0
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return 4, 4
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return 8, 8
	case protoreflect.StringKind:
		return stringBytes, 0
	case protoreflect.BytesKind:
		return sliceBytes, 0
	default: // messages
		return pointerBytes, 0
	}
}
