package workload

import (
	"context"
	"errors"

	"github.com/skerrydb/skerry/cmd/internal/clustertest/history"
	metastorev1 "github.com/skerrydb/skerry/proto/metastore/v1"
)

const (
	// Serials that most queries ask for, the newest or a random part: few, so that
	// queries are close to the adds.
	newest = 48
	// One query of so many asks for everything, or for the most that one asks for.
	everythingEach = 100
	most           = 20_000
)

// scope is the serials that a query asks for.
type scope struct{ first, last uint32 }

// read asks for data of one or two tenants of a kind.
func (c *client) read(ctx context.Context) {
	tenants := uint32(c.options.Tenants)
	lanes := []uint32{c.random.Uint32N(2 * tenants)}
	if next := (lanes[0] + 1) % (2 * tenants); c.random.IntN(3) == 0 && next/tenants == lanes[0]/tenants {
		lanes = append(lanes, next)
	}
	count := c.begun(lanes[0])
	s := scope{0, count + newest}
	switch n := c.random.IntN(everythingEach); {
	case n == 0:
		s.first = count - min(count, most)
	case n < everythingEach/3 && count > newest:
		s.first = c.random.Uint32N(count - newest)
		s.last = s.first + newest
	default:
		s.first = count - min(count, newest)
	}
	c.query(ctx, lanes, s) //nolint:errcheck // counted
}

// begun is the number of serials given out in a lane.
func (w *Workload) begun(lane uint32) uint32 {
	if lane < uint32(w.options.Tenants) {
		return w.segments.Load()
	}
	return w.blocks[lane-uint32(w.options.Tenants)].Load()
}

// query records what is found for each lane.
func (c *client) query(ctx context.Context, lanes []uint32, s scope) error {
	request := &metastorev1.QueryMetadataRequest{
		StartTime: c.millisecond(s.first), EndTime: c.millisecond(s.last), Query: "{}", Labels: []string{datumLabel},
	}
	for _, lane := range lanes {
		request.TenantId = append(request.TenantId, tenantName(lane))
	}
	conn, began := c.conn(), c.clock.Now()
	var answer *metastorev1.QueryMetadataResponse
	if err := c.call(ctx, "query", func(ctx context.Context) (err error) {
		answer, err = metastorev1.NewMetadataQueryServiceClient(conn).QueryMetadata(ctx, request)
		return err
	}); err != nil {
		return err
	}
	ended := c.clock.Now()
	found := map[uint32][]uint32{}
	for _, block := range answer.GetBlocks() {
		c.results.seen(&c.Jobs, block.GetId(), began, ended)
		for _, dataset := range block.GetDatasets() {
			c.note(found, block, dataset)
		}
	}
	for _, lane := range lanes {
		c.Data.Query(history.Query{Lane: lane, Call: began, Return: ended, First: s.first, Last: s.last, Found: found[lane]})
		delete(found, lane)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for lane, serials := range found {
		c.fault("a query for lanes %v was answered with data of lane %d: %v", lanes, lane, serials[:min(len(serials), 5)])
	}
	return nil
}

// note reads the name of a datum, and demands that it is what was added.
func (c *client) note(found map[uint32][]uint32, block *metastorev1.BlockMeta, dataset *metastorev1.Dataset) {
	labels := dataset.GetLabels()
	var datum history.Datum
	err := errors.New("want one label")
	if len(labels) == 3 {
		datum, err = parseDatum(block.StringAt(labels[2]))
	}
	at := c.millisecond(datum.Serial)
	if err != nil || datum.Lane >= uint32(2*c.options.Tenants) || datum.Serial >= c.begun(datum.Lane) ||
		block.StringAt(dataset.GetTenant()) != tenantName(datum.Lane) || dataset.GetMinTime() != at || dataset.GetMaxTime() != at {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.fault("block %s holds a dataset that nobody added: %v, datum %v, %v", block.GetId(), dataset, datum, err)
		return
	}
	found[datum.Lane] = append(found[datum.Lane], datum.Serial)
}
