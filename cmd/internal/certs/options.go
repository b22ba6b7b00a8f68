package certs

import (
	"errors"
	"fmt"
	"time"
)

// DefaultReloadInterval is the time between two looks at the files.
const DefaultReloadInterval = 10 * time.Second

// Options name the files. The zero value is that of a client without a
// certificate that trusts what the system trusts.
type Options struct {
	// CertFile and KeyFile are PEM: a certificate with its chain, leaf first, and
	// its key. Both or none; servers need them.
	CertFile, KeyFile string
	// CAFile is PEM: the authorities whose certificates are accepted, of clients
	// and of servers. Without it clients trust the system's, and servers ask for
	// no certificates.
	CAFile string
	// RequireClientCert makes servers refuse connections without a certificate.
	RequireClientCert bool
	// ServerName is what a server's certificate must be for, whatever address was
	// called. Empty: the host that was called.
	ServerName string
	// ReloadInterval is the time between two looks at the files; 0 is
	// DefaultReloadInterval, less is never.
	ReloadInterval time.Duration
}

// Enabled tells whether any file is named.
func (o Options) Enabled() bool { return o.CertFile != "" || o.KeyFile != "" || o.CAFile != "" }

// Validate reads the files and reports every fault, with what to do.
func (o Options) Validate() error {
	_, err := o.load(time.Now())
	return err
}

// shape reports what is wrong before any file is read.
func (o Options) shape() error {
	var faults []error
	switch {
	case o.CertFile != "" && o.KeyFile == "":
		faults = append(faults, fmt.Errorf("certificate %s has no key: name the key's file too", o.CertFile))
	case o.CertFile == "" && o.KeyFile != "":
		faults = append(faults, fmt.Errorf("key %s has no certificate: name the certificate's file too", o.KeyFile))
	}
	if o.RequireClientCert && o.CAFile == "" {
		faults = append(faults, errors.New("client certificates are required but no CA could have issued them: name the CA's file, or do not require them"))
	}
	if o.RequireClientCert && o.CertFile == "" {
		faults = append(faults, errors.New("client certificates are required, which takes TLS: name files of a certificate and a key"))
	}
	return errors.Join(faults...)
}
