package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// Client says how a program calls a server that has a gate.
type Client struct {
	// TokenFile holds a token and nothing else; empty to send none. It is read
	// again while it is used.
	TokenFile string
	// TLS encrypts; nil for plaintext.
	TLS credentials.TransportCredentials
	// SendTokenInPlaintext sends the token even where others could read it: over a
	// connection without TLS that leaves this machine.
	SendTokenInPlaintext bool
}

// DialOptions are the options of a connection, transport credentials included. A
// token file that is wrong is an error now, not at the first call.
func (c Client) DialOptions() ([]grpc.DialOption, error) {
	transport := c.TLS
	if transport == nil {
		transport = plaintext{insecure.NewCredentials()}
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(transport)}
	if c.TokenFile == "" {
		return options, nil
	}
	token := &fileToken{path: c.TokenFile, plaintext: c.SendTokenInPlaintext}
	if _, err := token.read(time.Now()); err != nil {
		return nil, err
	}
	return append(options, grpc.WithPerRPCCredentials(token)), nil
}

// plaintext notes of a connection whether it stays on this machine. The address
// of the connection counts: names may lead anywhere.
type plaintext struct {
	credentials.TransportCredentials
}

type plaintextInfo struct {
	credentials.CommonAuthInfo
	local bool
}

// AuthType is part of gRPC's interface.
func (plaintextInfo) AuthType() string { return "insecure" }

// ClientHandshake does nothing to the connection.
func (p plaintext) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return raw, plaintextInfo{credentials.CommonAuthInfo{SecurityLevel: credentials.NoSecurity}, isLocal(raw.RemoteAddr())}, nil
}

// Clone is part of gRPC's interface.
func (p plaintext) Clone() credentials.TransportCredentials {
	return plaintext{p.TransportCredentials.Clone()}
}

func isLocal(address net.Addr) bool {
	switch address := address.(type) {
	case *net.TCPAddr:
		return address.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// tokenAge is how long a token is used before its file is read again.
const tokenAge = 10 * time.Second

// fileToken sends a token with each call.
type fileToken struct {
	path      string
	plaintext bool

	mu    sync.Mutex
	token string
	at    time.Time
}

// RequireTransportSecurity is false since the answer depends on the connection:
// see GetRequestMetadata.
func (f *fileToken) RequireTransportSecurity() bool { return false }

// GetRequestMetadata refuses to send the token where others could read it.
func (f *fileToken) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if err := f.mayBeSent(ctx); err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	token, err := f.read(time.Now())
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

func (f *fileToken) mayBeSent(ctx context.Context) error {
	info, _ := credentials.RequestInfoFromContext(ctx)
	if known, ok := info.AuthInfo.(plaintextInfo); ok && known.local || f.plaintext {
		return nil
	}
	if credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity) == nil && info.AuthInfo != nil {
		return nil
	}
	return errors.New("the token is not sent over a connection that others could read: use TLS, or allow it with -insecure-token")
}

// read returns the token. One that was read before stays while the file is wrong.
func (f *fileToken) read(now time.Time) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.token != "" && now.Sub(f.at) < tokenAge {
		return f.token, nil
	}
	token, err := readToken(f.path)
	if err != nil && f.token == "" {
		return "", err
	}
	if err == nil {
		f.token = token
	}
	f.at = now
	return f.token, nil
}

func readToken(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("token file cannot be read: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, 2*tokenBytesMax))
	if err != nil {
		return "", fmt.Errorf("token file cannot be read: %w", err)
	}
	token := strings.TrimSpace(string(content))
	switch {
	case token == "":
		return "", fmt.Errorf("token file %s is empty: want the token and nothing else", path)
	case len(token) > tokenBytesMax:
		return "", fmt.Errorf("token file %s has more than %d bytes: want the token and nothing else", path, tokenBytesMax)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fmt.Errorf("token file %s holds spaces or other characters that no token has: want the token and nothing else", path)
	}
	return token, nil
}
