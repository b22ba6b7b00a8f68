package config

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerrydb/skerry/storage/objects"
)

func TestObjectStoreIsWhatTheSettingsSay(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		want objects.Options
	}{
		{"default", nil, objects.Options{Folder: "data/objects"}},
		{"folder", []string{"-storage.filesystem.dir=/o", "-storage.prefix=/a/b/"}, objects.Options{Folder: "/o", Prefix: "/a/b/"}},
		{
			"S3", []string{
				"-storage.backend=s3", "-storage.s3.endpoint=h:9000", "-storage.s3.bucket-name=b", "-storage.s3.region=r", "-storage.s3.insecure",
				"-storage.s3.access-key-id=id", "-storage.s3.secret-access-key=shh", "-storage.s3.force-path-style", "-storage.prefix=p",
				"-objects.timeout=2s", "-objects.max-attempts=5",
			},
			objects.Options{
				Prefix: "p", Retry: objects.RetryOptions{Timeout: 2 * time.Second, Attempts: 5},
				S3: &objects.S3Options{Endpoint: "h:9000", Bucket: "b", Region: "r", Insecure: true, Lookup: objects.S3LookupPath, AccessKeyID: "id", SecretAccessKey: "shh"},
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(CommandServe, c.args, environment(), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.ObjectStore()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestObjectStoreFaultsNameTheSetting(t *testing.T) {
	for args, want := range map[string]string{
		"-storage.backend=gcs": `storage.backend is "gcs": want one of filesystem, s3`,
		"-storage.backend=s3":  `storage.s3.endpoint is "": must not be empty with storage.backend s3; storage.s3.bucket-name is "": must not be empty`,
		"-storage.backend=s3 -storage.s3.bucket-name=b -storage.s3.endpoint=https://h": `storage.s3.endpoint is "https://h": want HOST or HOST:PORT without https://`,
		"-storage.s3.bucket-name=b":                                          `storage.s3.bucket-name is "b": means nothing with storage.backend filesystem`,
		"-storage.prefix=a/../b":                                             `storage.prefix is "a/../b": want a path`,
		"-storage.s3.access-key-id=x":                                        `storage.s3.access-key-id is "x": needs storage.s3.secret-access-key, too`,
		"-storage.s3.secret-access-key=shh":                                  `storage.s3.secret-access-key is "********": needs storage.s3.access-key-id, too`,
		"-storage.s3.access-key-id=x -storage.s3.secret-access-key=********": `want the secret itself`,
		"-storage.s3.bucket-lookup-type=path":                                `storage.s3.bucket-lookup-type is "path": want one of auto, path-style, virtual-hosted`,
		"-objects.timeout=1ms":                                               `objects.timeout is "1ms": want 100ms to 10m0s`,
		"-objects.max-attempts=0":                                            `objects.max-attempts is "0": want 1 to 20`,
	} {
		_, err := Parse(CommandNode, append(strings.Fields(args), "-join=h:1"), environment(), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "shh") {
			t.Errorf("%s: %v\nlacks %q", args, err, want)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	var out strings.Builder
	args := []string{"-print-config", "-storage.s3.access-key-id=id", "-storage.s3.secret-access-key=shh"}
	if _, err := Parse(CommandServe, args, environment(), &out); err != ErrPrinted {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "shh") || !strings.Contains(out.String(), hidden) {
		t.Error(out.String())
	}
}
