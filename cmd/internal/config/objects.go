package config

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	"github.com/skerrydb/skerry/storage/objects"
)

// Backends of the object store, under Pyroscope's names.
const (
	BackendFolder = "filesystem"
	BackendS3     = "s3"
)

// Objects says where the object store is. Pyroscope's names, where it has them:
// both use the same bucket.
type Objects struct {
	Backend string
	// Put before all names; empty for none.
	Prefix string
	// Folder used as object store; empty means inside DataDir. See ObjectsPath.
	ObjectsDir string
	S3         S3
	// How long one attempt may take, and how many there are.
	ObjectsTimeout  time.Duration
	ObjectsAttempts int
}

// S3 says which bucket it is and how to reach it. It means nothing to another
// backend.
type S3 struct {
	Endpoint, Bucket, Region string
	Insecure, ForcePathStyle bool
	Lookup                   string
	AccessKeyID              string
	SecretAccessKey          string
	CredentialsFile          string
}

func defaultObjects() Objects {
	return Objects{Backend: BackendFolder, S3: S3{Lookup: string(objects.S3LookupAuto)}, ObjectsTimeout: 10 * time.Second, ObjectsAttempts: 3}
}

// ObjectsPath is the folder used as object store.
func (n Node) ObjectsPath() string {
	if n.ObjectsDir != "" {
		return n.ObjectsDir
	}
	return filepath.Join(n.DataDir, "objects")
}

// ObjectStore says the same to the object store.
func (n Node) ObjectStore() objects.Options {
	if n.Backend == BackendFolder {
		return objects.Options{Folder: n.ObjectsPath(), Prefix: n.Prefix}
	}
	return n.s3Store()
}

func (o Objects) s3Store() objects.Options {
	lookup := objects.S3Lookup(o.S3.Lookup)
	if o.S3.ForcePathStyle {
		lookup = objects.S3LookupPath
	}
	return objects.Options{
		Prefix: o.Prefix, Retry: objects.RetryOptions{Timeout: o.ObjectsTimeout, Attempts: o.ObjectsAttempts},
		S3: &objects.S3Options{
			Endpoint: o.S3.Endpoint, Bucket: o.S3.Bucket, Region: o.S3.Region, Insecure: o.S3.Insecure, Lookup: lookup,
			AccessKeyID: o.S3.AccessKeyID, SecretAccessKey: o.S3.SecretAccessKey, CredentialsFile: o.S3.CredentialsFile,
		},
	}
}

// ObjectFlags declares the settings as flags of a command that keeps no data
// itself. The function returns what they say, or a flags.UsageError. The folder
// must exist: one that is made for the purpose holds nothing to look at.
func ObjectFlags(set *flag.FlagSet) func() (objects.Options, error) {
	o := defaultObjects()
	all := o.settings()
	all.find("storage.filesystem.dir").doc = "folder used as object store; needed, unless -storage.backend is s3"
	all.register(set)
	return func() (objects.Options, error) {
		if err := joinFaults(all.validate()); err != nil {
			return objects.Options{}, flags.Usage(err)
		}
		switch {
		case o.Backend == BackendS3:
			return o.s3Store(), nil
		case o.ObjectsDir == "":
			return objects.Options{}, flags.Usagef("say where the objects are: with -storage.filesystem.dir, or with -storage.backend s3 and -storage.s3.bucket-name")
		}
		return objects.Options{Folder: o.ObjectsDir, Existing: true, Prefix: o.Prefix}, nil
	}
}

func (o *Objects) settings() settings {
	s3 := &o.S3
	return settings{
		{"storage.backend", "NAME", "object store: filesystem or s3; a folder is this node's alone, unless it is mounted on all",
			(*text)(&o.Backend), oneOf(&o.Backend, BackendFolder, BackendS3)},
		{"storage.prefix", "PATH", "what all names of objects begin with, as in Pyroscope's settings; empty is nothing",
			(*text)(&o.Prefix), optional(&o.Prefix, cleanPath)},
		{"storage.filesystem.dir", "DIR", "folder used as object store; empty is the folder objects inside -data-dir",
			(*text)(&o.ObjectsDir), nil},
		{"storage.s3.endpoint", "HOST", "host of S3, or HOST:PORT, such as s3.eu-central-1.amazonaws.com",
			(*text)(&s3.Endpoint), o.forS3(&s3.Endpoint, hostOnly)},
		{"storage.s3.bucket-name", "NAME", "bucket in S3",
			(*text)(&s3.Bucket), o.forS3(&s3.Bucket, nil)},
		{"storage.s3.region", "NAME", "region of the bucket; empty asks S3, which needs the permission s3:GetBucketLocation",
			(*text)(&s3.Region), nil},
		{"storage.s3.access-key-id", "ID", "access key; empty takes credentials from -storage.s3.credentials-file, the environment (AWS_ACCESS_KEY_ID …), ~/.aws/credentials, or the machine's role",
			(*text)(&s3.AccessKeyID), together(&s3.AccessKeyID, &s3.SecretAccessKey, "storage.s3.secret-access-key")},
		{"storage.s3.secret-access-key", "SECRET", "its secret; everybody on the machine sees flags: rather write ${NAME} in the file of -config.file",
			(*secret)(&s3.SecretAccessKey), both(notHidden(&s3.SecretAccessKey), together(&s3.SecretAccessKey, &s3.AccessKeyID, "storage.s3.access-key-id"))},
		{"storage.s3.credentials-file", "FILE", "file with credentials as AWS's tools keep them, section default; read again when it changes",
			(*text)(&s3.CredentialsFile), nil},
		{"storage.s3.insecure", "BOOL", "speak HTTP to S3 instead of HTTPS",
			(*toggle)(&s3.Insecure), nil},
		{"storage.s3.bucket-lookup-type", "NAME", "where the bucket's name is in addresses: auto, path-style or virtual-hosted",
			(*text)(&s3.Lookup), oneOf(&s3.Lookup, string(objects.S3LookupAuto), string(objects.S3LookupPath), string(objects.S3LookupVirtualHost))},
		{"storage.s3.force-path-style", "BOOL", "the same as -storage.s3.bucket-lookup-type path-style",
			(*toggle)(&s3.ForcePathStyle), nil},
		{"objects.timeout", "DURATION", "how long one attempt at an operation on S3 may take, 100ms to 10m",
			(*duration)(&o.ObjectsTimeout), between(&o.ObjectsTimeout, 100*time.Millisecond, 10*time.Minute)},
		{"objects.max-attempts", "N", "attempts at an operation on S3 that fails for reasons that pass, 1 to 20",
			(*number)(&o.ObjectsAttempts), between(&o.ObjectsAttempts, 1, 20)},
	}
}

// forS3 demands what S3 needs, and refuses it where it would mean nothing: who set
// it wants S3.
func (o *Objects) forS3(v *string, check func(*string) func() error) func() error {
	return func() error {
		switch {
		case o.Backend == BackendS3 && *v == "":
			return errors.New("must not be empty with storage.backend s3")
		case o.Backend == BackendFolder && *v != "":
			return errors.New("means nothing with storage.backend filesystem: set storage.backend to s3, or leave this out")
		case *v == "" || check == nil:
			return nil
		}
		return check(v)()
	}
}

func hostOnly(v *string) func() error {
	return func() error {
		if strings.Contains(*v, "/") {
			return errors.New("want HOST or HOST:PORT without https:// (HTTP is -storage.s3.insecure)")
		}
		return nil
	}
}

func cleanPath(v *string) func() error {
	return func() error {
		if trimmed := strings.Trim(*v, "/"); trimmed == "." || !fs.ValidPath(trimmed) {
			return errors.New("want a path such as team/profiles, without . and .. in it")
		}
		return nil
	}
}

// together demands another setting with this one.
func together(v, other *string, name string) func() error {
	return func() error {
		if *v != "" && *other == "" {
			return fmt.Errorf("needs %s, too", name)
		}
		return nil
	}
}

// hidden is what is shown of secrets.
const hidden = "********"

// secret is a text that is not shown.
type secret string

func (v *secret) Set(s string) error { *v = secret(s); return nil }
func (v *secret) yamlTag() string    { return "!!str" }

func (v *secret) String() string {
	if *v == "" {
		return ""
	}
	return hidden
}

// notHidden refuses what was printed and fed back.
func notHidden(v *string) func() error {
	return func() error {
		if *v == hidden {
			return errors.New("want the secret itself: -print-config does not show it")
		}
		return nil
	}
}
