package certs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/skerrydb/skerry/cmd/internal/certs"
	"github.com/skerrydb/skerry/cmd/internal/certs/certstest"
)

const never = -1

func options(files certstest.Files) certs.Options {
	return certs.Options{CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA, ReloadInterval: never}
}

func open(t *testing.T, o certs.Options) *certs.Reloader {
	t.Helper()
	r, err := certs.Open(o, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// serve starts a gRPC server that tells on names who called last, by common name.
func serve(t *testing.T, r *certs.Reloader, port certs.Port) (address string, names *atomic.Value) {
	t.Helper()
	creds, err := r.GRPC(port)
	if err != nil {
		t.Fatal(err)
	}
	names = &atomic.Value{}
	server := grpc.NewServer(grpc.Creds(creds), grpc.UnaryInterceptor(
		func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			caller, _ := peer.FromContext(ctx)
			name := "nobody"
			if chains := caller.AuthInfo.(credentials.TLSInfo).State.VerifiedChains; len(chains) > 0 {
				name = chains[0][0].Subject.CommonName
			}
			names.Store(name)
			return handler(ctx, request)
		}))
	healthv1.RegisterHealthServer(server, health.NewServer())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String(), names
}

// call makes a new connection and one call.
func call(t *testing.T, creds credentials.TransportCredentials, address string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}

func wantOK(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantRefused(t *testing.T, err error, text string) {
	t.Helper()
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), text) {
		t.Fatalf("got %v, want a refused connection with %q", err, text)
	}
}

// The same reloader serves and calls; both sides see each other's certificates,
// by IP address, which no SNI carries.
func TestMutual(t *testing.T) {
	ca := certstest.NewCA(t)
	o := options(certstest.Write(t, t.TempDir(), ca.Issue(t, certstest.Leaf{CommonName: "n1"}), ca.PEM))
	o.RequireClientCert = true
	r := open(t, o)
	address, names := serve(t, r, certs.Port{})
	wantOK(t, call(t, r.ClientGRPC(), address))
	if names.Load() != "n1" {
		t.Errorf("called by %v", names.Load())
	}

	stranger := certstest.NewCA(t)
	pair := stranger.Issue(t, certstest.Leaf{CommonName: "evil"})
	without := open(t, certs.Options{CAFile: o.CAFile, ReloadInterval: never})
	wantRefused(t, call(t, without.ClientGRPC(), address), "")
	wantRefused(t, call(t, open(t, options(certstest.Write(t, t.TempDir(), pair, ca.PEM))).ClientGRPC(), address), "")
	// A client that trusts somebody else does not talk to the server.
	wantRefused(t, call(t, open(t, options(certstest.Write(t, t.TempDir(), pair, stranger.PEM))).ClientGRPC(), address), "unknown authority")
	// Without authorities of one's own the system's are trusted, and this is none.
	wantRefused(t, call(t, open(t, certs.Options{ReloadInterval: never}).ClientGRPC(), address), "certificate is refused")
}

func TestServerName(t *testing.T) {
	ca := certstest.NewCA(t)
	named := ca.Issue(t, certstest.Leaf{CommonName: "n1", DNSNames: []string{"node-1.skerry"}})
	o := options(certstest.Write(t, t.TempDir(), named, ca.PEM))
	r := open(t, o)
	address, _ := serve(t, r, certs.Port{})
	wantRefused(t, call(t, r.ClientGRPC(), address), "127.0.0.1")
	o.ServerName = "node-1.skerry"
	wantOK(t, call(t, open(t, o).ClientGRPC(), address))
	o.ServerName = "node-2.skerry"
	wantRefused(t, call(t, open(t, o).ClientGRPC(), address), "node-2.skerry")

	// A config that does not know whom it calls refuses: the library would not tell
	// it about an IP address.
	conn, err := tls.Dial("tcp", address, r.Client("", "h2"))
	if err == nil {
		conn.Close()
		t.Fatal("a server was accepted without a name to check")
	}
}

// A client's certificate does not make a server of its holder.
func TestUsages(t *testing.T) {
	ca := certstest.NewCA(t)
	clientOnly := ca.Issue(t, certstest.Leaf{CommonName: "reader", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	r := open(t, options(certstest.Write(t, t.TempDir(), clientOnly, ca.PEM)))
	if _, err := r.Server(certs.Port{}); err == nil || !strings.Contains(err.Error(), "serverAuth") {
		t.Errorf("got %v", err)
	}
	// Whoever ignores that is not believed.
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{clientOnly.TLS(t)}, NextProtos: []string{"h2"}})
	wantOK(t, err)
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	if _, err := r.DialContext(t.Context(), "tcp", listener.Addr().String()); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Errorf("got %v", err)
	}
	if _, err := open(t, certs.Options{CAFile: options(certstest.Files{}).CAFile, ReloadInterval: never}).Server(certs.Port{}); err == nil {
		t.Error("a server without a certificate")
	}
}

// One port lets everybody in, another asks about each peer.
func TestPorts(t *testing.T) {
	ca := certstest.NewCA(t)
	o := options(certstest.Write(t, t.TempDir(), ca.Issue(t, certstest.Leaf{CommonName: "n1"}), ca.PEM))
	o.RequireClientCert = true
	r := open(t, o)
	without := open(t, certs.Options{CAFile: o.CAFile, ReloadInterval: never})
	address, names := serve(t, r, certs.Port{ClientCert: certs.IfGiven})
	wantOK(t, call(t, without.ClientGRPC(), address))
	if names.Load() != "nobody" {
		t.Errorf("called by %v", names.Load())
	}
	// What is given is checked.
	wrong := certstest.NewCA(t).Issue(t, certstest.Leaf{})
	wantRefused(t, call(t, open(t, options(certstest.Write(t, t.TempDir(), wrong, ca.PEM))).ClientGRPC(), address), "")

	config, err := r.Server(certs.Port{ClientCert: certs.Required, Peer: func(leaf *x509.Certificate) error {
		if leaf.Subject.CommonName != "n1" {
			return errors.New("no node")
		}
		return nil
	}})
	wantOK(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	wantOK(t, err)
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			io.Copy(conn, conn) // an echo ends when its client does
			conn.Close()
		}
	}()
	echo := func(r *certs.Reloader) error {
		conn, err := r.DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		wantOK(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		if _, err := conn.Write([]byte("raft")); err != nil {
			return err
		}
		_, err = io.ReadFull(conn, make([]byte, 4))
		return err
	}
	wantOK(t, echo(r))
	other := open(t, options(certstest.Write(t, t.TempDir(), ca.Issue(t, certstest.Leaf{CommonName: "reader"}), ca.PEM)))
	if echo(other) == nil || echo(without) == nil {
		t.Error("a port for nodes took others")
	}
}

// An HTTP server and client over the same files.
func TestHTTP(t *testing.T) {
	ca := certstest.NewCA(t)
	r := open(t, options(certstest.Write(t, t.TempDir(), ca.Issue(t, certstest.Leaf{}), ca.PEM)))
	config, err := r.Server(certs.Port{ClientCert: certs.IfGiven, Protocols: []string{"h2", "http/1.1"}})
	wantOK(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	wantOK(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })}
	go server.Serve(listener)
	defer server.Close()
	transport := &http.Transport{DialTLSContext: r.DialContext}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get("https://" + listener.Addr().String())
	wantOK(t, err)
	defer answer.Body.Close()
	if body, _ := io.ReadAll(answer.Body); string(body) != "ok" {
		t.Errorf("got %q", body)
	}
}

// Certificates and authorities are replaced while a client calls, always over new
// connections: no call fails, and in the end only the new authority counts.
func TestRotationUnderCalls(t *testing.T) {
	oldCA, newCA := certstest.NewCA(t), certstest.NewCA(t)
	dir := t.TempDir()
	oldPair, newPair := oldCA.Issue(t, certstest.Leaf{CommonName: "old"}), newCA.Issue(t, certstest.Leaf{CommonName: "new"})
	o := options(certstest.Write(t, dir, oldPair, oldCA.PEM))
	o.RequireClientCert, o.ReloadInterval = true, time.Millisecond
	registry := prometheus.NewRegistry()
	r, err := certs.Open(o, nil, registry)
	wantOK(t, err)
	defer r.Close()
	address, names := serve(t, r, certs.Port{})
	until := func(what string, reached func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !reached(); {
			if time.Now().After(deadline) {
				t.Fatalf("no end of waiting for %s", what)
			}
			wantOK(t, call(t, r.ClientGRPC(), address))
		}
	}
	taken := func() float64 {
		return counter(t, registry, "skerry_tls_reloads_total", "success")
	}
	both := append(bytes.Clone(oldCA.PEM), newCA.PEM...)
	until("the first call", func() bool { return names.Load() == "old" })
	certstest.Write(t, dir, certstest.Pair{}, both)
	until("both authorities", func() bool { return taken() >= 1 })
	certstest.Write(t, dir, newPair, nil)
	until("the new certificate", func() bool { return names.Load() == "new" })
	seen := taken()
	certstest.Write(t, dir, certstest.Pair{}, newCA.PEM)
	until("the new authority alone", func() bool { return taken() > seen })
	wantOK(t, call(t, r.ClientGRPC(), address))
	old := open(t, options(certstest.Write(t, t.TempDir(), oldPair, both)))
	wantRefused(t, call(t, old.ClientGRPC(), address), "")
	leaf := newPair.Leaf(t)
	if got := gauge(t, registry, "skerry_tls_certificate_expiry_seconds"); got != float64(leaf.NotAfter.Unix()) {
		t.Errorf("expiry %v, want %v", got, leaf.NotAfter.Unix())
	}
}

// A config that was given out before a change of authorities follows it.
func TestClientConfigFollows(t *testing.T) {
	ca, other := certstest.NewCA(t), certstest.NewCA(t)
	server := open(t, options(certstest.Write(t, t.TempDir(), ca.Issue(t, certstest.Leaf{}), ca.PEM)))
	address, _ := serve(t, server, certs.Port{})
	dir := t.TempDir()
	client := open(t, certs.Options{CAFile: certstest.Write(t, dir, certstest.Pair{}, ca.PEM).CA, ReloadInterval: never})
	config := client.Client("127.0.0.1", "h2")
	conn, err := tls.Dial("tcp", address, config)
	wantOK(t, err)
	conn.Close()
	certstest.Write(t, dir, certstest.Pair{}, other.PEM)
	wantOK(t, client.Reload())
	if conn, err = tls.Dial("tcp", address, config); err == nil {
		conn.Close()
		t.Error("trusts an authority that is gone")
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	ca := certstest.NewCA(t)
	// Not gRPC's: its choice of ciphers would refuse old versions anyway.
	config, err := open(t, options(certstest.Write(t, t.TempDir(), ca.Issue(t, certstest.Leaf{}), ca.PEM))).Server(certs.Port{})
	wantOK(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	wantOK(t, err)
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.(*tls.Conn).Handshake()
			conn.Close()
		}
	}()
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: version})
		if err == nil {
			conn.Close()
		}
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

// Kubernetes mounts a secret as links through ..data, which is swapped as a whole.
func TestKubernetesSwap(t *testing.T) {
	ca := certstest.NewCA(t)
	dir := t.TempDir()
	for _, version := range []string{"..v1", "..v2"} {
		wantOK(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		certstest.Write(t, filepath.Join(dir, version), ca.Issue(t, certstest.Leaf{CommonName: version}), ca.PEM)
	}
	wantOK(t, os.Symlink("..v1", filepath.Join(dir, "..data")))
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		wantOK(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
	}
	r := open(t, options(certstest.Files{Cert: dir + "/tls.crt", Key: dir + "/tls.key", CA: dir + "/ca.crt"}))
	address, names := serve(t, r, certs.Port{})
	wantOK(t, call(t, r.ClientGRPC(), address))
	wantOK(t, os.Symlink("..v2", filepath.Join(dir, "..tmp")))
	wantOK(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	wantOK(t, os.RemoveAll(filepath.Join(dir, "..v1")))
	wantOK(t, r.Reload())
	wantOK(t, call(t, r.ClientGRPC(), address))
	if names.Load() != "..v2" {
		t.Errorf("called by %v", names.Load())
	}
}

// A fault is logged once for as long as it lasts, counted each time, and leaves
// the last good files in use.
func TestFaultyReload(t *testing.T) {
	ca := certstest.NewCA(t)
	dir := t.TempDir()
	core, logs := observer.New(zapcore.InfoLevel)
	registry := prometheus.NewRegistry()
	r, err := certs.Open(options(certstest.Write(t, dir, ca.Issue(t, certstest.Leaf{CommonName: "first"}), ca.PEM)), zap.New(core), registry)
	wantOK(t, err)
	defer r.Close()
	address, names := serve(t, r, certs.Port{})

	second := ca.Issue(t, certstest.Leaf{CommonName: "second"})
	certstest.Write(t, dir, certstest.Pair{Cert: second.Cert}, nil) // the key comes later
	for range 5 {
		if err := r.Reload(); err == nil || !strings.Contains(err.Error(), "no pair") {
			t.Fatalf("got %v", err)
		}
	}
	wantOK(t, call(t, r.ClientGRPC(), address))
	if names.Load() != "first" {
		t.Errorf("called by %v", names.Load())
	}
	if n := logs.FilterLevelExact(zapcore.ErrorLevel).Len(); n != 1 {
		t.Errorf("%d lines about one fault", n)
	}
	if got := counter(t, registry, "skerry_tls_reloads_total", "failure"); got != 5 {
		t.Errorf("%v failures, want 5", got)
	}
	expired := ca.Issue(t, certstest.Leaf{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	certstest.Write(t, dir, expired, nil)
	if r.Reload() == nil || logs.FilterLevelExact(zapcore.ErrorLevel).Len() != 2 {
		t.Error("another fault is not told")
	}
	certstest.Write(t, dir, second, nil)
	wantOK(t, r.Reload())
	wantOK(t, call(t, r.ClientGRPC(), address))
	if names.Load() != "second" {
		t.Errorf("called by %v", names.Load())
	}
	// The fault was gone in between: it is told again.
	certstest.Write(t, dir, expired, nil)
	if r.Reload() == nil || logs.FilterLevelExact(zapcore.ErrorLevel).Len() != 3 {
		t.Error("a fault that came back is not told")
	}
}

// Every fault is found at once, and its text says which file and what to do.
func TestValidate(t *testing.T) {
	ca, dir := certstest.NewCA(t), t.TempDir()
	good := certstest.Write(t, dir, ca.Issue(t, certstest.Leaf{}), ca.PEM)
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		wantOK(t, os.WriteFile(path, content, 0o600))
		return path
	}
	at := func(from, to time.Duration) string {
		pair := ca.Issue(t, certstest.Leaf{NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to)})
		return certstest.Write(t, t.TempDir(), pair, nil).Cert
	}
	keyOf := func(cert string) string { return strings.TrimSuffix(cert, "crt") + "key" }
	expired, future := at(-2*time.Hour, -time.Hour), at(time.Hour, 2*time.Hour)
	otherKey := file("other.key", ca.Issue(t, certstest.Leaf{}).Key)
	garbage, empty := file("garbage", bytes.Repeat([]byte{0xff, '-', '\n'}, 1000)), file("empty", nil)
	huge := file("huge", make([]byte, 2<<20))
	badBlock := file("bad", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	encrypted := file("encrypted", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	oldCA := file("old-ca", certstest.NewCAUntil(t, time.Now().Add(-time.Hour)).PEM)
	mixedCA := file("mixed-ca", append(certstest.NewCAUntil(t, time.Now().Add(-time.Hour)).PEM, ca.PEM...))
	gone := filepath.Join(dir, "gone")
	for name, test := range map[string]struct {
		options certs.Options
		want    []string
	}{
		"nothing":             {certs.Options{}, nil},
		"all":                 {certs.Options{CertFile: good.Cert, KeyFile: good.Key, CAFile: good.CA, RequireClientCert: true}, nil},
		"an old CA beside":    {certs.Options{CAFile: mixedCA}, nil},
		"no key":              {certs.Options{CertFile: good.Cert}, []string{"has no key"}},
		"no certificate":      {certs.Options{KeyFile: good.Key}, []string{"has no certificate"}},
		"required, no CA":     {certs.Options{CertFile: good.Cert, KeyFile: good.Key, RequireClientCert: true}, []string{"no CA"}},
		"required, no TLS":    {certs.Options{CAFile: good.CA, RequireClientCert: true}, []string{"takes TLS"}},
		"missing files":       {certs.Options{CertFile: gone, KeyFile: gone, CAFile: gone}, []string{"certificate cannot", "key cannot", "CA cannot"}},
		"other key":           {certs.Options{CertFile: good.Cert, KeyFile: otherKey}, []string{"no pair"}},
		"swapped":             {certs.Options{CertFile: good.Key, KeyFile: good.Cert}, []string{"no pair"}},
		"expired":             {certs.Options{CertFile: expired, KeyFile: keyOf(expired)}, []string{"expired at", "renew"}},
		"not yet":             {certs.Options{CertFile: future, KeyFile: keyOf(future)}, []string{"not valid before", "clock"}},
		"garbage":             {certs.Options{CertFile: garbage, KeyFile: garbage, CAFile: garbage}, []string{"no PEM", "no certificate"}},
		"garbage key":         {certs.Options{CertFile: good.Cert, KeyFile: garbage}, []string{"key", "no PEM"}},
		"empty":               {certs.Options{CertFile: empty, KeyFile: empty, CAFile: empty}, []string{"no PEM", "no certificate"}},
		"huge":                {certs.Options{CAFile: huge}, []string{"more than"}},
		"malformed":           {certs.Options{CertFile: badBlock, KeyFile: good.Key, CAFile: badBlock}, []string{"no pair", "CA "}},
		"encrypted key":       {certs.Options{CertFile: good.Cert, KeyFile: encrypted}, []string{"encrypted", "decrypt"}},
		"expired CA":          {certs.Options{CAFile: oldCA}, []string{"CA", "expired at"}},
		"key in CA":           {certs.Options{CAFile: good.Key}, []string{"certificates only"}},
		"a folder":            {certs.Options{CAFile: dir}, []string{"CA cannot be read"}},
		"expired, missing CA": {certs.Options{CertFile: expired, KeyFile: keyOf(expired), CAFile: oldCA}, []string{"certificate", "CA"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.options.Validate()
			if (err == nil) != (test.want == nil) {
				t.Fatalf("got %v", err)
			}
			for _, text := range test.want {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q lacks %q", err, text)
				}
			}
			if r, openErr := certs.Open(test.options, nil, nil); (openErr == nil) != (err == nil) {
				t.Errorf("opened with %v", openErr)
			} else if openErr == nil {
				r.Close()
			}
		})
	}
}

func TestMetricsAreGivenBack(t *testing.T) {
	registry := prometheus.NewRegistry()
	for range 2 {
		r, err := certs.Open(certs.Options{}, nil, registry)
		wantOK(t, err)
		if _, err := certs.Open(certs.Options{}, nil, registry); err == nil {
			t.Error("two reloaders share their metrics")
		}
		r.Close()
	}
	if families, err := registry.Gather(); len(families) != 0 || err != nil {
		t.Errorf("%d metrics left, %v", len(families), err)
	}
}

func counter(t *testing.T, registry *prometheus.Registry, name, result string) float64 {
	t.Helper()
	return value(t, registry, name, result)
}

func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	return value(t, registry, name, "")
}

func value(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	wantOK(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == name && (label == "" || metric.GetLabel()[0].GetValue() == label) {
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s %s", name, label)
	return 0
}
