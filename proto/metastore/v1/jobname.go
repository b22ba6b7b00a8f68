package metastorev1

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// JobName names a compaction job after what it compacts: the XXH64 of the source
// ids, in order, then tenant, shard and level. It is safe as a directory name: bytes of the
// tenant outside of what tenant ids allow are escaped as %XX.
func JobName(sources []string, tenant string, shard, level uint32) string {
	return fmt.Sprintf("%x-T%s-S%d-L%d", xxhash.Sum64String(strings.Join(sources, "")), escape(tenant), shard, level)
}

// ParseJobName finds tenant, shard and level in a job's name, hence the point that
// owns it.
func ParseJobName(name string) (tenant string, shard, level uint32, err error) {
	bad := func(what string) error { return fmt.Errorf("job name %.128q: %s", name, what) }
	atLevel := strings.LastIndex(name, "-L")
	if atLevel < 0 {
		return "", 0, 0, bad("no level")
	}
	atShard := strings.LastIndex(name[:atLevel], "-S")
	if atShard < 0 {
		return "", 0, 0, bad("no shard")
	}
	atTenant := strings.Index(name[:atShard], "-T")
	if atTenant < 0 {
		return "", 0, 0, bad("no tenant")
	}
	wideLevel, err := strconv.ParseUint(name[atLevel+2:], 10, 32)
	if err != nil {
		return "", 0, 0, bad("level is no number")
	}
	wideShard, err := strconv.ParseUint(name[atShard+2:atLevel], 10, 32)
	if err != nil {
		return "", 0, 0, bad("shard is no number")
	}
	tenant, ok := unescape(name[atTenant+2 : atShard])
	if !ok {
		return "", 0, 0, bad("tenant is not escaped as expected")
	}
	return tenant, uint32(wideShard), uint32(wideLevel), nil
}

// What tenant ids consist of.
func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!-_.*'()", c) >= 0
}

func escape(tenant string) string {
	var escaped strings.Builder
	for i := range len(tenant) {
		if c := tenant[i]; plain(c) {
			escaped.WriteByte(c)
		} else {
			fmt.Fprintf(&escaped, "%%%02X", c)
		}
	}
	return escaped.String()
}

func unescape(escaped string) (tenant string, ok bool) {
	var bytes strings.Builder
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c == '%' {
			if i+2 >= len(escaped) {
				return "", false
			}
			value, err := strconv.ParseUint(escaped[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c, i = byte(value), i+2
		}
		bytes.WriteByte(c)
	}
	return bytes.String(), escape(bytes.String()) == escaped
}
