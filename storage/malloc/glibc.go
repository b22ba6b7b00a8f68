//go:build cgo && linux

package malloc

import "C" // compiles the C file beside it
