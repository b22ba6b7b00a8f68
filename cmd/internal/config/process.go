package config

import (
	"errors"
	"net"
	"time"
)

// Process holds what every server command has.
type Process struct {
	// Metrics, health and profiling. Port 0 picks a free one.
	HTTPAddress string
	// Admin API; empty leaves it to the other ports. Port 0 picks a free one.
	AdminAddress string
	// IP address of this machine that connections to others come from; empty lets
	// the system choose.
	LocalIP string
	// Of all ports; see TLS.
	TLS TLS
	// File that says who may do what, by tokens and certificates; empty lets
	// everybody do everything.
	AccessFile string
	// File with the token that this process shows to nodes; empty for none.
	TokenFile string
	// File that records what operators do; empty for the log.
	AuditFile string
	// debug, info, warn or error.
	LogLevel string
	// console or json.
	LogFormat string
	// How long a stop may take before it is forced.
	ShutdownTimeout time.Duration
}

// TLS names the files that connections are secured with, inwards and outwards.
// All are empty for connections in the clear.
type TLS struct {
	// PEM; both or none.
	CertFile, KeyFile string
	// PEM, of those who sign the certificates of others; empty for the system's.
	CAFile string
	// Callers without a certificate of that authority are turned away.
	RequireClientCert bool
}

// Enabled tells whether connections are secured.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// LocalAddress is LocalIP; nil lets the system choose.
func (p Process) LocalAddress() net.IP { return net.ParseIP(p.LocalIP) }

func (t TLS) validate() []error {
	var faults []error
	if (t.CertFile == "") != (t.KeyFile == "") {
		faults = append(faults, errors.New("tls.cert-file and tls.key-file belong together: set both or none"))
	}
	if t.CertFile == "" && t.KeyFile == "" && (t.CAFile != "" || t.RequireClientCert) {
		faults = append(faults, errors.New("TLS needs tls.cert-file and tls.key-file: set them, or leave out tls.ca-file and tls.require-client-cert"))
	}
	if t.RequireClientCert && t.CAFile == "" {
		faults = append(faults, errors.New("tls.require-client-cert needs tls.ca-file: who may sign the certificates of callers"))
	}
	return faults
}

func defaultProcess() Process {
	return Process{HTTPAddress: "127.0.0.1:9096", LogLevel: "info", LogFormat: "console", ShutdownTimeout: 10 * time.Second}
}

func (p *Process) process() settings {
	return settings{
		{"http.address", "HOST:PORT", "where to serve metrics, health and profiling; port 0 picks a free one",
			(*text)(&p.HTTPAddress), listenAddress(&p.HTTPAddress)},
		{"admin.address", "HOST:PORT", "where to serve the admin API alone; empty serves it on the node's port, and on that of -grpc.address if that is on loopback or -auth.file is set",
			(*text)(&p.AdminAddress), optional(&p.AdminAddress, listenAddress)},
		{"dial.local-ip", "IP", "address of this machine that connections to other processes come from; empty lets the system choose",
			(*text)(&p.LocalIP), optional(&p.LocalIP, ipAddress)},
		{"tls.cert-file", "FILE", "PEM certificate of this process, for all ports and for calls to others; read again when it changes; empty for no TLS",
			(*text)(&p.TLS.CertFile), nil},
		{"tls.key-file", "FILE", "PEM key of that certificate",
			(*text)(&p.TLS.KeyFile), nil},
		{"tls.ca-file", "FILE", "PEM certificates of those who sign the certificates of others; empty for the system's; nodes need it",
			(*text)(&p.TLS.CAFile), nil},
		{"tls.require-client-cert", "BOOL", "turn away callers without a certificate signed by -tls.ca-file; not on -http.address",
			(*toggle)(&p.TLS.RequireClientCert), nil},
		{"auth.file", "FILE", "YAML file that says who may do what, by tokens and certificates; read again when it changes; empty lets everybody do everything",
			(*text)(&p.AccessFile), nil},
		{"auth.token-file", "FILE", "file with the token that this process shows to nodes, where they do not know it by its certificate",
			(*text)(&p.TokenFile), nil},
		{"audit.file", "FILE", "file that records what operators do, one JSON line each; empty records it in the log",
			(*text)(&p.AuditFile), nil},
		{"log.level", "LEVEL", "least severe level to log: debug, info, warn or error",
			(*text)(&p.LogLevel), oneOf(&p.LogLevel, "debug", "info", "warn", "error")},
		{"log.format", "FORMAT", "console or json",
			(*text)(&p.LogFormat), oneOf(&p.LogFormat, "console", "json")},
		{"shutdown.timeout", "DURATION", "how long a stop may take before it is forced",
			(*duration)(&p.ShutdownTimeout), between(&p.ShutdownTimeout, time.Millisecond, time.Hour)},
	}
}
