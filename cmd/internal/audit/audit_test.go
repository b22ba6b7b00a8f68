package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/skerrydb/skerry/cmd/internal/access"
	"github.com/skerrydb/skerry/cmd/internal/certs"
	"github.com/skerrydb/skerry/cmd/internal/certs/certstest"
	adminv1 "github.com/skerrydb/skerry/proto/admin/v1"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
)

const operate = "/skerry.admin.v1.AdminService/Operate"

// backend does what do says, and counts.
type backend struct {
	do   func(*adminv1.OperateRequest) error
	done atomic.Int64
}

type admin struct {
	adminv1.UnimplementedAdminServiceServer
	b *backend
}

func (a admin) Status(context.Context, *adminv1.StatusRequest) (*adminv1.StatusResponse, error) {
	return &adminv1.StatusResponse{}, nil
}

func (a admin) Operate(_ context.Context, request *adminv1.OperateRequest) (*adminv1.OperateResponse, error) {
	a.b.done.Add(1)
	if a.b.do != nil {
		if err := a.b.do(request); err != nil {
			return nil, err
		}
	}
	return &adminv1.OperateResponse{}, nil
}

type node struct {
	nodev1.UnimplementedNodeServiceServer
	b *backend
}

func (n node) WatchMap(_ *nodev1.WatchMapRequest, stream grpc.ServerStreamingServer[clusterv1.MapUpdate]) error {
	n.b.done.Add(1)
	return stream.Send(&clusterv1.MapUpdate{})
}

func serve(t *testing.T, b *backend, options ...grpc.ServerOption) string {
	t.Helper()
	server := grpc.NewServer(options...)
	adminv1.RegisterAdminServiceServer(server, admin{b: b})
	nodev1.RegisterNodeServiceServer(server, node{b: b})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func dial(t *testing.T, address string, client access.Client) *grpc.ClientConn {
	t.Helper()
	options, err := client.DialOptions()
	must(t, err)
	conn, err := grpc.NewClient("passthrough:///"+address, options...)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// start opens a log in a new folder, with a server and a client.
func start(t *testing.T, b *backend, options Options) (*Log, adminv1.AdminServiceClient) {
	t.Helper()
	l := open(t, options)
	return l, adminv1.NewAdminServiceClient(dial(t, serve(t, b, l.ServerOptions()...), access.Client{}))
}

func open(t *testing.T, options Options) *Log {
	t.Helper()
	l, err := Open(options, nil, nil)
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []Record {
	t.Helper()
	records, err := Read(path, 1000)
	must(t, err)
	return records
}

func split(dryRun bool) *adminv1.OperateRequest {
	return &adminv1.OperateRequest{Operation: &nodev1.OperateRequest{
		DryRun: dryRun, Reason: "too hot", Action: &nodev1.OperateRequest_Split{Split: &nodev1.SplitAction{RangeId: 7}},
	}}
}

// The whole way: TLS, tokens, a gate and a log. It holds who did what and how it
// ended; who might not is there too; who only read is not.
func TestWho(t *testing.T) {
	alice, aliceHash := access.NewToken()
	bob, bobHash := access.NewToken()
	dir := t.TempDir()
	path, file := filepath.Join(dir, "audit.log"), filepath.Join(dir, "access.yaml")
	must(t, os.WriteFile(file, []byte(fmt.Sprintf("tokens: [{name: alice, sha256: %s, roles: [operate]}, {name: bob, sha256: %s, roles: [read]}]", aliceHash, bobHash)), 0o600))
	ca := certstest.NewCA(t)
	files := certstest.Write(t, t.TempDir(), ca.Issue(t, certstest.Leaf{CommonName: "op-cert", OrganizationalUnits: []string{"skerry:operate"}}), ca.PEM)
	r, err := certs.Open(certs.Options{CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA}, nil, nil)
	must(t, err)
	defer r.Close()
	creds, err := r.GRPC(certs.Port{ClientCert: certs.IfGiven})
	must(t, err)
	l := open(t, Options{Path: path})
	gate, err := access.New(access.Options{File: file, Denied: l.Denied}, nil, nil)
	must(t, err)
	defer gate.Close()
	b := &backend{do: func(request *adminv1.OperateRequest) error {
		if !request.GetOperation().GetDryRun() {
			return status.Error(codes.FailedPrecondition, "the range is being moved")
		}
		return nil
	}}
	address := serve(t, b, append(append(gate.ServerOptions(), l.ServerOptions()...), grpc.Creds(creds))...)
	ctx := limited(t)
	client := func(token string) adminv1.AdminServiceClient {
		tokenFile := filepath.Join(t.TempDir(), "token")
		must(t, os.WriteFile(tokenFile, []byte(token), 0o600))
		return adminv1.NewAdminServiceClient(dial(t, address, access.Client{TokenFile: tokenFile, TLS: r.ClientGRPC()}))
	}
	var header metadata.MD
	if _, err := client(alice).Operate(metadata.AppendToOutgoingContext(ctx, RequestIDHeader, "ticket-17"), split(true), grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	if got := header.Get(RequestIDHeader); len(got) != 1 || got[0] != "ticket-17" {
		t.Errorf("answered with request id %q", got)
	}
	if _, err := adminv1.NewAdminServiceClient(dial(t, address, access.Client{TLS: r.ClientGRPC()})).Operate(ctx, split(false)); status.Code(err) != codes.FailedPrecondition {
		t.Fatal(err)
	}
	if _, err := client(bob).Status(ctx, &adminv1.StatusRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client(bob).Operate(ctx, split(false)); status.Code(err) != codes.PermissionDenied {
		t.Fatal(err)
	}
	must(t, l.Close()) // denials are written in the background
	records := read(t, path)
	if len(records) != 5 || b.done.Load() != 2 {
		t.Fatalf("%d records, %d calls: %+v", len(records), b.done.Load(), records)
	}
	for i, want := range []Record{
		{Phase: Attempt, Who: "alice", How: "token", DryRun: true, RequestID: "ticket-17", Request: json.RawMessage(`{"operation":{"dry_run":true,"reason":"too hot","split":{"range_id":"7"}}}`)},
		{Phase: Outcome, Who: "alice", How: "token", DryRun: true, RequestID: "ticket-17", Code: "OK"},
		{Phase: Attempt, Who: "op-cert", How: "certificate", Request: json.RawMessage(`{"operation":{"reason":"too hot","split":{"range_id":"7"}}}`)},
		{Phase: Outcome, Who: "op-cert", How: "certificate", Code: "FailedPrecondition", Message: "the range is being moved"},
		{Phase: Denied, Who: "bob", How: "token", Reason: "missing_role"},
	} {
		got := records[i]
		if got.Phase != want.Phase || got.Who != want.Who || got.How != want.How || got.DryRun != want.DryRun || got.Code != want.Code ||
			got.Message != want.Message || got.Reason != want.Reason || !bytes.Equal(got.Request, want.Request) || got.Method != operate ||
			want.RequestID != "" && got.RequestID != want.RequestID || !strings.HasPrefix(got.Peer, "127.0.0.1:") || time.Since(got.Time).Abs() > time.Minute {
			t.Errorf("record %d is\n%+v, want\n%+v", i, got, want)
		}
	}
	if records[2].RequestID == "" || records[2].RequestID != records[3].RequestID {
		t.Errorf("an attempt %q and its outcome %q do not belong together", records[2].RequestID, records[3].RequestID)
	}
	content, err := os.ReadFile(path)
	must(t, err)
	if bytes.Contains(content, []byte(alice)) || bytes.Contains(content, []byte(bob)) {
		t.Error("a token is in the log")
	}
}

// The attempt is on disk while the action runs.
func TestAttemptComesFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	seen := 0
	b := &backend{do: func(*adminv1.OperateRequest) error {
		records, err := Read(path, 10)
		seen = len(records)
		return err
	}}
	_, client := start(t, b, Options{Path: path})
	if _, err := client.Operate(limited(t), split(false)); err != nil || seen != 1 {
		t.Errorf("%d records during the action, %v", seen, err)
	}
}

// What cannot be written down is not done.
func TestRefusal(t *testing.T) {
	b := &backend{}
	registry := prometheus.NewRegistry()
	l, err := Open(Options{Path: "/dev/full"}, nil, registry)
	must(t, err)
	client := adminv1.NewAdminServiceClient(dial(t, serve(t, b, l.ServerOptions()...), access.Client{}))
	if _, err := client.Operate(limited(t), split(false)); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "nothing was done") {
		t.Errorf("got %v", err)
	}
	if _, err := client.Status(limited(t), &adminv1.StatusRequest{}); err != nil {
		t.Errorf("reading needs no log: %v", err)
	}
	must(t, l.Close())
	must(t, l.Close())
	if _, err := client.Operate(limited(t), split(false)); status.Code(err) != codes.Unavailable {
		t.Errorf("after Close: got %v", err)
	}
	if b.done.Load() != 0 {
		t.Errorf("%d actions happened unseen", b.done.Load())
	}
	for name, options := range map[string]Options{
		"no folder": {Path: filepath.Join(t.TempDir(), "none", "audit.log")}, "a folder": {Path: t.TempDir()},
		"small": {MaxBytes: 1}, "many": {Keep: 1000}, "none": {Keep: -1},
	} {
		if _, err := Open(options, nil, nil); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// A folder that goes away and comes back: refusals in between, no restart needed.
func TestFolderComesBack(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "logs")
	must(t, os.Mkdir(folder, 0o700))
	path := filepath.Join(folder, "audit.log")
	b := &backend{}
	_, client := start(t, b, Options{Path: path})
	call := func(want codes.Code) {
		t.Helper()
		if _, err := client.Operate(limited(t), split(false)); status.Code(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	call(codes.OK)
	must(t, os.RemoveAll(folder))
	call(codes.Unavailable)
	must(t, os.Mkdir(folder, 0o700))
	call(codes.OK)
	// Others may put the file aside, too.
	must(t, os.Rename(path, path+".elsewhere"))
	call(codes.OK)
	must(t, os.Rename(path, path+".elsewhere"))
	must(t, os.WriteFile(path, nil, 0o600))
	call(codes.OK)
	if n := len(read(t, path)); n != 2 || b.done.Load() != 4 {
		t.Errorf("%d records in the new file, %d actions", n, b.done.Load())
	}
}

// An outcome that cannot be written does not make the caller do it again.
func TestLostOutcome(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "logs")
	must(t, os.Mkdir(folder, 0o700))
	core, logs := observer.New(zapcore.ErrorLevel)
	registry := prometheus.NewRegistry()
	l, err := Open(Options{Path: filepath.Join(folder, "audit.log")}, zap.New(core), registry)
	must(t, err)
	defer l.Close()
	b := &backend{do: func(*adminv1.OperateRequest) error { return os.RemoveAll(folder) }}
	client := adminv1.NewAdminServiceClient(dial(t, serve(t, b, l.ServerOptions()...), access.Client{}))
	if _, err := client.Operate(limited(t), split(false)); err != nil {
		t.Error(err)
	}
	if logs.Len() != 1 || logs.All()[0].ContextMap()["phase"] != "outcome" {
		t.Errorf("logged %v", logs.All())
	}
}

func TestPanic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, Options{Path: path})
	func() {
		defer func() { _ = recover() }()
		_, _ = l.Unary(t.Context(), split(false), &grpc.UnaryServerInfo{FullMethod: operate}, func(context.Context, any) (any, error) { panic("oh") })
		t.Error("the panic is gone")
	}()
	if records := read(t, path); len(records) != 2 || records[1].Code != "Internal" || records[1].Message != "panic" {
		t.Errorf("got %+v", records)
	}
}

func TestStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for name, test := range map[string]struct {
		path string
		want codes.Code
		done int64
	}{"good": {path, codes.OK, 1}, "full": {"/dev/full", codes.Unavailable, 0}} {
		t.Run(name, func(t *testing.T) {
			b := &backend{}
			l := open(t, Options{Path: test.path, Audited: func(method string) bool { return strings.HasSuffix(method, "/WatchMap") }})
			stream, err := nodev1.NewNodeServiceClient(dial(t, serve(t, b, l.ServerOptions()...), access.Client{})).WatchMap(limited(t), &nodev1.WatchMapRequest{})
			must(t, err)
			for _, err = stream.Recv(); err == nil; _, err = stream.Recv() {
			}
			if code := status.Code(err); code != test.want && !(test.want == codes.OK && err.Error() == "EOF") || b.done.Load() != test.done {
				t.Errorf("got %v, %d calls", err, b.done.Load())
			}
		})
	}
	// The outcome is written after the answer has gone: the server's stop waits.
	if records := read(t, path); len(records) == 0 || records[0].Phase != Attempt || string(records[0].Request) != "{}" {
		t.Errorf("got %+v", records)
	}
}

// Requests are bounded, whatever is in them, and each is one line that is read
// back.
func TestHostileRequests(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	_, client := start(t, &backend{}, Options{Path: path})
	ctx := limited(t)
	for _, test := range []struct{ reason, want string }{
		{"a\nb\x00\x1b[2J\u2028<script>", `{"operation"`},
		{strings.Repeat("\x01ä", 3_000), `"{\"operation\"`},
		{strings.Repeat("x", 1<<20), `"1048`},
	} {
		if _, err := client.Operate(metadata.AppendToOutgoingContext(ctx, RequestIDHeader, strings.Repeat("y", 5000)),
			&adminv1.OperateRequest{Operation: &nodev1.OperateRequest{Reason: test.reason, DryRun: true}}); err != nil {
			t.Fatal(err)
		}
		records, err := Read(path, 2)
		must(t, err)
		if len(records) != 2 || records[0].Phase != Attempt || !strings.HasPrefix(string(records[0].Request), test.want) || !records[0].DryRun || len(records[0].RequestID) != 16 {
			t.Errorf("%.20q: got %.300v", test.reason, records)
		}
	}
	content, err := os.ReadFile(path)
	must(t, err)
	if lines := bytes.Count(content, []byte("\n")); lines != 6 || len(content) > 3*(lineBytesMax/2) {
		t.Errorf("%d lines, %d bytes", lines, len(content))
	}
	if got, _ := describe("no message"); string(got) != `"string"` {
		t.Errorf("got %s", got)
	}
	if got, _ := describe(&nodev1.OperateRequest{Reason: "\xff"}); !strings.Contains(string(got), "unprintable") {
		t.Errorf("got %s", got)
	}
}

func TestSecretsAreLeftOut(t *testing.T) {
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type, label descriptorpb.FieldDescriptorProto_Label) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: proto.String(name), Number: proto.Int32(number), Type: kind.Enum(), Label: label.Enum()}
		if kind == descriptorpb.FieldDescriptorProto_TYPE_MESSAGE {
			f.TypeName = proto.String(".x.M")
		}
		return f
	}
	one, many := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("x.proto"), Package: proto.String("x"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("M"), Field: []*descriptorpb.FieldDescriptorProto{
			field("join_token", 1, descriptorpb.FieldDescriptorProto_TYPE_STRING, one), field("page_token", 2, descriptorpb.FieldDescriptorProto_TYPE_STRING, one),
			field("client_secret", 3, descriptorpb.FieldDescriptorProto_TYPE_BYTES, one), field("passwords", 4, descriptorpb.FieldDescriptorProto_TYPE_STRING, many),
			field("token", 5, descriptorpb.FieldDescriptorProto_TYPE_UINT64, one), field("part", 6, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, one),
			field("parts", 7, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, many), field("name", 8, descriptorpb.FieldDescriptorProto_TYPE_STRING, one),
		}}},
	}, nil)
	must(t, err)
	kind := file.Messages().Get(0)
	fill := func(content string) *dynamicpb.Message {
		message := dynamicpb.NewMessage(kind)
		must(t, (proto.UnmarshalOptions{}).Unmarshal([]byte(content), message))
		return message
	}
	inner := "\x0a\x04hush\x12\x04page\x1a\x04hush\x22\x04hush\x28\x05\x42\x02me"
	part := func(tag, content string) string { return tag + string(rune(len(content))) + content }
	message := fill(inner + part("\x32", part("\x3a", inner)) + part("\x3a", inner))
	got, _ := describe(message)
	hidden := `"join_token":"redacted","page_token":"page","token":"5"`
	if strings.Contains(string(got), "hush") || strings.Contains(string(got), "aHVzaA") || strings.Count(string(got), hidden) < 1 ||
		strings.Count(string(got), `"redacted"`) != 3 || strings.Count(string(got), `"me"`) != 3 {
		t.Errorf("got %s", got)
	}
	if message.Get(kind.Fields().ByName("join_token")).String() != "hush" {
		t.Error("the request itself was changed")
	}
}

// Files are put aside at their size, so many and no more, and read as one; many
// may write meanwhile.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, Options{Path: path, MaxBytes: lineBytesMax, Keep: 3})
	var wait sync.WaitGroup
	const writers, each = 4, 250
	for w := range writers {
		wait.Go(func() {
			for i := range each {
				if err := l.write(Record{Phase: Denied, RequestID: fmt.Sprint(w, "-", i), Message: strings.Repeat("x", 400)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	names, err := filepath.Glob(path + "*")
	must(t, err)
	if len(names) != 4 {
		t.Fatalf("kept %v", names)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		must(t, err)
		if info.Size() > lineBytesMax || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has %d bytes, %s", name, info.Size(), info.Mode())
		}
	}
	all := read(t, path)
	last := map[string]int{}
	for _, record := range all {
		var w string
		var i int
		if _, err := fmt.Sscanf(strings.Replace(record.RequestID, "-", " ", 1), "%s %d", &w, &i); err != nil || record.Phase != Denied {
			t.Fatalf("%+v: %v", record, err)
		}
		if before, ok := last[w]; ok && i != before+1 {
			t.Fatalf("writer %s: %d after %d", w, i, before)
		}
		last[w] = i
	}
	for w, i := range last {
		if i != each-1 {
			t.Errorf("writer %s ends with %d", w, i)
		}
	}
	few, err := Read(path, 3)
	must(t, err)
	if len(few) != 3 || few[2].RequestID != all[len(all)-1].RequestID || few[0].RequestID != all[len(all)-3].RequestID {
		t.Errorf("the last three are %+v", few)
	}
}

// A rotation that cannot be done refuses, again and again, and loses nothing.
func TestRotationFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l := open(t, Options{Path: path, MaxBytes: lineBytesMax, Keep: 2})
	record := func(i int) Record {
		return Record{Phase: Attempt, RequestID: fmt.Sprint(i), Message: strings.Repeat("x", 40_000)}
	}
	must(t, l.write(record(0)))
	must(t, l.write(record(1)))
	must(t, os.MkdirAll(filepath.Join(path+".2", "in the way"), 0o700))
	for range 3 {
		if l.write(record(2)) == nil {
			t.Fatal("written past the bound")
		}
	}
	must(t, os.RemoveAll(path+".2"))
	must(t, l.write(record(2)))
	if got := read(t, path); len(got) != 3 || got[0].RequestID != "0" || got[2].RequestID != "2" {
		t.Errorf("%d records", len(got))
	}
}

// A line that a crash tore spoils no other, and shows.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	must(t, os.WriteFile(path, []byte(`{"phase":"attempt","who":"a"}`+"\n"+`{"phase":"outc`), 0o600))
	l := open(t, Options{Path: path})
	must(t, l.write(Record{Phase: Attempt, Who: "b"}))
	must(t, l.write(Record{Phase: Outcome, Who: "b"}))
	got := read(t, path)
	if len(got) != 4 || got[0].Who != "a" || got[1].Phase != Unreadable || !strings.Contains(got[1].Message, "outc") || got[2].Who != "b" || got[3].Phase != Outcome {
		t.Errorf("got %+v", got)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	if _, err := Read(path, 10); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := Read(path, 0); err == nil {
		t.Error("no records wanted, no fault")
	}
	content := "\n{}\nnull\n" + strings.Repeat("x", 3*lineBytesMax) + "\n" + `{"phase":"attempt","who":"z"}`
	must(t, os.WriteFile(path, []byte(content), 0o600))
	got := read(t, path)
	if len(got) != 5 || got[4].Who != "z" {
		t.Fatalf("got %+v", got)
	}
	for _, record := range got[:4] {
		if record.Phase != Unreadable || len(record.Message) > 1000 {
			t.Errorf("got %+v", record)
		}
	}
	// In the middle of a rotation the name is free.
	must(t, os.Rename(path, path+".1"))
	if len(read(t, path)) != 5 {
		t.Error("rotated files are not read")
	}
}

// Whoever knocks all the time is seen, and fills nothing.
func TestManyDenials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	l, err := Open(Options{Path: path}, nil, nil)
	must(t, err)
	for range 10_000 {
		l.Denied(access.Denial{Method: operate, Reason: "unknown_token"})
	}
	l.Denied(access.Denial{Method: "/skerry.admin.v1.AdminService/Status"})
	l.denials.mu.Lock()
	if l.denials.suppressed != 10_000-deniedMax {
		t.Errorf("%d suppressed", l.denials.suppressed)
	}
	l.denials.since = l.denials.since.Add(-time.Hour)
	l.denials.mu.Unlock()
	for deadline := time.Now().Add(10 * time.Second); len(l.denied) > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	l.Denied(access.Denial{Method: operate})
	must(t, l.Close())
	l.Denied(access.Denial{Method: operate}) // no panic
	got := read(t, path)
	if len(got) != deniedMax+1 || got[deniedMax].Suppressed != 10_000-deniedMax {
		t.Errorf("%d lines, the last %+v", len(got), got[len(got)-1])
	}
}

// Without a path lines go to the logger; without a log nothing is audited.
func TestElsewhere(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	l, err := Open(Options{}, zap.New(core), nil)
	must(t, err)
	defer l.Close()
	client := adminv1.NewAdminServiceClient(dial(t, serve(t, &backend{}, l.ServerOptions()...), access.Client{}))
	if _, err := client.Operate(limited(t), split(false)); err != nil || logs.FilterMessage("audit").Len() != 2 {
		t.Errorf("%d lines, %v", logs.Len(), err)
	}
	var none *Log
	none.Denied(access.Denial{Method: operate})
	must(t, none.Close())
	if len(none.ServerOptions()) != 0 {
		t.Error("no log, but options")
	}
}
