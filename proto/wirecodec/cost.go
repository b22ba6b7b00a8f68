package wirecodec

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// MaxDecodedBytes bounds the memory that one decoded message may take, by an
// estimate made before it is decoded. Real block metadata takes three and a half
// times its encoded size, so a message of 100 MiB, the most that servers
// accept, has room; but the same 100 MiB could as well hold 50 million empty
// records of two bytes each, which would take 7 GB before anybody could look at
// them.
const MaxDecodedBytes = 512 << 20

// ErrTooCostly is returned for messages that would take more than
// MaxDecodedBytes. They were not decoded.
var ErrTooCostly = errors.New("the decoded message would take too much memory")

const (
	// Messages up to this size are decoded unseen: the worst of them costs
	// less than 100 MiB, and all ordinary requests are smaller.
	uncheckedBytes = 1 << 20
	// Nesting of messages; our own have a handful of levels.
	maxDepth = 100
)

// checkCost returns ErrTooCostly, or an error if the data is malformed; it does
// not find all that is malformed.
func checkCost(data []byte, target *layout) error {
	walk := walk{left: MaxDecodedBytes}
	if err := walk.spend(target.structBytes); err != nil {
		return err
	}
	return walk.message(data, target, 1)
}

// walk goes over encoded messages and adds up what they cost decoded. It ends
// as soon as the budget is spent.
type walk struct{ left int64 }

func (w *walk) spend(bytes int64) error {
	if w.left -= bytes; w.left < 0 {
		return fmt.Errorf("%w: more than %d bytes", ErrTooCostly, int64(MaxDecodedBytes))
	}
	return nil
}

// message spends what the fields of a message cost; the message itself is paid.
func (w *walk) message(data []byte, target *layout, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("messages are nested more than %d deep", maxDepth)
	}
	for len(data) > 0 {
		number, wire, tag := protowire.ConsumeTag(data)
		if tag < 0 {
			return protowire.ParseError(tag)
		}
		data = data[tag:]
		field := target.field(number)
		if field != nil && wire == protowire.BytesType {
			content, n := protowire.ConsumeBytes(data)
			if n < 0 {
				return protowire.ParseError(n)
			}
			data = data[n:]
			if err := w.content(content, field, depth); err != nil {
				return err
			}
			continue
		}
		n := protowire.ConsumeFieldValue(number, wire, data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		// A field that nobody knows is kept as it came, in a slice that grows.
		cost := 2 * int64(tag+n)
		if field != nil {
			cost = field.elementBytes
		}
		if err := w.spend(cost); err != nil {
			return err
		}
	}
	return nil
}

// content spends what a known field of variable length costs.
func (w *walk) content(content []byte, field *field, depth int) error {
	switch {
	case field.message != nil:
		if err := w.spend(field.elementBytes + field.message.structBytes); err != nil {
			return err
		}
		return w.message(content, field.message, depth+1)
	case field.packed:
		// Decoders count the elements first, so nothing grows.
		return w.spend(int64(field.elements(content)) * field.goBytes)
	default:
		return w.spend(field.elementBytes + int64(len(content)))
	}
}

// elements counts what a packed list holds.
func (f *field) elements(packed []byte) int {
	if f.wireBytes > 0 {
		return len(packed) / f.wireBytes
	}
	ends := 0
	for _, b := range packed {
		if b < 0x80 {
			ends++
		}
	}
	return ends
}
