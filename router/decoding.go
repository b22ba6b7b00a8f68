package router

import (
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
	"github.com/skerrydb/skerry/proto/wirecodec"
)

// A request that cannot be decoded is the client's mistake, but gRPC answers it
// with INTERNAL, which clients repeat up to 50 times. It does so the moment the
// codec fails, before handlers and interceptors: what they return comes too
// late. So for public calls the codec must not fail. It keeps the fault beside
// the message, and the call ends with INVALID_ARGUMENT one step later:
//
//	generated handler ──► dec(message) ──► gRPC: receive, limit, decompress ──► codec
//	                          ▲                      │ its own errors             │
//	                          └──────────────────────┴── decoding{message, fault} ┘
//
// Every other error of receiving, such as a message above the limit or a
// stream that was cancelled, is gRPC's own and stays as it is.
type decoding struct {
	message any
	fault   error
	// The block of an AddBlockRequest as it came, nil if it is to be encoded anew.
	block []byte
}

// requestCodec decodes what publicServices asks for, and all other messages as
// usual.
type requestCodec struct{ wirecodec.Codec }

// Unmarshal never fails for a decoding.
func (c requestCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if d, ok := v.(*decoding); ok {
		if add, ok := d.message.(*metastorev1.AddBlockRequest); ok && d.addBlock(data, add) {
			return nil
		}
		d.fault = c.Codec.Unmarshal(data, d.message)
		return nil
	}
	return c.Codec.Unmarshal(data, v)
}

// maxReceivedBlock bounds requests with blocks that are taken as they come: larger ones
// are looked through for what they would cost.
const maxReceivedBlock = 1 << 20

// addBlockField is AddBlockRequest.block.
const addBlockField = 1

// addBlock decodes a request with a block and keeps that as it came: it is proposed like
// that. It reports false if there is anything else in the request, or a fault.
func (d *decoding) addBlock(data mem.BufferSlice, request *metastorev1.AddBlockRequest) bool {
	if data.Len() > maxReceivedBlock {
		return false
	}
	received := data.Materialize()
	number, kind, tag := protowire.ConsumeTag(received)
	if tag < 0 || number != addBlockField || kind != protowire.BytesType {
		return false
	}
	encoded, size := protowire.ConsumeBytes(received[tag:])
	if size < 0 || tag+size != len(received) {
		return false
	}
	block, err := metastorev1.DecodeBlock(encoded)
	if err != nil {
		return false
	}
	request.Block, d.block = block, encoded[:len(encoded):len(encoded)]
	return true
}

type decodingKey struct{}

// receivedBlock returns the block of the AddBlockRequest of a call as it came, or nil.
func receivedBlock(ctx context.Context) []byte {
	if d, ok := ctx.Value(decodingKey{}).(*decoding); ok {
		return d.block
	}
	return nil
}

// publicServices registers services whose undecodable requests are answered
// with INVALID_ARGUMENT and counted by route: interceptors do not see them.
// The server must use requestCodec. Streams are registered as they are.
type publicServices struct {
	server      grpc.ServiceRegistrar
	undecodable *prometheus.CounterVec
}

// RegisterService leaves the description, which belongs to generated code,
// unchanged.
func (p publicServices) RegisterService(description *grpc.ServiceDesc, service any) {
	own := *description
	own.Methods = slices.Clone(description.Methods)
	for i := range own.Methods {
		method := &own.Methods[i]
		method.Handler = p.wrap("/"+own.ServiceName+"/"+method.MethodName, method.Handler)
	}
	p.server.RegisterService(&own, service)
}

func (p publicServices) wrap(route string, handler grpc.MethodHandler) grpc.MethodHandler {
	return func(service any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		d := &decoding{}
		if route == metastorev1.IndexService_AddBlock_FullMethodName {
			ctx = context.WithValue(ctx, decodingKey{}, d)
		}
		return handler(service, ctx, func(message any) error {
			d.message = message
			if err := dec(d); err != nil {
				return err
			}
			if d.fault != nil {
				p.undecodable.WithLabelValues(route).Inc()
				return status.Errorf(codes.InvalidArgument, "the request cannot be decoded: %v", d.fault)
			}
			return nil
		}, interceptor)
	}
}
