package overrides

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/skerrydb/skerry/planner/adaptive"
)

// tenantLimits is what is read of a tenant's limits; everything else is for others.
type tenantLimits struct {
	Period           yaml.Node `yaml:"retention_period"`
	TenantShards     yaml.Node `yaml:"adaptive_placement_tenant_shards"`
	MinDatasetShards yaml.Node `yaml:"adaptive_placement_min_dataset_shards"`
	MaxDatasetShards yaml.Node `yaml:"adaptive_placement_max_dataset_shards"`
	UnitBytes        yaml.Node `yaml:"adaptive_placement_unit_size_bytes"`
	BurstWindow      yaml.Node `yaml:"adaptive_placement_burst_window"`
	DecayWindow      yaml.Node `yaml:"adaptive_placement_decay_window"`
	LoadBalancing    yaml.Node `yaml:"adaptive_placement_load_balancing"`
	IngestionShards  yaml.Node `yaml:"ingestion_tenant_shard_size"`
}

// Parse returns what a file's content says.
func Parse(content []byte) (*Overrides, error) {
	if len(bytes.TrimSpace(content)) == 0 {
		// Most likely it is being written. Taken at its word it would shorten periods.
		return nil, errors.New("the file is empty: write `overrides: {}` if no tenant has overrides")
	}
	var document map[string]yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, err
	}
	section, present := document["overrides"]
	if !present {
		return nil, errors.New("the file has no `overrides`: write `overrides: {}` if no tenant has any")
	}
	if section.Tag == "!!null" {
		// As in a file that is being written.
		return nil, errors.New("`overrides` is followed by nothing: write `overrides: {}` if no tenant has any")
	}
	var tenants map[string]*tenantLimits
	if err := section.Decode(&tenants); err != nil {
		return nil, err
	}
	said := &Overrides{Periods: map[string]time.Duration{}, Placement: map[string]adaptive.Override{}}
	for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
		limits := tenants[tenant]
		if limits == nil {
			return nil, fmt.Errorf("tenant %.64q is followed by nothing: write {} if it has no overrides", tenant)
		}
		p := parser{tenant: tenant}
		if period := p.duration(&limits.Period, "retention_period", "write a duration such as 31d, or 0 for ever"); period != nil {
			said.Periods[tenant] = *period
		}
		if own := p.placement(limits); own != (adaptive.Override{}) {
			said.Placement[tenant] = own
		}
		if p.err != nil {
			return nil, p.err
		}
	}
	return said, nil
}

// parser reads values of one tenant, and keeps the first fault.
type parser struct {
	tenant string
	err    error
}

func (p *parser) placement(limits *tenantLimits) adaptive.Override {
	const prefix = "adaptive_placement_"
	own := adaptive.Override{
		TenantShards:          p.number(&limits.TenantShards, prefix+"tenant_shards", adaptive.MaxShards),
		IngestionTenantShards: p.number(&limits.IngestionShards, "ingestion_tenant_shard_size", adaptive.MaxShards),
		MinDatasetShards:      p.number(&limits.MinDatasetShards, prefix+"min_dataset_shards", adaptive.MaxShards),
		MaxDatasetShards:      p.number(&limits.MaxDatasetShards, prefix+"max_dataset_shards", adaptive.MaxShards),
		UnitBytes:             p.number(&limits.UnitBytes, prefix+"unit_size_bytes", 1<<62),
		BurstWindow:           p.duration(&limits.BurstWindow, prefix+"burst_window", "write a duration such as 17m"),
		DecayWindow:           p.duration(&limits.DecayWindow, prefix+"decay_window", "write a duration such as 19m"),
	}
	if value := p.scalar(&limits.LoadBalancing, prefix+"load_balancing", "one of dynamic, fingerprint, round-robin"); value != nil {
		chosen := adaptive.Balancing(value.Value)
		switch chosen {
		case adaptive.Dynamic, adaptive.Fingerprint, adaptive.RoundRobin:
			own.LoadBalancing = &chosen
		default:
			p.fault(value, prefix+"load_balancing", fmt.Errorf("%.32q: write dynamic, fingerprint or round-robin", value.Value))
		}
	}
	return own
}

// scalar returns a value, nil if there is none.
func (p *parser) scalar(node *yaml.Node, name, want string) *yaml.Node {
	if node.IsZero() {
		return nil
	}
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		if p.err == nil {
			p.err = fmt.Errorf("line %d: %s of tenant %.64q is no %s", node.Line, name, p.tenant, want)
		}
		return nil
	}
	return node
}

func (p *parser) duration(node *yaml.Node, name, advice string) *time.Duration {
	value := p.scalar(node, name, "duration such as 31d")
	if value == nil {
		return nil
	}
	duration, err := model.ParseDuration(value.Value)
	if err != nil {
		p.fault(value, name, fmt.Errorf("%w: %s", err, advice))
		return nil
	}
	return (*time.Duration)(&duration)
}

func (p *parser) number(node *yaml.Node, name string, most uint64) *uint64 {
	value := p.scalar(node, name, "whole number")
	if value == nil {
		return nil
	}
	n, err := strconv.ParseUint(value.Value, 10, 64)
	if err != nil || n > most {
		p.fault(value, name, fmt.Errorf("%.32q: write a whole number from 0 to %d", value.Value, most))
		return nil
	}
	return &n
}

func (p *parser) fault(node *yaml.Node, name string, err error) {
	if p.err == nil {
		p.err = fmt.Errorf("line %d: %s of tenant %.64q: %w", node.Line, name, p.tenant, err)
	}
}
