package raftlogv1

import (
	"google.golang.org/protobuf/encoding/protowire"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// Fields of Entry and Command.
const (
	entryProposedAt  = 1
	entryLeaderEpoch = 2
	entryCommands    = 3

	commandKind      = 1
	commandRequestID = 2
	commandRange     = 3
	commandPayload   = 4
)

// DecodeEntry is UnmarshalVT into a new entry, whose request ids and payloads are parts of
// the data: an entry is as large as its payloads, so they are not copied.
func DecodeEntry(data []byte) (*Entry, error) {
	if entry := decodeEntry(data); entry != nil {
		return entry, nil
	}
	// What no encoder writes, and faults: rare.
	entry := &Entry{}
	return entry, entry.UnmarshalVT(data)
}

// decodeEntry returns nil for what it leaves to UnmarshalVT.
func decodeEntry(data []byte) *Entry {
	entry := &Entry{}
	for len(data) > 0 {
		number, kind, size := protowire.ConsumeTag(data)
		if size < 0 {
			return nil
		}
		data = data[size:]
		switch {
		case number == entryProposedAt && kind == protowire.Fixed64Type:
			entry.ProposedAt, size = protowire.ConsumeFixed64(data)
		case number == entryLeaderEpoch && kind == protowire.VarintType:
			entry.LeaderEpoch, size = protowire.ConsumeVarint(data)
		case number == entryCommands && kind == protowire.BytesType:
			var encoded []byte
			if encoded, size = protowire.ConsumeBytes(data); size < 0 {
				return nil
			}
			command := decodeCommand(encoded)
			if command == nil {
				return nil
			}
			entry.Commands = append(entry.Commands, command)
		default:
			return nil
		}
		if size < 0 {
			return nil
		}
		data = data[size:]
	}
	return entry
}

func decodeCommand(data []byte) *Command {
	command := &Command{}
	for len(data) > 0 {
		number, kind, size := protowire.ConsumeTag(data)
		if size < 0 {
			return nil
		}
		data = data[size:]
		var field []byte
		switch {
		case number == commandKind && kind == protowire.VarintType:
			var value uint64
			value, size = protowire.ConsumeVarint(data)
			command.Kind = Kind(value)
		case number == commandRequestID && kind == protowire.BytesType:
			field, size = protowire.ConsumeBytes(data)
			command.RequestId = field
		case number == commandRange && kind == protowire.BytesType && command.Range == nil:
			if field, size = protowire.ConsumeBytes(data); size < 0 {
				return nil
			}
			command.Range = &clusterv1.RangeRef{}
			if command.Range.UnmarshalVT(field) != nil {
				return nil
			}
		case number == commandPayload && kind == protowire.BytesType:
			field, size = protowire.ConsumeBytes(data)
			command.Payload = field
		default:
			return nil
		}
		if size < 0 {
			return nil
		}
		data = data[size:]
	}
	return command
}
