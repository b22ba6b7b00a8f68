// Package build tells what the running binary was built from.
package build

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Info describes a build.
type Info struct {
	// Module version, or "(devel)".
	Version string `json:"version"`
	// Commit, with " (modified)" if the tree had changes; "unknown" without VCS.
	Revision string `json:"revision"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Read returns what the toolchain recorded.
func Read() Info {
	info, _ := debug.ReadBuildInfo()
	return describe(info)
}

func describe(info *debug.BuildInfo) Info {
	described := Info{Version: "unknown", Revision: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info == nil {
		return described
	}
	if info.Main.Version != "" {
		described.Version = info.Main.Version
	}
	modified := ""
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			described.Revision = setting.Value
		case setting.Key == "vcs.modified" && setting.Value == "true":
			modified = " (modified)"
		}
	}
	described.Revision += modified
	return described
}

func (i Info) String() string {
	return fmt.Sprintf("skerry %s, revision %s, %s %s", i.Version, i.Revision, i.Go, i.Platform)
}
