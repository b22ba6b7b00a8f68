package clusterv1

// FirstFormat is the first version of the data formats. A record that names no
// format (0) means this one.
const FirstFormat = 1

// MinFormat and MaxFormat (see format_this.go) bound the data formats
// (Cluster.active_version) that this build works with. A release that stores or
// proposes something new raises MaxFormat and does it only once the format is
// active; a later one, which does without the old ways, raises MinFormat.
const MinFormat = FirstFormat

// FormatOrFirst returns the format in use.
func (c *Cluster) FormatOrFirst() uint32 { return max(c.GetActiveVersion(), FirstFormat) }

// WorksWith tells whether the node's build works with a data format.
func (n *Node) WorksWith(format uint32) bool {
	return n.GetMinFormat() <= format && format <= max(n.GetMaxFormat(), FirstFormat)
}
