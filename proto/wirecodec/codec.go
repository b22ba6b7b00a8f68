// Package wirecodec is the gRPC codec of Skerry's servers and clients: the
// ordinary protobuf wire format, through the generated fast paths where a
// message has them.
//
// The fast paths do not check that strings are UTF-8: what is kept and sent on
// must be checked where it enters (see metastorev1.ValidateBlock).
//
// A message is decoded before anybody can judge it, and a few bytes on the wire
// can become many in memory. So the codec first looks what a large message
// would cost, and refuses it at MaxDecodedBytes:
//
//	bytes ──► up to 1 MiB? ──────────────────────► decode ──► message
//	               │ more                             ▲
//	               └──► walk, add up ──► affordable? ─┘
//	                                         │ no
//	                                         └──► ErrTooCostly
package wirecodec

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// fastMessage is what the vtprotobuf plugin generates.
type fastMessage interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
	UnmarshalVT([]byte) error
}

// Codec implements encoding.CodecV2. It has no state; use it from any number
// of goroutines.
type Codec struct{}

var _ encoding.CodecV2 = Codec{}

// Name is "proto": the content type stays application/grpc+proto.
func (Codec) Name() string { return "proto" }

// Marshal encodes a message into a pooled buffer.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case fastMessage:
		size := m.SizeVT()
		pool := mem.DefaultBufferPool()
		buffer := pool.Get(size)
		if _, err := m.MarshalToSizedBufferVT((*buffer)[:size]); err != nil {
			pool.Put(buffer)
			return nil, fmt.Errorf("encode %T: %w", v, err)
		}
		return mem.BufferSlice{mem.NewBuffer(buffer, pool)}, nil
	case proto.Message:
		encoded, err := proto.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("encode %T: %w", v, err)
		}
		return mem.BufferSlice{mem.SliceBuffer(encoded)}, nil
	default:
		return nil, fmt.Errorf("encode %T: not a protobuf message", v)
	}
}

// Unmarshal decodes into a message that the caller made. The message keeps no
// reference to data. It returns ErrTooCostly for messages that would take more
// than MaxDecodedBytes.
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	if m, ok := v.(proto.Message); ok && buffer.Len() > uncheckedBytes {
		target := layouts{}.of(m.ProtoReflect().Descriptor())
		if err := checkCost(buffer.ReadOnlyData(), target); err != nil {
			return fmt.Errorf("decode %T: %w", v, err)
		}
	}
	return decode(buffer.ReadOnlyData(), v)
}

func decode(data []byte, v any) error {
	switch m := v.(type) {
	case fastMessage:
		if err := m.UnmarshalVT(data); err != nil {
			return fmt.Errorf("decode %T: %w", v, err)
		}
		return nil
	case proto.Message:
		if err := proto.Unmarshal(data, m); err != nil {
			return fmt.Errorf("decode %T: %w", v, err)
		}
		return nil
	default:
		return fmt.Errorf("decode %T: not a protobuf message", v)
	}
}
