package objects

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// S3Options say which bucket of S3, or of what speaks like it, and how to reach
// it. Endpoint and Bucket are needed.
type S3Options struct {
	// Endpoint is HOST or HOST:PORT.
	Endpoint string
	Bucket   string
	// Region is asked for if it is empty, which needs a permission of its own.
	Region string
	// Insecure speaks HTTP.
	Insecure bool
	Lookup   S3Lookup
	// AccessKeyID and SecretAccessKey come first, then CredentialsFile, then what
	// the environment, the user's files or the machine have.
	AccessKeyID, SecretAccessKey string
	// CredentialsFile is a file as AWS's tools keep it, of which the section
	// default is used. It is read again when it changes.
	CredentialsFile string
	// PageEntries is how many entries one request of a list asks for, at most 1000;
	// 0 is 1000.
	PageEntries int
}

// S3Lookup says where the bucket's name is in an address.
type S3Lookup string

// Ways of addressing a bucket.
const (
	S3LookupAuto        S3Lookup = "auto"
	S3LookupPath        S3Lookup = "path-style"
	S3LookupVirtualHost S3Lookup = "virtual-hosted"
)

var s3Lookups = map[S3Lookup]minio.BucketLookupType{
	"": minio.BucketLookupAuto, S3LookupAuto: minio.BucketLookupAuto,
	S3LookupPath: minio.BucketLookupPath, S3LookupVirtualHost: minio.BucketLookupDNS,
}

// S3 is a bucket of S3, or of what speaks like it. It tries everything once:
// see Retrying.
type S3 struct {
	core   *minio.Core
	bucket string
	where  string
	page   int // entries of one request for a list
}

var _ Bucket = (*S3)(nil)

// OpenS3 uses a bucket. It does not try to reach it: see Check.
func OpenS3(options S3Options, metrics prometheus.Registerer) (*S3, error) {
	lookup, known := s3Lookups[options.Lookup]
	switch {
	case options.Endpoint == "":
		return nil, errors.New("the endpoint is missing")
	case strings.Contains(options.Endpoint, "/"):
		return nil, fmt.Errorf("the endpoint is %q: want HOST or HOST:PORT, without https://", options.Endpoint)
	case options.Bucket == "" || strings.ContainsAny(options.Bucket, "/ "):
		return nil, fmt.Errorf("the bucket's name is %q: want the name of a bucket", options.Bucket)
	case !known:
		return nil, fmt.Errorf("no such lookup: %q", options.Lookup)
	case (options.AccessKeyID == "") != (options.SecretAccessKey == ""):
		return nil, errors.New("an access key needs its ID and its secret: one of them is missing")
	}
	transport, err := s3Transport(!options.Insecure, metrics)
	if err != nil {
		return nil, err
	}
	core, err := minio.NewCore(options.Endpoint, &minio.Options{
		Creds: s3Credentials(options), Secure: !options.Insecure, Region: options.Region, BucketLookup: lookup,
		// One attempt: what it retries by itself includes what may have happened
		// already, such as conditional puts, and leaves out bodies that end early.
		MaxRetries: 1,
		Transport:  transport,
	})
	if err != nil {
		return nil, err
	}
	return &S3{core: core, bucket: options.Bucket, where: "s3://" + options.Bucket + " at " + options.Endpoint, page: cmp.Or(options.PageEntries, pageEntries)}, nil
}

// s3Transport is made for many small requests to one host, and counts them: they
// are what a bucket costs.
func s3Transport(secure bool, metrics prometheus.Registerer) (http.RoundTripper, error) {
	transport, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, err
	}
	transport.DialContext = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	transport.MaxIdleConnsPerHost = 128
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "skerry_objects_s3_requests_total", Help: "Requests to S3 that were answered, by HTTP method and status.",
	}, []string{"method", "code"})
	if err := metrics.Register(requests); err != nil {
		return nil, err
	}
	return promhttp.InstrumentRoundTripperCounter(requests, transport), nil
}

// String says which bucket it is.
func (s *S3) String() string { return s.where }
