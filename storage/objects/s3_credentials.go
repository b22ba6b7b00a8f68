package objects

import (
	"os"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// s3Credentials takes the first source that is configured; of what is not
// configured, the first that has any.
func s3Credentials(options S3Options) *credentials.Credentials {
	switch {
	case options.AccessKeyID != "":
		return credentials.NewStaticV4(options.AccessKeyID, options.SecretAccessKey, "")
	case options.CredentialsFile != "":
		return credentials.New(&credentialsFile{FileAWSCredentials: credentials.FileAWSCredentials{Filename: options.CredentialsFile, Profile: "default"}})
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
	})
}

// credentialsFile is read again when it changes: keys are replaced without a
// restart.
type credentialsFile struct {
	credentials.FileAWSCredentials
	modified time.Time
}

func (f *credentialsFile) Retrieve() (credentials.Value, error) {
	return f.RetrieveWithCredContext(nil)
}

func (f *credentialsFile) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	info, err := os.Stat(f.Filename)
	if err != nil {
		return credentials.Value{}, err
	}
	value, err := f.FileAWSCredentials.RetrieveWithCredContext(cc)
	if err == nil {
		f.modified = info.ModTime()
	}
	return value, err
}

func (f *credentialsFile) IsExpired() bool {
	if f.FileAWSCredentials.IsExpired() {
		return true
	}
	info, err := os.Stat(f.Filename)
	return err == nil && !info.ModTime().Equal(f.modified)
}
