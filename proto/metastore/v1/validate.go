package metastorev1

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"
)

// ErrInvalidBlock is wrapped by every error of ValidateBlock.
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
	if parsed.String() != id {
		return ulid.ULID{}, fmt.Errorf("%w %.64q: not in canonical form", ErrInvalidID, id)
	}
	return parsed, nil
}

// ValidateBlock refuses metadata that would poison readers and that no
// producer can emit: a malformed id, references outside the string table,
// label lists that are no exact sequence of sets, strings that are not UTF-8.
// Everything else passes: no datasets, no strings, odd times, any level.
func ValidateBlock(block *BlockMeta) error {
	if block == nil {
		return fmt.Errorf("%w: no block", ErrInvalidBlock)
	}
	if _, err := ParseID(block.GetId()); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidBlock, err)
	}
	if err := validateStrings(block); err != nil {
		return fmt.Errorf("%w: block %s: %w", ErrInvalidBlock, block.GetId(), err)
	}
	for i, dataset := range block.GetDatasets() {
		if err := validateDataset(dataset, len(block.GetStringTable())); err != nil {
			return fmt.Errorf("%w: block %s: dataset %d: %w", ErrInvalidBlock, block.GetId(), i, err)
		}
	}
	return nil
}

func validateStrings(block *BlockMeta) error {
	table := block.GetStringTable()
	if len(table) > 0 && table[0] != "" {
		return fmt.Errorf("string_table[0] is %.64q, must be empty", table[0])
	}
	for i, s := range table {
		if !utf8.ValidString(s) {
			return fmt.Errorf("string_table[%d] is not UTF-8", i)
		}
	}
	if err := validateRef("tenant", block.GetTenant(), len(table)); err != nil {
		return err
	}
	return validateRef("created_by", block.GetCreatedBy(), len(table))
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

// TenantName returns the tenant of a block: the empty string for segments, and
// for references that are not positive or outside the table.
func (b *BlockMeta) TenantName() string { return b.stringAt(b.GetTenant()) }

func (b *BlockMeta) stringAt(ref int32) string {
	if ref <= 0 || int(ref) >= len(b.GetStringTable()) {
		return ""
	}
	return b.StringTable[ref]
}
