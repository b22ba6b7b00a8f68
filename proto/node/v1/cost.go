package nodev1

// CostItem is one figure of a QueryCost.
type CostItem struct {
	// As in the message, such as blocks_tested.
	Name string
	// What is counted, one sentence.
	Help string
	// Of returns the figure's place in a cost.
	Of func(*QueryCost) *uint64
}

// CostItems lists every figure of a QueryCost, for those who show or add them.
func CostItems() []CostItem {
	return []CostItem{
		{"shards", "Index shards with data of the tenants and time asked for.", func(c *QueryCost) *uint64 { return &c.Shards }},
		{"shards_skipped", "Of these, shards whose label sets the selector cannot match.", func(c *QueryCost) *uint64 { return &c.ShardsSkipped }},
		{"blocks_tested", "Blocks whose time and label sets were compared.", func(c *QueryCost) *uint64 { return &c.BlocksTested }},
		{"blocks_decoded", "Blocks whose datasets were read.", func(c *QueryCost) *uint64 { return &c.BlocksDecoded }},
		{"blocks_returned", "Blocks in answers of groups.", func(c *QueryCost) *uint64 { return &c.BlocksReturned }},
		{"bytes_returned", "Encoded size of answers of groups.", func(c *QueryCost) *uint64 { return &c.BytesReturned }},
		{"bytes_loaded", "Bytes of string tables and label sets read because memory did not hold them.", func(c *QueryCost) *uint64 { return &c.BytesLoaded }},
	}
}

// Add adds another cost, which may be nil.
func (x *QueryCost) Add(other *QueryCost) {
	if other == nil {
		return
	}
	x.Shards += other.Shards
	x.ShardsSkipped += other.ShardsSkipped
	x.BlocksTested += other.BlocksTested
	x.BlocksDecoded += other.BlocksDecoded
	x.BlocksReturned += other.BlocksReturned
	x.BytesReturned += other.BytesReturned
	x.BytesLoaded += other.BytesLoaded
}
