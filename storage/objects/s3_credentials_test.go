package objects_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skerrydb/skerry/storage/objects"
	"github.com/skerrydb/skerry/storage/objects/objectstest"
)

func TestCredentialsComeFromAFileThatChanges(t *testing.T) {
	options := objectstest.StartS3(t).Bucket(t)
	file := filepath.Join(t.TempDir(), "credentials")
	age := time.Hour
	write := func(secret string) {
		t.Helper()
		content := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", options.AccessKeyID, secret)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		age -= time.Minute
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	fromFile := options
	fromFile.AccessKeyID, fromFile.SecretAccessKey, fromFile.CredentialsFile = "", "", file
	bucket := openS3(t, fromFile)
	if err := bucket.Check(t.Context()); err == nil {
		t.Error("without the file it worked")
	}
	write("old")
	if err := bucket.Check(t.Context()); !errors.Is(err, objects.ErrRefused) {
		t.Errorf("with a wrong secret: %v", err)
	}
	write(options.SecretAccessKey)
	if err := bucket.Check(t.Context()); err != nil {
		t.Errorf("with the right one: %v", err)
	}
	write("old")
	if err := bucket.Check(t.Context()); !errors.Is(err, objects.ErrRefused) {
		t.Errorf("with a wrong secret again: %v", err)
	}
}

func TestCredentialsComeFromTheEnvironment(t *testing.T) {
	options := objectstest.StartS3(t).Bucket(t)
	t.Setenv("AWS_ACCESS_KEY_ID", options.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", options.SecretAccessKey)
	options.AccessKeyID, options.SecretAccessKey = "", ""
	if err := openS3(t, options).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOpenS3RefusesWhatCannotBe(t *testing.T) {
	for _, options := range []objects.S3Options{
		{Bucket: "bucket"}, {Endpoint: "h"}, {Endpoint: "https://h", Bucket: "bucket"}, {Endpoint: "h", Bucket: "a/b"},
		{Endpoint: "h", Bucket: "bucket", Lookup: "x"}, {Endpoint: "h", Bucket: "bucket", AccessKeyID: "x"},
		{Endpoint: "h", Bucket: "bucket", SecretAccessKey: "x"},
	} {
		if _, err := objects.OpenS3(options, prometheus.NewRegistry()); err == nil {
			t.Errorf("%+v", options)
		}
	}
}
