package metastorev1

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
)

// MaxTenantBytes bounds tenant names. Pyroscope's limit at ingest is 150.
const MaxTenantBytes = 4 << 10

// MaxBlockBytes bounds one block's encoded metadata. Real ones have about one
// KiB; a block must fit a Raft entry.
const MaxBlockBytes = 16 << 20

// Bounds of one block, far above what segments of large deployments hold. They
// keep a block's cost in memory proportional to what real ones have.
const (
	MaxDatasets    = 1 << 16
	MaxStrings     = 1 << 17
	MaxStringBytes = 1 << 16
	// Numbers in the label lists of all datasets.
	MaxLabelNumbers = 1 << 20
)

// ErrInvalidBlock is wrapped by every error of ValidateBlock and CheckLimits.
var ErrInvalidBlock = errors.New("invalid block metadata")

// ErrInvalidID is wrapped by every error of ParseID.
var ErrInvalidID = errors.New("invalid block id")

// ParseID parses a block id strictly: 26 characters of upper-case Crockford
// base32 that fit 128 bits.
func ParseID(id string) (ulid.ULID, error) {
	parsed, err := ulid.ParseStrict(id)
	if err != nil {
		return ulid.ULID{}, fmt.Errorf("%w %.64q: %w", ErrInvalidID, id, err)
	}
	var canonical [ulid.EncodedSize]byte
	if err := parsed.MarshalTextTo(canonical[:]); err != nil || string(canonical[:]) != id {
		return ulid.ULID{}, fmt.Errorf("%w %.64q: not in canonical form", ErrInvalidID, id)
	}
	return parsed, nil
}

// ValidateBlock refuses metadata that would poison readers and that no
// producer can emit: a malformed id, references outside the string table,
// label lists that are no exact sequence of sets, strings that are not UTF-8,
// tenant names longer than MaxTenantBytes. Everything else passes: no datasets, no strings, odd times, any level.
func ValidateBlock(block *BlockMeta) error {
	if block == nil {
		return fmt.Errorf("%w: no block", ErrInvalidBlock)
	}
	if _, err := ParseID(block.GetId()); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidBlock, err)
	}
	if err := validateStrings(block.GetStringTable()); err != nil {
		return fmt.Errorf("%w: block %s: %w", ErrInvalidBlock, block.GetId(), err)
	}
	if err := CheckRefs(block, len(block.GetStringTable())); err != nil {
		return fmt.Errorf("%w: block %s: %w", ErrInvalidBlock, block.GetId(), err)
	}
	return validateTenants(block)
}

func validateStrings(table []string) error {
	if len(table) > 0 && table[0] != "" {
		return fmt.Errorf("string_table[0] is %.64q, must be empty", table[0])
	}
	for i, s := range table {
		if !utf8.ValidString(s) {
			return fmt.Errorf("string_table[%d] is not UTF-8", i)
		}
	}
	return nil
}

// validateTenants bounds the names that become keys.
func validateTenants(block *BlockMeta) error {
	check := func(tenant string) error {
		if len(tenant) > MaxTenantBytes {
			return fmt.Errorf("%w: block %s: tenant %.64q… has %d bytes, at most %d are allowed", ErrInvalidBlock, block.GetId(), tenant, len(tenant), MaxTenantBytes)
		}
		return nil
	}
	if err := check(block.TenantName()); err != nil {
		return err
	}
	for _, dataset := range block.GetDatasets() {
		if err := check(block.StringAt(dataset.GetTenant())); err != nil {
			return err
		}
	}
	return nil
}

// CheckRefs demands that all string references of a block lie in a table of
// the given size, and that its label lists are exact sequences of sets.
func CheckRefs(block *BlockMeta, strings int) error {
	if err := validateRef("tenant", block.GetTenant(), strings); err != nil {
		return err
	}
	if err := validateRef("created_by", block.GetCreatedBy(), strings); err != nil {
		return err
	}
	for i, dataset := range block.GetDatasets() {
		if err := validateDataset(dataset, strings); err != nil {
			return fmt.Errorf("dataset %d: %w", i, err)
		}
	}
	return nil
}

func validateDataset(dataset *Dataset, strings int) error {
	if dataset == nil {
		return errors.New("missing")
	}
	if err := validateRef("tenant", dataset.GetTenant(), strings); err != nil {
		return err
	}
	if err := validateRef("name", dataset.GetName(), strings); err != nil {
		return err
	}
	for rest := dataset.GetLabels(); len(rest) > 0; {
		// Compared in 64 bits: a count near 2^31 must not wrap.
		pairs, refs := rest[0], rest[1:]
		if pairs < 0 || 2*int64(pairs) > int64(len(refs)) {
			return fmt.Errorf("labels: a set announces %d pairs, %d references follow", pairs, len(refs))
		}
		for _, ref := range refs[:2*pairs] {
			if err := validateRef("labels", ref, strings); err != nil {
				return err
			}
		}
		rest = refs[2*pairs:]
	}
	return nil
}

// validateRef accepts 0 also when the table is empty: it stands for "".
func validateRef(field string, ref int32, strings int) error {
	if ref == 0 || ref > 0 && int(ref) < strings {
		return nil
	}
	return fmt.Errorf("%s refers to string %d of %d", field, ref, strings)
}

// CheckLimits refuses blocks that are too large in any way. It is asked before
// a block is proposed, and never when it is applied: so limits may change
// between releases without replicas deciding differently. ValidateBlock is
// asked at both places, and must not change what it accepts.
func CheckLimits(block *BlockMeta) error {
	refuse := func(what string, got, limit int) error {
		return fmt.Errorf("%w: block %s: %s: %d, at most %d are allowed", ErrInvalidBlock, block.GetId(), what, got, limit)
	}
	if size := block.SizeVT(); size > MaxBlockBytes {
		return refuse("bytes of metadata", size, MaxBlockBytes)
	}
	if n := len(block.GetDatasets()); n > MaxDatasets {
		return refuse("datasets", n, MaxDatasets)
	}
	if n := len(block.GetStringTable()); n > MaxStrings {
		return refuse("strings", n, MaxStrings)
	}
	for _, s := range block.GetStringTable() {
		if len(s) > MaxStringBytes {
			return refuse("bytes of a string", len(s), MaxStringBytes)
		}
	}
	numbers := 0
	for _, dataset := range block.GetDatasets() {
		numbers += len(dataset.GetLabels())
	}
	if numbers > MaxLabelNumbers {
		return refuse("label numbers", numbers, MaxLabelNumbers)
	}
	return nil
}

// TenantName returns the tenant of a block: the empty string for segments, and
// for references that are not positive or outside the table.
func (b *BlockMeta) TenantName() string { return b.StringAt(b.GetTenant()) }

// StringAt returns the string of a reference, "" for one outside the table.
func (b *BlockMeta) StringAt(ref int32) string {
	if ref <= 0 || int(ref) >= len(b.GetStringTable()) {
		return ""
	}
	return b.StringTable[ref]
}
