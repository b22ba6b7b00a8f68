package access

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
)

// How a caller was identified.
type How string

// Ways to be identified.
const (
	// ByToken: a bearer token that the access file knows.
	ByToken How = "token"
	// ByCertificate: a verified client certificate.
	ByCertificate How = "certificate"
	// Anonymous: it showed nothing.
	Anonymous How = "anonymous"
)

// Identity is who calls.
type Identity struct {
	// Name is the token's name or the certificate's common name; empty if Anonymous.
	Name  string
	Roles Roles
	How   How
}

// String is for logs and messages.
func (i Identity) String() string {
	if i.How == Anonymous || i.How == "" {
		return "an anonymous caller"
	}
	return fmt.Sprintf("%q (%s)", i.Name, i.How)
}

type identityKey struct{}

// FromContext returns who made the call that the context belongs to; false if it
// did not pass a gate.
func FromContext(ctx context.Context) (Identity, bool) {
	identity, ok := ctx.Value(identityKey{}).(Identity)
	return identity, ok
}

func withIdentity(ctx context.Context, identity Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, identity)
}

// Reasons to refuse a call, as the metric and denials name them.
const (
	reasonNoCredentials  = "no_credentials"
	reasonMalformed      = "malformed_credentials"
	reasonUnknownToken   = "unknown_token"
	reasonNoRoles        = "no_roles"
	reasonMissingRole    = "missing_role"
	reasonUnknownMethod  = "unknown_method"
	howToAuthenticate    = "send the header authorization: Bearer TOKEN with a token of the access file, or use a client certificate"
	organizationalPrefix = "skerry:"
)

var reasons = []string{reasonNoCredentials, reasonMalformed, reasonUnknownToken, reasonNoRoles, reasonMissingRole, reasonUnknownMethod}

// refusal is why a caller may not do something.
type refusal struct {
	reason string
	// Whether other credentials are asked for (UNAUTHENTICATED, 401), or the known
	// caller may not (PERMISSION_DENIED, 403).
	unauthenticated bool
	text            string
}

// identify finds out who calls, from all headers named authorization and the TLS
// connection, which may be nil. Wrong credentials are an error even if others
// are good: whoever shows them should learn that they do not work.
func (p *policy) identify(authorization []string, state *tls.ConnectionState) (Identity, *refusal) {
	if len(authorization) > 0 {
		return p.byToken(authorization)
	}
	if state != nil && len(state.VerifiedChains) > 0 {
		return p.byCertificate(state.VerifiedChains[0][0]), nil
	}
	return Identity{Roles: p.anonymous, How: Anonymous}, nil
}

func (p *policy) byToken(authorization []string) (Identity, *refusal) {
	malformed := func(text string) (Identity, *refusal) {
		return Identity{How: Anonymous}, &refusal{reasonMalformed, true, text}
	}
	if len(authorization) > 1 {
		return malformed("more than one authorization header: send one")
	}
	scheme, token, found := strings.Cut(authorization[0], " ")
	if !found || !strings.EqualFold(scheme, "bearer") || token == "" {
		return malformed("the authorization header is not: Bearer TOKEN")
	}
	if len(token) > tokenBytesMax {
		return malformed(fmt.Sprintf("the token has more than %d bytes: it is none of ours", tokenBytesMax))
	}
	holder, ok := p.holder(token)
	if !ok {
		return Identity{How: Anonymous}, &refusal{reasonUnknownToken, true, "the token is not known: add its SHA-256 to the access file, or use one that is there"}
	}
	return Identity{holder.name, holder.roles, ByToken}, nil
}

func (p *policy) byCertificate(leaf *x509.Certificate) Identity {
	name := leaf.Subject.CommonName
	if roles, ok := p.certificates[name]; ok {
		return Identity{name, roles, ByCertificate}
	}
	identity := Identity{Name: certificateName(leaf), How: ByCertificate}
	for _, unit := range leaf.Subject.OrganizationalUnit {
		if roleName, ours := strings.CutPrefix(unit, organizationalPrefix); ours {
			role, _ := parseRole(roleName) // one that is not known gives nothing
			identity.Roles |= role
		}
	}
	return identity
}

// certificateName is a certificate's common name, if it is fit to be printed, or
// its serial number.
func certificateName(leaf *x509.Certificate) string {
	if checkName(leaf.Subject.CommonName) != nil {
		return fmt.Sprintf("serial %.40x", leaf.SerialNumber)
	}
	return leaf.Subject.CommonName
}

// permit tells whether a known caller has a role, for something that has a name.
func permit(identity Identity, role Roles, what string) *refusal {
	if role == Open || identity.Roles.allow(role) {
		return nil
	}
	switch {
	case identity.How == Anonymous:
		return &refusal{reasonNoCredentials, true, fmt.Sprintf("%s takes the role %s: %s", what, role, howToAuthenticate)}
	case identity.Roles == 0:
		return &refusal{reasonNoRoles, false, fmt.Sprintf("%s has no role, and %s takes %s: %s", identity, what, role, howToPermit(identity, role))}
	default:
		return &refusal{reasonMissingRole, false, fmt.Sprintf("%s has the roles %s, and %s takes %s: %s", identity, identity.Roles, what, role, howToPermit(identity, role))}
	}
}

func howToPermit(identity Identity, role Roles) string {
	if identity.How == ByCertificate {
		return fmt.Sprintf("name it under certificates in the access file, or issue a certificate with the organizational unit %s%s", organizationalPrefix, role)
	}
	return "give it the role in the access file, or use other credentials"
}

// CheckPeer returns an error unless a verified certificate is that of a node: for
// connections that carry no calls, such as Raft's.
func (g *Gate) CheckPeer(leaf *x509.Certificate) error {
	if g == nil {
		return nil
	}
	if refused := permit(g.policy.Load().byCertificate(leaf), Node, "Raft"); refused != nil {
		g.denied.WithLabelValues(refused.reason).Inc()
		return errors.New(refused.text)
	}
	return nil
}
