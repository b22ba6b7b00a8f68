package access

import (
	"context"
	"crypto/tls"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

// headerBytesMax bounds the headers of a call. The library's own bound is 16 MB.
const headerBytesMax = 64 << 10

// ServerOptions guard a gRPC server. They come before other options with
// interceptors: who may not call should not wait in their queues. The decision is
// made twice, when the headers have arrived, so that strangers' messages are not
// received, and where the server is sure which method it calls.
func (g *Gate) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxHeaderListSize(headerBytesMax),
		grpc.InTapHandle(g.tap),
		grpc.ChainUnaryInterceptor(g.Unary),
		grpc.ChainStreamInterceptor(g.Stream),
	}
}

func (g *Gate) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	return g.enter(ctx, info.FullMethodName)
}

// Unary is an interceptor. The handler's context carries the identity.
func (g *Gate) Unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, err := g.enter(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

// Stream is an interceptor. A stream is judged when it begins: what is taken from
// its caller later counts at the next one.
func (g *Gate) Stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx, err := g.enter(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return handler(server, identified{stream, ctx})
}

type identified struct {
	grpc.ServerStream
	ctx context.Context
}

func (i identified) Context() context.Context { return i.ctx }

// enter decides about a call; the context that it returns knows who calls.
func (g *Gate) enter(ctx context.Context, method string) (context.Context, error) {
	state := tlsState(ctx)
	if g == nil {
		if _, known := FromContext(ctx); known {
			return ctx, nil
		}
		return withIdentity(ctx, unchecked(state)), nil
	}
	identity, known := FromContext(ctx) // by the tap
	if !known {
		var refused *refusal
		headers, _ := metadata.FromIncomingContext(ctx)
		identity, refused = g.policy.Load().identify(headers.Get("authorization"), state)
		// The open methods are for load balancers, whatever those send along.
		if role, ok := MethodRole(method); refused != nil && !(ok && role == Open) {
			return ctx, g.refuse(ctx, identity, method, refused)
		}
		ctx = withIdentity(ctx, identity)
	}
	role, ok := MethodRole(method)
	if !ok {
		return ctx, g.refuse(ctx, identity, method, &refusal{reasonUnknownMethod, false, "no role may call this method: it is none of this server's"})
	}
	if refused := permit(identity, role, method); refused != nil {
		return ctx, g.refuse(ctx, identity, method, refused)
	}
	return ctx, nil
}

// unchecked names a caller where nothing is decided by it.
func unchecked(state *tls.ConnectionState) Identity {
	everything := Read | Write | Operate | Node
	if state != nil && len(state.VerifiedChains) > 0 {
		return Identity{certificateName(state.VerifiedChains[0][0]), everything, ByCertificate}
	}
	return Identity{Roles: everything, How: Anonymous}
}

func (g *Gate) refuse(ctx context.Context, identity Identity, method string, refused *refusal) error {
	g.denied.WithLabelValues(refused.reason).Inc()
	if refused.reason == reasonUnknownMethod && len(method) > 200 {
		method = method[:200]
	}
	g.log.Warn("call refused", zap.String("reason", refused.reason), zap.String("method", method), zap.Stringer("caller", identity))
	if g.options.Denied != nil {
		denial := Denial{Method: method, Identity: identity, Reason: refused.reason}
		if caller, ok := peer.FromContext(ctx); ok && caller.Addr != nil {
			denial.Peer = caller.Addr.String()
		}
		g.options.Denied(denial)
	}
	if refused.unauthenticated {
		return status.Error(codes.Unauthenticated, refused.text)
	}
	return status.Error(codes.PermissionDenied, refused.text)
}

func tlsState(ctx context.Context) *tls.ConnectionState {
	if caller, ok := peer.FromContext(ctx); ok {
		if info, ok := caller.AuthInfo.(credentials.TLSInfo); ok {
			return &info.State
		}
	}
	return nil
}
