package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A connection begins with a hello, and its answer. Both begin with the magic and
// the version, in all versions to come; the rest may change with the version.
//
//	hello   magic 8, version 2, kind 2, deployment 8, address length 2, address, CRC32C 4
//	answer  magic 8, version 2, verdict 2, deployment 8, CRC32C 4
//
// Numbers are big endian. The deployment id tells clusters apart.
const (
	magic           = "SkerryRf"
	formatVersion   = 1
	prefixBytes     = len(magic) + 2
	helloRestBytes  = 2 + 8 + 2
	answerBytes     = prefixBytes + 2 + 8 + 4
	addressBytesMax = 512
)

// Faults of a handshake. They are told apart by metrics and by tests.
var (
	// ErrStranger means that the other side does not speak this protocol.
	ErrStranger = errors.New("not a Raft peer")
	// ErrVersion means that the other side speaks another version of the protocol.
	ErrVersion = errors.New("another version of the Raft transport")
	// ErrForeign means that the other side belongs to another cluster.
	ErrForeign = errors.New("a node of another cluster")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// kind is what a connection carries.
type kind uint16

const (
	messageKind  kind = 1
	snapshotKind kind = 2
)

func (k kind) String() string {
	if k == snapshotKind {
		return "snapshot"
	}
	return "messages"
}

// hello is how a caller presents itself.
type hello struct {
	kind       kind
	deployment uint64
	address    string // the caller's Raft address, for the log
}

func (h hello) append(to []byte) []byte {
	to = appendPrefix(to)
	to = binary.BigEndian.AppendUint16(to, uint16(h.kind))
	to = binary.BigEndian.AppendUint64(to, h.deployment)
	to = binary.BigEndian.AppendUint16(to, uint16(len(h.address)))
	to = append(to, h.address...)
	return binary.BigEndian.AppendUint32(to, crc32.Checksum(to, castagnoli))
}

func appendPrefix(to []byte) []byte {
	return binary.BigEndian.AppendUint16(append(to, magic...), formatVersion)
}

// readPrefix fails with ErrStranger or ErrVersion.
func readPrefix(from io.Reader) ([]byte, error) {
	prefix := make([]byte, prefixBytes)
	if n, err := io.ReadFull(from, prefix); err != nil {
		if n > 0 && string(prefix[:n]) != (magic + "\x00\x01")[:n] {
			return nil, stranger(prefix[:n])
		}
		return nil, err
	}
	if string(prefix[:len(magic)]) != magic {
		return nil, stranger(prefix)
	}
	if version := binary.BigEndian.Uint16(prefix[len(magic):]); version != formatVersion {
		return nil, fmt.Errorf("%w: %d, this node speaks %d", ErrVersion, version, formatVersion)
	}
	return prefix, nil
}

func stranger(begin []byte) error {
	if begin[0] == 0x16 || begin[0] == 0x15 { // records of TLS: handshake, alert
		return fmt.Errorf("%w: it speaks TLS, and this node is configured without", ErrStranger)
	}
	return fmt.Errorf("%w: it begins with %q", ErrStranger, begin)
}

// readHello fails with ErrStranger or ErrVersion, or because the caller went away.
func readHello(from io.Reader) (hello, error) {
	content, err := readPrefix(from)
	if err != nil {
		return hello{}, err
	}
	content = append(content, make([]byte, helloRestBytes)...)
	rest := content[prefixBytes:]
	if _, err := io.ReadFull(from, rest); err != nil {
		return hello{}, err
	}
	h := hello{kind: kind(binary.BigEndian.Uint16(rest)), deployment: binary.BigEndian.Uint64(rest[2:])}
	length := int(binary.BigEndian.Uint16(rest[10:]))
	if length > addressBytesMax {
		return hello{}, fmt.Errorf("%w: its address has %d bytes", ErrStranger, length)
	}
	tail := make([]byte, length+4)
	if _, err := io.ReadFull(from, tail); err != nil {
		return hello{}, err
	}
	h.address = string(tail[:length])
	if crc32.Checksum(append(content, tail[:length]...), castagnoli) != binary.BigEndian.Uint32(tail[length:]) {
		return hello{}, fmt.Errorf("%w: its hello is damaged", ErrStranger)
	}
	if h.kind != messageKind && h.kind != snapshotKind {
		return hello{}, fmt.Errorf("%w: it sends what is unknown here (%d)", ErrStranger, h.kind)
	}
	return h, nil
}

// verdict is a listener's answer to a hello.
type verdict uint16

const (
	accepted     verdict = 0
	otherVersion verdict = 1
	otherCluster verdict = 2
)

func appendAnswer(to []byte, v verdict, deployment uint64) []byte {
	to = appendPrefix(to)
	to = binary.BigEndian.AppendUint16(to, uint16(v))
	to = binary.BigEndian.AppendUint64(to, deployment)
	return binary.BigEndian.AppendUint32(to, crc32.Checksum(to, castagnoli))
}

// readAnswer returns nil if the listener accepts a caller of the deployment.
func readAnswer(from io.Reader, deployment uint64) error {
	content, err := readPrefix(from)
	if err != nil {
		return err
	}
	content = append(content, make([]byte, answerBytes-prefixBytes)...)
	rest := content[prefixBytes:]
	if _, err := io.ReadFull(from, rest); err != nil {
		return err
	}
	if crc32.Checksum(content[:answerBytes-4], castagnoli) != binary.BigEndian.Uint32(rest[10:]) {
		return fmt.Errorf("%w: its answer is damaged", ErrStranger)
	}
	theirs := binary.BigEndian.Uint64(rest[2:])
	switch v := verdict(binary.BigEndian.Uint16(rest)); {
	case v == otherCluster || theirs != deployment:
		return fmt.Errorf("%w: its deployment id is %d, this node's %d", ErrForeign, theirs, deployment)
	case v == otherVersion:
		return fmt.Errorf("%w: this node speaks %d", ErrVersion, formatVersion)
	case v != accepted:
		return fmt.Errorf("%w: its answer is unknown here (%d)", ErrStranger, v)
	}
	return nil
}
