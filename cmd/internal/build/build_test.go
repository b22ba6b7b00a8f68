package build

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	info := &debug.BuildInfo{
		Main:     debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "abc"}},
	}
	for want, info := range map[string]*debug.BuildInfo{
		"skerry v1.2.3, revision abc (modified), go":      info,
		"skerry unknown, revision unknown, go":            nil,
		"skerry (devel), revision unknown (modified), go": {Main: debug.Module{Version: "(devel)"}, Settings: info.Settings[:1]},
	} {
		if got := describe(info).String(); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
