package compaction

import (
	"encoding/binary"
	"math/bits"
)

// Primes of XXH64.
const (
	prime1 uint64 = 0x9E3779B185EBCA87
	prime2 uint64 = 0xC2B2AE3D27D4EB4F
	prime3 uint64 = 0x165667B19E3779F9
	prime4 uint64 = 0x85EBCA77C2B2AE63
	prime5 uint64 = 0x27D4EB2F165667C5
)

// hash is XXH64 with seed 0. Job names are the only use: planning imports nothing
// but the standard library and proto, and a name needs no speed.
func hash(text string) uint64 {
	rest := []byte(text)
	sum := prime5
	if len(rest) >= 32 {
		first := prime1 // apart from the sums below, which wrap around
		lanes := [4]uint64{first + prime2, prime2, 0, -first}
		for ; len(rest) >= 32; rest = rest[32:] {
			for i := range lanes {
				lanes[i] = round(lanes[i], binary.LittleEndian.Uint64(rest[8*i:]))
			}
		}
		sum = bits.RotateLeft64(lanes[0], 1) + bits.RotateLeft64(lanes[1], 7) +
			bits.RotateLeft64(lanes[2], 12) + bits.RotateLeft64(lanes[3], 18)
		for _, lane := range lanes {
			sum = (sum^round(0, lane))*prime1 + prime4
		}
	}
	sum += uint64(len(text))
	for ; len(rest) >= 8; rest = rest[8:] {
		sum = bits.RotateLeft64(sum^round(0, binary.LittleEndian.Uint64(rest)), 27)*prime1 + prime4
	}
	if len(rest) >= 4 {
		sum = bits.RotateLeft64(sum^uint64(binary.LittleEndian.Uint32(rest))*prime1, 23)*prime2 + prime3
		rest = rest[4:]
	}
	for _, b := range rest {
		sum = bits.RotateLeft64(sum^uint64(b)*prime5, 11) * prime1
	}
	sum = (sum ^ sum>>33) * prime2
	sum = (sum ^ sum>>29) * prime3
	return sum ^ sum>>32
}

func round(lane, input uint64) uint64 {
	return bits.RotateLeft64(lane+input*prime2, 31) * prime1
}
