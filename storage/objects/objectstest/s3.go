package objectstest

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/skerrydb/skerry/storage/objects"
)

// Server is a running S3 server.
type Server struct {
	Endpoint             string // HOST:PORT, without TLS
	AccessKey, SecretKey string
	// Folder is where the server keeps buckets: a folder each.
	Folder string

	admin   *minio.Client
	buckets atomic.Int64
}

const startTimeout = 30 * time.Second

// StartS3 starts an S3 server for the time of a test, and skips the test where
// there is none: see Binary.
func StartS3(t testing.TB) *Server {
	t.Helper()
	binary := Binary(t)
	// A port that is free now may be taken by the time it is used.
	for range 5 {
		if server := start(t, binary); server != nil {
			return server
		}
	}
	t.Fatal("the S3 server did not start")
	return nil
}

func start(t testing.TB, binary string) *Server {
	t.Helper()
	folder, sidecar := t.TempDir(), t.TempDir()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &Server{Endpoint: free.Addr().String(), AccessKey: "skerry", SecretKey: rand.Text(), Folder: folder}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, "--port", server.Endpoint, "--quiet", "posix", "--sidecar", sidecar, folder)
	command.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+server.AccessKey, "ROOT_SECRET_KEY="+server.SecretKey)
	command.SysProcAttr = endWithParent()
	var output strings.Builder
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-exited
	})
	// It hangs up after some requests that it answered, and a client can be about to
	// send the next one then.
	server.admin = server.client(t, 5)
	impatient := server.client(t, 1)
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); {
		if _, err = impatient.ListBuckets(t.Context()); err == nil {
			return server
		}
		select {
		case <-exited:
			t.Logf("the S3 server exited: %s", output.String())
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Logf("the S3 server does not answer: %v", err)
	return nil
}

func (s *Server) client(t testing.TB, attempts int) *minio.Client {
	t.Helper()
	client, err := minio.New(s.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Region: "us-east-1", MaxRetries: attempts,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Bucket makes a bucket and returns how to use it.
func (s *Server) Bucket(t testing.TB) objects.S3Options {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", s.buckets.Add(1))
	if err := s.admin.MakeBucket(t.Context(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return objects.S3Options{
		Endpoint: s.Endpoint, Bucket: name, Region: "us-east-1", Insecure: true, Lookup: objects.S3LookupPath,
		AccessKeyID: s.AccessKey, SecretAccessKey: s.SecretKey,
	}
}

// MakeDirectory stores the empty object that stands for a directory, whose name
// no Bucket takes.
func (s *Server) MakeDirectory(t testing.TB, bucket, name string) {
	t.Helper()
	if _, err := s.admin.PutObject(t.Context(), bucket, name, strings.NewReader(""), 0, minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}
