package main

import (
	"flag"
	"fmt"
	"strings"

	"google.golang.org/grpc"

	"github.com/skerrydb/skerry/cmd/internal/access"
	"github.com/skerrydb/skerry/cmd/internal/certs"
	"github.com/skerrydb/skerry/cmd/internal/flags"
)

// clientSecurity is how a command makes sure of the router, and says who calls.
type clientSecurity struct {
	certs         certs.Options
	tokenFile     string
	insecureToken bool
}

func (s *clientSecurity) declare(set *flag.FlagSet) {
	set.StringVar(&s.certs.CAFile, "tls-ca", "", "`FILE` speak TLS, and accept servers of this PEM file's authorities; or set SKERRY_TLS_CA")
	set.StringVar(&s.certs.CertFile, "tls-cert", "", "`FILE` speak TLS, and show this PEM certificate; or set SKERRY_TLS_CERT")
	set.StringVar(&s.certs.KeyFile, "tls-key", "", "`FILE` PEM key of the certificate; or set SKERRY_TLS_KEY")
	set.StringVar(&s.certs.ServerName, "tls-server-name", "", "`NAME` speak TLS, and demand a certificate for this name, not for the host in -addr; or set SKERRY_TLS_SERVER_NAME")
	set.StringVar(&s.tokenFile, "token-file", "", "`FILE` with the token that tells who calls; or set SKERRY_TOKEN_FILE")
	set.BoolVar(&s.insecureToken, "insecure-token", false, "send the token to other machines without TLS, too")
}

// environmentFlags are those of client commands that hold for a whole session at
// a terminal: SKERRY_ADDR is as good as -addr.
var environmentFlags = []string{"addr", "tls-ca", "tls-cert", "tls-key", "tls-server-name", "token-file"}

// fromEnvironment sets the flags of a client command, before the command line
// does.
func fromEnvironment(set *flag.FlagSet, env func(string) (string, bool)) error {
	if env == nil || set.Lookup("token-file") == nil {
		return nil
	}
	for _, name := range environmentFlags {
		variable := "SKERRY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if value, ok := env(variable); ok && value != "" && set.Lookup(name) != nil {
			if err := set.Set(name, value); err != nil {
				return flags.Usagef("%s is %q: %w", variable, value, err)
			}
		}
	}
	return nil
}

func (s *clientSecurity) dialOptions() ([]grpc.DialOption, error) {
	client := access.Client{TokenFile: s.tokenFile, SendTokenInPlaintext: s.insecureToken}
	if s.certs.Enabled() || s.certs.ServerName != "" {
		options := s.certs
		options.ReloadInterval = -1 // a command ends before its files change
		files, err := certs.Open(options, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("-tls-ca, -tls-cert, -tls-key: %w", err)
		}
		client.TLS = files.ClientGRPC()
	}
	options, err := client.DialOptions()
	if err != nil {
		return nil, fmt.Errorf("-token-file: %w", err)
	}
	return options, nil
}
