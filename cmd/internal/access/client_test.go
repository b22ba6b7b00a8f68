package access

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/certs"
	"github.com/skerrydb/skerry/cmd/internal/certs/certstest"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
)

// awayConn is a connection that says to lead elsewhere.
type awayConn struct{ net.Conn }

func (awayConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 9095}
}

func status1(t *testing.T, address string, client Client, more ...grpc.DialOption) error {
	t.Helper()
	options, err := client.DialOptions()
	must(t, err)
	conn, err := grpc.NewClient("passthrough:///"+address, append(options, more...)...)
	must(t, err)
	defer conn.Close()
	_, err = adminv1.NewAdminServiceClient(conn).Status(limited(t), &adminv1.StatusRequest{})
	return err
}

func TestClient(t *testing.T) {
	token, hash := NewToken()
	if hash != HashToken(token) || len(token) < 40 {
		t.Fatal("not what a file would keep")
	}
	g, _, _ := gate(t, "tokens:\n"+tokenEntry("a", token, "read"))
	ca := certstest.NewCA(t)
	files := certstest.Write(t, t.TempDir(), ca.Issue(t, certstest.Leaf{}), ca.PEM)
	r := reloader(t, certs.Options{CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA})
	serverTLS, err := r.GRPC(certs.Port{ClientCert: certs.IfGiven})
	must(t, err)
	_, plain := serve(t, g.ServerOptions(), nil)
	_, secure := serve(t, g.ServerOptions(), serverTLS)
	clientTLS := reloader(t, certs.Options{CAFile: files.CA}).ClientGRPC()
	tokenFile := write(t, "token", token+"\n")
	away := grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		return awayConn{conn}, err
	})

	must(t, status1(t, plain, Client{TokenFile: tokenFile}))
	must(t, status1(t, secure, Client{TokenFile: tokenFile, TLS: clientTLS}))
	must(t, status1(t, secure, Client{TokenFile: tokenFile, TLS: clientTLS}, away))
	must(t, status1(t, plain, Client{TokenFile: tokenFile, SendTokenInPlaintext: true}, away))
	for name, client := range map[string]Client{
		"plaintext":            {TokenFile: tokenFile},
		"plaintext of another": {TokenFile: tokenFile, TLS: insecure.NewCredentials()},
	} {
		if err := status1(t, plain, client, away); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "-insecure-token") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := status1(t, plain, Client{}); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "Bearer TOKEN") {
		t.Errorf("got %v", err)
	}
}

func TestTokenFile(t *testing.T) {
	for name, content := range map[string]string{
		"empty": " \n", "two words": "a b", "two lines": "a\nb", "header": "a\r\nx: y", "huge": strings.Repeat("x", 1<<20), "binary": "a\x00b", "umlaut": "ä",
	} {
		if _, err := (Client{TokenFile: write(t, "token", content)}).DialOptions(); err == nil || !strings.Contains(err.Error(), "token and nothing else") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := (Client{TokenFile: "/nonexistent/token"}).DialOptions(); err == nil {
		t.Error("no file, no fault")
	}
}

// A token file is read again after a while; while it is wrong, the last token is
// sent.
func TestTokenFileIsFollowed(t *testing.T) {
	path := write(t, "token", "one")
	f, now := &fileToken{path: path}, time.Unix(1e9, 0)
	want := func(after time.Duration, token string) {
		t.Helper()
		now = now.Add(after)
		if got, err := f.read(now); got != token || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, token)
		}
	}
	want(0, "one")
	must(t, os.WriteFile(path, []byte("two"), 0o600))
	want(time.Second, "one")
	want(tokenAge, "two")
	must(t, os.Remove(path))
	want(tokenAge, "two")
	must(t, os.WriteFile(path, []byte("three"), 0o600))
	want(tokenAge, "three")
}
