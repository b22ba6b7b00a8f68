package audit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/access"
)

// RequestIDHeader carries a request's id: a client may choose it, and is answered
// with it.
const RequestIDHeader = "x-request-id"

const (
	requestIDBytesMax = 64
	messageBytesMax   = 1 << 10
)

// ServerOptions audit a gRPC server. They come after those of access, which tell
// who calls. A nil log audits nothing.
func (l *Log) ServerOptions() []grpc.ServerOption {
	if l == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(l.Unary), grpc.ChainStreamInterceptor(l.Stream)}
}

// Unary is an interceptor.
func (l *Log) Unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	if l == nil || !l.options.Audited(info.FullMethod) {
		return handler(ctx, request)
	}
	action, err := l.begin(ctx, info.FullMethod, request)
	if err != nil {
		return nil, err
	}
	defer action.end(&err)
	answer, err = handler(ctx, request)
	action.returned = true
	return answer, err
}

// Stream is an interceptor. The action begins when its first message has come: of
// a call that has one answer or more that is the request.
func (l *Log) Stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	if l == nil || !l.options.Audited(info.FullMethod) {
		return handler(server, stream)
	}
	audited := &auditedStream{ServerStream: stream, log: l, method: info.FullMethod}
	defer func() {
		if audited.action != nil {
			audited.action.end(&err)
		}
	}()
	err = handler(server, audited)
	if audited.action != nil {
		audited.action.returned = true
	}
	return err
}

type auditedStream struct {
	grpc.ServerStream
	log    *Log
	method string
	action *action
}

// RecvMsg is called by one goroutine at a time.
func (s *auditedStream) RecvMsg(message any) error {
	err := s.ServerStream.RecvMsg(message)
	if err == nil && s.action == nil {
		s.action, err = s.log.begin(s.Context(), s.method, message)
	}
	return err
}

// action is one that has begun.
type action struct {
	log *Log
	// The attempt.
	record Record
	// Whether the handler returned; else it panicked.
	returned bool
}

// begin writes the attempt. Its error is for the caller: the action must not
// happen.
func (l *Log) begin(ctx context.Context, method string, request any) (*action, error) {
	identity, known := access.FromContext(ctx)
	if !known {
		identity.How = access.Anonymous
	}
	record := Record{
		Time: time.Now(), Phase: Attempt, RequestID: requestID(ctx), Who: identity.Name, How: string(identity.How), Method: method,
	}
	if caller, ok := peer.FromContext(ctx); ok && caller.Addr != nil {
		record.Peer = caller.Addr.String()
	}
	record.Request, record.DryRun = describe(request)
	if err := l.write(record); err != nil {
		return nil, status.Error(codes.Unavailable,
			"nothing was done: the audit log cannot be written; see the server's log, make room on its disk, and try again")
	}
	return &action{log: l, record: record}, nil
}

// end writes the outcome. A fault of writing it does not change the answer: the
// action has happened, and who is told otherwise would do it again.
func (a *action) end(err *error) {
	outcome := a.record
	outcome.Time, outcome.Phase, outcome.Request = time.Now(), Outcome, nil
	outcome.DurationSeconds = outcome.Time.Sub(a.record.Time).Seconds()
	result := status.Convert(*err)
	outcome.Code, outcome.Message = result.Code().String(), shorten(result.Message(), messageBytesMax)
	if !a.returned {
		outcome.Code, outcome.Message = codes.Internal.String(), "panic"
	}
	_ = a.log.write(outcome) // logged and counted
}

// requestID returns the caller's choice, or makes one, and tells the caller.
func requestID(ctx context.Context) string {
	var id string
	headers, _ := metadata.FromIncomingContext(ctx)
	if given := headers.Get(RequestIDHeader); len(given) == 1 && validRequestID(given[0]) {
		id = given[0]
	} else {
		var random [8]byte
		rand.Read(random[:]) // never fails
		id = hex.EncodeToString(random[:])
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs(RequestIDHeader, id)) // a caller that has gone needs none
	return id
}

func validRequestID(id string) bool {
	return id != "" && len(id) <= requestIDBytesMax && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}
