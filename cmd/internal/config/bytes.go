package config

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// From large to small, binary before decimal: the first unit that divides a
// number is the one to write it in.
var byteUnits = []struct {
	suffix string
	size   int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// parseBytes reads a whole number with an optional unit: 512, 64MiB, 1 gb.
func parseBytes(text string) (int64, error) {
	size := int64(1)
	digits := strings.TrimSpace(text)
	for _, unit := range byteUnits {
		if cut, ok := cutSuffixFold(digits, unit.suffix); ok {
			digits, size = strings.TrimSpace(cut), unit.size
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, errors.New("want bytes, such as 268435456, 256MiB or 1GB")
	}
	if n > math.MaxInt64/size {
		return 0, errors.New("more than 2^63 bytes")
	}
	return n * size, nil
}

func formatBytes(n int64) string {
	for _, unit := range byteUnits[:4] {
		if n != 0 && n%unit.size == 0 {
			return strconv.FormatInt(n/unit.size, 10) + unit.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

func cutSuffixFold(text, suffix string) (string, bool) {
	at := len(text) - len(suffix)
	if at < 0 || !strings.EqualFold(text[at:], suffix) {
		return text, false
	}
	return text[:at], true
}
