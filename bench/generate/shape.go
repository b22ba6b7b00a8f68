package generate

// Shape names what blocks look like.
type Shape string

const (
	// Standard blocks are all alike: segments of 1.6 KB with 10 datasets of 8
	// tenants. Figures of different versions are compared with them.
	Standard Shape = "standard"
	// Real blocks are distributed as in a capture of a Pyroscope that 17,602
	// profiles of Go programs were pushed to: 2,647 segments, 662 blocks of level 1,
	// 60 of level 2.
	Real Shape = "real"
)

// Names that Pyroscope gives.
const (
	LabelService      = "service_name"
	LabelType         = "__profile_type__"
	LabelUnsymbolized = "__unsymbolized__"
	LabelIndex        = "__tenant_dataset__"
	valueIndex        = "dataset_tsdb_index"
)

// ProfileTypes are those of Go programs: two of a CPU profile, four of the heap, one of
// goroutines.
var ProfileTypes = [7]string{
	"process_cpu:cpu:nanoseconds:cpu:nanoseconds", "process_cpu:samples:count:cpu:nanoseconds",
	"memory:alloc_objects:count:space:bytes", "memory:alloc_space:bytes:space:bytes",
	"memory:inuse_objects:count:space:bytes", "memory:inuse_space:bytes:space:bytes",
	"goroutine:goroutine:count:goroutine:count",
}

// profiles is a span of ProfileTypes that a dataset has, and bytes of its region.
type profiles struct {
	first, last int
	size        uint64
}

// form is the numbers behind a shape.
type form struct {
	tenants, shards, services int
	tenantSkew, serviceSkew   float64
	// Of the name of a service: its trade, its number.
	serviceFormat string
	// Whether the services of a block are all different: one, and those that follow.
	inTurn bool
	// Of blocks of level 0, 1, 2.
	levels []float64
	// By level: how many datasets a block has, and of a segment how many tenants; the weight at index n is that of n+1.
	datasets [3][]float64
	members  []float64
	// By level: what a dataset has, all alike often.
	profiles [3][]profiles
	// By level: from the first to the last profile of a block, milliseconds.
	span [3]spread
	// Whether each tenant's datasets are closed by their index.
	index bool
	// One block of so many is late, by up to lateMax.
	lateEach uint64
	// One dataset of so many has profiles without symbols.
	unsymbolizedEach uint64
}

var all = len(ProfileTypes)

func fixed(n int) []float64 {
	weights := make([]float64, n)
	weights[n-1] = 1
	return weights
}

func (s Shape) form() (form, bool) {
	switch s {
	case Standard:
		return form{
			tenants: 20, shards: 16, services: 10, serviceFormat: "shop-production-europe/%s-service-%02d", inTurn: true, levels: fixed(1),
			datasets: [3][]float64{fixed(10)}, members: fixed(8),
			profiles: [3][]profiles{{{0, all, 8_000}}}, span: [3]spread{{272, 272}},
			lateEach: 100, unsymbolizedEach: 2_000,
		}, true
	case Real:
		return form{
			tenants: 100, shards: 16, services: 40, tenantSkew: 1.1, serviceSkew: 0.8, serviceFormat: "%s-%02d",
			levels: []float64{2647, 662, 60},
			datasets: [3][]float64{
				{428, 127, 153, 414, 486, 317, 287, 116, 57, 262}, {165, 1, 1, 330, 0, 0, 165}, {15, 0, 0, 30, 0, 0, 15},
			},
			members: []float64{741, 1852, 54},
			profiles: [3][]profiles{
				{{6, 7, 8_340}, {0, 2, 17_419}, {2, 6, 20_567}}, {{0, all, 32_444}}, {{0, all, 43_731}},
			},
			span: [3]spread{
				{0, 0, 10, 170, 272, 345, 415, 465, 501}, {1_521, 6_303, 6_897, 7_415, 7_931}, {90_156, 96_274, 96_906, 97_430, 97_931},
			},
			index: true, lateEach: 50, unsymbolizedEach: 5_000,
		}, true
	}
	return form{}, false
}
