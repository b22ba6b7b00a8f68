package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/skerrydb/skerry/cmd/internal/flags"
	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
	nodev1 "github.com/skerrydb/skerry/proto/node/v1"
	raftlogv1 "github.com/skerrydb/skerry/proto/raftlog/v1"
)

// setting is one that holds for the whole cluster.
type setting struct {
	name, meaning, standard string
	// read writes the value; empty if it is the default.
	read func(*clusterv1.Settings) string
	// set takes a value other than "default".
	set func(*clusterv1.Settings, string) error
	// reset goes back to the default.
	reset func(*clusterv1.Settings)
}

func clusterSettings() []setting {
	return []setting{
		{
			"replication-factor", "voters of each data group, if there are as many nodes; odd", "3",
			func(s *clusterv1.Settings) string { return unlessZero(s.GetReplicationFactor()) },
			func(s *clusterv1.Settings, value string) (err error) {
				s.ReplicationFactor, err = oddNumber(value)
				return err
			},
			func(s *clusterv1.Settings) { s.ReplicationFactor = 0 },
		},
		{
			"directory-replicas", "voters of the directory, if there are as many nodes; odd", "5",
			func(s *clusterv1.Settings) string { return unlessZero(s.GetDirectoryReplicas()) },
			func(s *clusterv1.Settings, value string) (err error) {
				s.DirectoryReplicas, err = oddNumber(value)
				return err
			},
			func(s *clusterv1.Settings) { s.DirectoryReplicas = 0 },
		},
		{
			"repair-after", "silence after which a node's replicas are made anew elsewhere; or never", "5m0s",
			func(s *clusterv1.Settings) string {
				switch after := s.GetRepairAfter(); {
				case after == 0:
					return ""
				case after < 0:
					return "never"
				default:
					return time.Duration(after).String()
				}
			},
			setRepairAfter,
			func(s *clusterv1.Settings) { s.RepairAfter = 0 },
		},
		{
			"leader-balance", "on: leaders are spread over the nodes; off: they stay, except for drains", "on",
			func(s *clusterv1.Settings) string {
				if s.GetLeaderBalanceOff() {
					return "off"
				}
				return ""
			},
			func(s *clusterv1.Settings, value string) error {
				if value != "on" && value != "off" {
					return fmt.Errorf("want on or off")
				}
				s.LeaderBalanceOff = value == "off"
				return nil
			},
			func(s *clusterv1.Settings) { s.LeaderBalanceOff = false },
		},
	}
}

func unlessZero(n uint32) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}

func oddNumber(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n%2 == 0 {
		return 0, fmt.Errorf("want an odd number")
	}
	return uint32(n), nil
}

func setRepairAfter(s *clusterv1.Settings, value string) error {
	if value == "never" {
		s.RepairAfter = -1
		return nil
	}
	after, err := time.ParseDuration(value)
	if err != nil || after <= 0 {
		return fmt.Errorf("want a duration such as 10m, or never")
	}
	s.RepairAfter = int64(after)
	return nil
}

func settingsCommand() command {
	return command{
		name: "settings", summary: "show the settings that hold for the whole cluster",
		setup: func(set *flag.FlagSet) action {
			return setUpCluster(set, func(std streams, c *client, state cluster) error {
				view := newSettingsView(state)
				return show(std, c, view, view.write, nil)
			})
		},
	}
}

type settingsView struct {
	Settings []settingView `json:"settings"`
}

type settingView struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	IsDefault bool   `json:"is_default"`
	Meaning   string `json:"meaning"`
}

func newSettingsView(state cluster) settingsView {
	view := settingsView{}
	for _, s := range clusterSettings() {
		value := s.read(state.GetMap().GetCluster().GetSettings())
		row := settingView{s.name, value, value == "", s.meaning}
		if row.IsDefault {
			row.Value = s.standard
		}
		view.Settings = append(view.Settings, row)
	}
	return view
}

func (v settingsView) write(w io.Writer) error {
	table := newGrid("SETTING", "VALUE", "FROM", "MEANING")
	for _, s := range v.Settings {
		from := "set"
		if s.IsDefault {
			from = "default"
		}
		table.row(s.Name, s.Value, from, s.Meaning)
	}
	return table.write(w)
}

func settingsSetCommand() command {
	return command{
		name: "settings set", args: "NAME=VALUE...", summary: "change settings that hold for the whole cluster",
		detail: "The value \"default\" goes back to the default. Names and values: see skerry settings\n\n" + changeHelp,
		setup:  setUpSettingsSet,
	}
}

func setUpSettingsSet(set *flag.FlagSet) action {
	ch := changeFlags(set)
	return func(ctx context.Context, std streams, args []string) error {
		// What is wrong with the arguments is wrong whatever the cluster says.
		if err := changeSettings(&clusterv1.Settings{}, args); err != nil {
			return err
		}
		return ch.run(ctx, std, func(ask *asker) (*wish, error) {
			state, err := ask.cluster()
			if err != nil {
				return nil, err
			}
			before := state.GetMap().GetCluster().GetSettings()
			if before == nil {
				before = &clusterv1.Settings{}
			}
			settings := &clusterv1.Settings{}
			proto.Merge(settings, before)
			if err := changeSettings(settings, args); err != nil {
				return nil, err
			}
			if proto.Equal(settings, before) {
				return &wish{nothing: "the settings are so already"}, nil
			}
			return &wish{action: func(request *nodev1.OperateRequest) {
				request.Action = &nodev1.OperateRequest_ChangeSettings{ChangeSettings: &raftlogv1.ChangeSettings{Settings: settings, Before: before}}
			}}, nil
		})
	}
}

func changeSettings(settings *clusterv1.Settings, args []string) error {
	known := clusterSettings()
	if len(args) == 0 {
		return flags.Usagef("give NAME=VALUE; see: skerry settings")
	}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		i := slices.IndexFunc(known, func(s setting) bool { return s.name == name })
		if !ok || i < 0 {
			return flags.Usagef("%q is no setting with a value: want NAME=VALUE; see: skerry settings", arg)
		}
		if value == "default" {
			known[i].reset(settings)
		} else if err := known[i].set(settings, value); err != nil {
			return flags.Usagef("%s: %w, or default", arg, err)
		}
	}
	return nil
}
