// Package config reads the settings of the server commands: defaults, then a
// YAML file, then flags, each overriding the one before.
//
//	settings ─┬─► flags and help
//	          ├─► YAML in (strict keys, ${ENV} in values)
//	          └─► YAML out (-print-config; can be fed back)
//
// One table per command feeds all of these, so a setting cannot be known to one
// and unknown to another. Commands share rows, never repeat them. The package
// starts nothing.
package config

import (
	"errors"
	"fmt"
	"slices"
)

// Command is one of the commands that serve.
type Command string

const (
	// CommandServe runs everything in one process and founds a cluster by itself.
	CommandServe Command = "serve"
	// CommandNode runs a node of a cluster, with a router if it is given an address.
	CommandNode Command = "node"
	// CommandRouter runs a router, which keeps nothing.
	CommandRouter Command = "router"
)

// Server holds the settings of a server command. What the command's table lacks
// keeps its default and means nothing.
type Server struct {
	Command Command
	Process
	Node
	Router
	Founding
}

// Default returns the settings that apply where nothing else is said.
func Default(command Command) Server {
	s := Server{Command: command, Process: defaultProcess(), Node: defaultNode(), Router: defaultRouter(), Founding: defaultFounding()}
	if command == CommandNode {
		s.GRPCAddress = "" // no router unless it is asked for
	}
	return s
}

// HasNode tells whether the process keeps data.
func (s Server) HasNode() bool { return s.Command != CommandRouter }

// HasRouter tells whether the process serves the public API.
func (s Server) HasRouter() bool { return s.GRPCAddress != "" }

// settings is the table: names, documentation and checks, bound to s.
func (s *Server) settings() settings {
	switch s.Command {
	case CommandRouter:
		return slices.Concat(s.publicAddress(), s.joining(), s.process(), s.router())
	case CommandNode:
		return slices.Concat(s.storage(), s.publicAddress(), s.joining(), s.cluster(), s.process(), s.node(), s.Objects.settings(), s.router(), s.Compaction.settings(), s.Retention.settings(), s.DeadLetters.settings(), s.Spread.settings())
	}
	return slices.Concat(s.storage(), s.publicAddress(), s.cluster(), s.founding(), s.process(), s.node(), s.Objects.settings(), s.router(), s.Compaction.settings(), s.Retention.settings(), s.DeadLetters.settings(), s.Spread.settings())
}

// plaintextTokens refuses ports at which others would show tokens in the clear. Raft's
// is none of them.
func (s Server) plaintextTokens() []error {
	if s.TLS.Enabled() || s.AccessFile == "" && s.TokenFile == "" {
		return nil
	}
	setting := "auth.file"
	if s.AccessFile == "" {
		setting = "auth.token-file"
	}
	all := s.settings()
	var faults []error
	for _, port := range []struct{ name, address string }{
		{"grpc.address", s.GRPCAddress}, {"node.address", s.NodeAddress}, {"admin.address", s.AdminAddress}, {"http.address", s.HTTPAddress},
	} {
		_, _, malformed := splitAddress(port.address)
		if all.find(port.name) != nil && malformed == nil && !OnLoopback(port.address) {
			faults = append(faults, fmt.Errorf("%s with %s %q would send tokens over the network in the clear: set tls.cert-file and tls.key-file, or listen on 127.0.0.1",
				setting, port.name, port.address))
		}
	}
	return faults
}

// Validate reports every fault, not only the first.
func (s Server) Validate() error {
	all := s.settings()
	faults := all.validate()
	faults = append(faults, s.TLS.validate()...)
	if s.HasNode() && s.TLS.Enabled() && s.TLS.CAFile == "" {
		faults = append(faults, errors.New("nodes need tls.ca-file with TLS: they check each other's certificates"))
	}
	faults = append(faults, s.plaintextTokens()...)
	listeners := map[string]string{}
	for name, address := range map[string]string{
		"grpc.address": s.GRPCAddress, "http.address": s.HTTPAddress, "admin.address": s.AdminAddress,
		"node.address": s.NodeAddress, "raft.address": s.RaftAddress,
	} {
		if all.find(name) != nil {
			listeners[name] = address
		}
	}
	return joinFaults(append(faults, distinctAddresses(listeners)...))
}
