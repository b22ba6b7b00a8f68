package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	"github.com/skerrydb/skerry/proto/wirecodec"
)

// Servers send and accept messages up to this size.
const messageBytesMax = 100 << 20

const (
	formatTable = "table"
	formatJSON  = "json"
	formatProto = "proto"
)

// client holds the flags of every command that asks a router.
type client struct {
	addr     string
	timeout  time.Duration
	format   *flags.Choice
	security clientSecurity
}

// clientFlags declares them; more formats may follow table and json.
func clientFlags(set *flag.FlagSet, moreFormats ...string) *client {
	c := &client{format: flags.NewChoice(append([]string{formatTable, formatJSON}, moreFormats...)...)}
	set.StringVar(&c.addr, "addr", "127.0.0.1:9095", "`HOST:PORT` gRPC address of a router; or set SKERRY_ADDR")
	set.DurationVar(&c.timeout, "timeout", 10*time.Second, "`DURATION` how long one call may take")
	set.Var(c.format, "o", "`FORMAT` output: "+strings.Join(append([]string{formatTable, formatJSON}, moreFormats...), ", "))
	c.security.declare(set)
	return c
}

func (c *client) dial() (*grpc.ClientConn, error) {
	if c.timeout <= 0 {
		return nil, flags.Usagef("-timeout is %s: want more than 0", c.timeout)
	}
	if _, port, err := net.SplitHostPort(c.addr); err != nil || port == "" {
		return nil, flags.Usagef("-addr is %q: want HOST:PORT", c.addr)
	}
	options, err := c.security.dialOptions()
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient("passthrough:///"+c.addr, append(options,
		// Explanations of queries are trailers.
		grpc.WithMaxHeaderListSize(1<<20),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(wirecodec.Codec{}),
			grpc.MaxCallRecvMsgSize(messageBytesMax),
			grpc.MaxCallSendMsgSize(messageBytesMax),
		))...)
	if err != nil {
		return nil, flags.Usagef("-addr is %q: want HOST:PORT (%w)", c.addr, err)
	}
	return conn, nil
}

// call makes one call within the timeout; its error tells what to do.
func call[Request, Response any](ctx context.Context, c *client, method func(context.Context, *Request, ...grpc.CallOption) (*Response, error), request *Request, options ...grpc.CallOption) (*Response, error) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	response, err := method(limited, request, options...)
	if err == nil {
		return response, nil
	}
	if ctx.Err() != nil {
		return nil, errInterrupted
	}
	return nil, &callError{addr: c.addr, timeout: c.timeout, status: status.Convert(err)}
}

var errInterrupted = errors.New("interrupted")

// callError is a failed call, worded for people.
type callError struct {
	addr    string
	timeout time.Duration
	status  *status.Status
}

func (e *callError) Error() string {
	if hint := e.hint(); hint != "" {
		return e.short() + "; " + hint
	}
	return e.short()
}

// short leaves out what to do.
func (e *callError) short() string {
	return codeName(e.status.Code()) + ": " + e.status.Message()
}

func (e *callError) hint() string {
	switch e.status.Code() {
	case codes.Unavailable:
		if e.unreachable() {
			return fmt.Sprintf("is a router listening on %s? start one with: skerry serve", e.addr)
		}
		return "this may pass: try again, and see: skerry status"
	case codes.DeadlineExceeded:
		return fmt.Sprintf("no answer in %s: see: skerry status, or raise -timeout", e.timeout)
	case codes.Unauthenticated:
		return "say who you are with -token-file, or with -tls-cert and -tls-key"
	case codes.Unimplemented:
		if strings.HasPrefix(e.status.Message(), "unknown method") {
			return fmt.Sprintf("%s is of an older release: upgrade it", e.addr)
		}
		return fmt.Sprintf("%s serves another API: is it a Skerry router?", e.addr)
	case codes.ResourceExhausted:
		return "ask for less, or try again later"
	}
	return ""
}

// unreachable tells a connection that was not made from a server that says it
// is unavailable. Only the text has the difference.
func (e *callError) unreachable() bool {
	for _, made := range []string{"connection error", "connection refused", "name resolver error", "error reading server preface"} {
		if strings.Contains(e.status.Message(), made) {
			return true
		}
	}
	return false
}

// codeName writes a code as gRPC's documents do: INVALID_ARGUMENT.
func codeName(code codes.Code) string {
	if code == codes.Canceled {
		return "CANCELLED"
	}
	var name strings.Builder
	for i, r := range code.String() {
		if i > 0 && unicode.IsUpper(r) {
			name.WriteByte('_')
		}
		name.WriteRune(unicode.ToUpper(r))
	}
	return name.String()
}
