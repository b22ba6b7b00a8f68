package history

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"
)

func rules(v Violations) []string {
	var names []string
	for _, violation := range v.First {
		names = append(names, violation.Rule)
	}
	slices.Sort(names)
	return names
}

// Each rule is broken by a history that nearly keeps it.
func TestDataRules(t *testing.T) {
	add := func(serial uint32, call, end int64) Add { return Add{Datum{1, serial}, 7, call, end} }
	query := func(call, end int64, found ...uint32) Query {
		return Query{Lane: 1, Call: call, Return: end, First: 0, Last: 9, Found: found}
	}
	for name, test := range map[string]struct {
		adds    []Add
		queries []Query
		want    []string
	}{
		"found after the acknowledgement":            {[]Add{add(3, 10, 20)}, []Query{query(21, 30, 3)}, nil},
		"lost":                                       {[]Add{add(3, 10, 20)}, []Query{query(21, 30)}, []string{RuleLost}},
		"concurrent":                                 {[]Add{add(3, 10, 20)}, []Query{query(5, 15, 3), query(12, 14), query(15, 40)}, nil},
		"before it was added":                        {[]Add{add(3, 10, 20)}, []Query{query(1, 9, 3)}, []string{RuleEarly}},
		"never added":                                {nil, []Query{query(1, 9, 3)}, []string{RuleEarly}},
		"unknown, not found":                         {[]Add{add(3, 10, Unknown)}, []Query{query(100, 110)}, nil},
		"unknown, found late":                        {[]Add{add(3, 10, Unknown)}, []Query{query(100, 110), query(120, 130, 3), query(140, 150, 3)}, nil},
		"vanished":                                   {[]Add{add(3, 10, Unknown)}, []Query{query(100, 110, 3), query(111, 130)}, []string{RuleVanished}},
		"found by an overlapping query":              {[]Add{add(3, 10, Unknown)}, []Query{query(100, 110, 3), query(109, 130)}, nil},
		"twice":                                      {[]Add{add(3, 10, 20)}, []Query{query(12, 30, 3, 3, 3)}, []string{RuleTwice}},
		"repeated, then acknowledged":                {[]Add{add(3, 10, Unknown), add(3, 50, 60)}, []Query{query(55, 58), query(61, 70, 3)}, nil},
		"repeated, acknowledged first":               {[]Add{add(3, 50, 60), add(3, 10, 20)}, []Query{query(21, 22)}, []string{RuleLost}},
		"not asked for":                              {[]Add{add(10, 10, 20)}, []Query{query(21, 30)}, nil},
		"not asked for, but answered":                {[]Add{add(10, 10, 20)}, []Query{query(21, 30, 10), query(1, 2, 10)}, []string{RuleEarly}},
		"torn: the first is there, so the second":    {[]Add{add(3, 10, 20), add(4, 25, 26)}, []Query{query(15, 40, 4)}, []string{RuleTorn}},
		"torn, by a query that saw the first":        {[]Add{add(3, 10, Unknown), add(4, 25, 26)}, []Query{query(15, 20, 3), query(15, 40, 4)}, []string{RuleTorn}},
		"not torn: tried before the acknowledgement": {[]Add{add(3, 10, 20), add(4, 19, 26)}, []Query{query(15, 40, 4)}, nil},
		"not torn: another point": {
			[]Add{add(3, 10, 20), {Datum{1, 4}, 8, 25, 26}}, []Query{query(15, 40, 4)}, nil,
		},
		"recorded wrongly": {[]Add{add(3, 20, 10)}, []Query{query(1, 0)}, []string{RuleBackwards, RuleBackwards}},
	} {
		t.Run(name, func(t *testing.T) {
			var d Data
			for _, a := range test.adds {
				d.Add(a)
			}
			for _, q := range test.queries {
				d.Query(q)
			}
			if got := rules(d.Check().Violations); !slices.Equal(got, test.want) {
				t.Errorf("broken rules are %q, want %q: %v", got, test.want, d.Check().First)
			}
		})
	}
}

func TestJobRules(t *testing.T) {
	grant := func(token uint64, call, end int64) Grant { return Grant{"j", token, "2", call, end} }
	other := func(token uint64, call, end int64) Grant { return Grant{"k", token, "2", call, end} }
	complete := func(token uint64, call, end int64) Completion { return Completion{"j", token, call, end} }
	see := func(token uint64, call, end int64) Sighting { return Sighting{"j", token, call, end} }
	for name, test := range map[string]struct {
		grants      []Grant
		completions []Completion
		sightings   []Sighting
		want        []string
	}{
		"one life": {[]Grant{grant(1, 1, 2)}, []Completion{complete(1, 5, 6)}, []Sighting{see(1, 7, 8), see(1, 9, 10)}, nil},
		"given again, the late result was refused": {
			[]Grant{grant(1, 1, 2), grant(4, 10, 11)}, []Completion{complete(1, 12, 13), complete(4, 14, 15)}, []Sighting{see(4, 16, 17)}, nil,
		},
		"the token twice":                   {[]Grant{grant(1, 1, 9), grant(1, 2, 8)}, nil, nil, []string{RuleTokenTwice}},
		"an old token later":                {[]Grant{grant(4, 1, 2), grant(3, 5, 6)}, nil, nil, []string{RuleTokenOrder, RuleTokenOrder}},
		"an old token at the same time":     {[]Grant{grant(4, 1, 5), grant(3, 5, 6)}, nil, nil, nil},
		"an old token, another job":         {[]Grant{grant(4, 1, 2), other(3, 5, 6)}, nil, nil, []string{RuleTokenOrder}},
		"a known token, another job":        {[]Grant{grant(4, 1, 2), other(4, 5, 6)}, nil, nil, []string{RuleTokenOrder}},
		"an old token, of another counter":  {[]Grant{grant(4, 1, 2), {"k", 3, "3", 5, 6}}, nil, nil, nil},
		"two owners finished it":            {[]Grant{grant(1, 1, 2), grant(4, 3, 11)}, []Completion{complete(1, 10, 13), complete(4, 12, 15)}, []Sighting{see(1, 16, 17), see(4, 18, 19)}, []string{RuleFenced, RuleTwoResults}},
		"the result of a lost job":          {[]Grant{grant(1, 1, 2), grant(4, 10, 11)}, []Completion{complete(1, 12, 13)}, []Sighting{see(1, 14, 15)}, []string{RuleFenced}},
		"given after it was done":           {[]Grant{grant(1, 1, 2), grant(4, 10, 11)}, []Completion{complete(1, 5, 6)}, []Sighting{see(1, 14, 15)}, []string{RuleGivenAgain}},
		"given after its result was seen":   {[]Grant{grant(1, 1, 2), grant(4, 10, 11)}, []Completion{complete(1, 5, Unknown)}, []Sighting{see(1, 8, 9)}, []string{RuleGivenAgain}},
		"given, unclear whether it is done": {[]Grant{grant(1, 1, 2), grant(4, 10, 11)}, []Completion{complete(1, 5, 6), complete(4, 13, 14)}, []Sighting{see(4, 20, 21)}, nil},
		"nobody reported it":                {[]Grant{grant(1, 1, 2)}, []Completion{complete(1, 5, 6)}, []Sighting{see(1, 3, 4)}, []string{RuleResultUnborn}},
	} {
		t.Run(name, func(t *testing.T) {
			var j Jobs
			for _, g := range test.grants {
				j.Grant(g)
			}
			for _, c := range test.completions {
				j.Complete(c)
			}
			for _, s := range test.sightings {
				j.See(s)
			}
			if got := rules(j.Check().Violations); !slices.Equal(got, test.want) {
				t.Errorf("broken rules are %q, want %q: %v", got, test.want, j.Check().First)
			}
		})
	}
}

// moments hands out times of a small history, all different.
type moments struct{ times []int64 }

func drawMoments(t *rapid.T, calls int) *moments {
	var times []int64
	for i := range int64(2 * calls) {
		times = append(times, 10*i)
	}
	return &moments{rapid.Permutation(times).Draw(t, "times")}
}

func (m *moments) interval() (begin, end int64) {
	begin, end = min(m.times[0], m.times[1]), max(m.times[0], m.times[1])
	m.times = m.times[2:]
	return begin, end
}

// The linear checker and the general one agree about any history.
func TestDataAgreesWithPorcupine(t *testing.T) {
	good, bad := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		calls := rapid.IntRange(1, 8).Draw(t, "calls")
		when, d := drawMoments(t, calls), &Data{}
		for range calls {
			begin, end := when.interval()
			serial := rapid.Uint32Range(0, 1).Draw(t, "serial")
			switch rapid.SampledFrom([]string{"add", "lost add", "query", "query"}).Draw(t, "call") {
			case "add":
				d.Add(Add{Datum{1, serial}, 0, begin, end})
			case "lost add":
				d.Add(Add{Datum{1, serial}, 0, begin, Unknown})
			default:
				q := Query{Lane: 1, Call: begin, Return: end, First: 0, Last: rapid.Uint32Range(0, 1).Draw(t, "last")}
				if rapid.Bool().Draw(t, "found") {
					q.Found = []uint32{serial}
				}
				d.Query(q)
			}
		}
		report := d.Check()
		general := porcupine.CheckOperations(registerModel, d.Operations())
		if general != (report.Count == 0) {
			t.Fatalf("porcupine: %v, linear: %v", general, report.First)
		}
		if general {
			good++
		} else {
			bad++
		}
	})
	if good < 10 || bad < 10 {
		t.Errorf("%d good histories, %d bad ones", good, bad)
	}
}

func TestJobsAgreeWithPorcupine(t *testing.T) {
	good, bad := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		grants := rapid.IntRange(1, 4).Draw(t, "grants")
		when, j := drawMoments(t, grants+2), &Jobs{}
		for range grants {
			begin, end := when.interval()
			j.Grant(Grant{Job: "j", Token: rapid.Uint64Range(1, 5).Draw(t, "token"), Call: begin, Return: end})
		}
		if rapid.Bool().Draw(t, "completed") {
			// By one who has the job.
			token := rapid.SampledFrom(j.grants.list()).Draw(t, "owner").Token
			begin, end := when.interval()
			seen := begin + rapid.Int64Range(0, 100).Draw(t, "seen")
			if rapid.Bool().Draw(t, "lost") {
				end = Unknown
			}
			j.Complete(Completion{"j", token, begin, end})
			j.See(Sighting{"j", token, 0, seen - seen%10 + 5})
		}
		report := j.Check()
		general := porcupine.CheckOperations(jobModel, j.Operations())
		if general != (report.Count == 0) {
			t.Fatalf("porcupine: %v, linear: %v", general, report.First)
		}
		if general {
			good++
		} else {
			bad++
		}
	})
	if good < 10 || bad < 10 {
		t.Errorf("%d good histories, %d bad ones", good, bad)
	}
}

// A history of a million events is judged in seconds, and one wrong answer in
// it is found.
func TestLongHistory(t *testing.T) {
	const data, window = 200_000, 64
	random := rand.New(rand.NewPCG(1, 2))
	d := &Data{}
	for i := range int64(data) {
		// Applied at 100 i + 50, acknowledged later, or never.
		a := Add{Datum{uint32(i % 4), uint32(i / 4)}, 1, 100 * i, 100*i + 50 + random.Int64N(400)}
		if random.IntN(50) == 0 {
			a.Return = Unknown
		}
		d.Add(a)
		if i%2 == 0 {
			continue
		}
		begin := 100*i - random.Int64N(200)
		q := Query{Lane: uint32(random.IntN(4)), Call: begin, Return: 100*i + 99 + random.Int64N(200), Last: uint32(i / 4)}
		q.First = q.Last - min(q.Last, window)
		for serial := q.First; serial <= q.Last; serial++ {
			if 4*int64(serial)+int64(q.Lane) <= i {
				q.Found = append(q.Found, serial)
			}
		}
		d.Query(q)
	}
	began := time.Now()
	report := d.Check()
	t.Logf("%d data, %d queries, %d found, %d absent, judged in %v", report.Data, report.Queries, report.Found, report.Absent, time.Since(began))
	if report.Count != 0 || report.Data != data || report.Found < 10*data {
		t.Fatalf("%+v", report)
	}
	wrong := &d.queries.entries[data/4]
	wrong.Found = slices.Delete(wrong.Found, 5, 6)
	if report := d.Check(); !slices.Equal(rules(report.Violations), []string{RuleLost}) {
		t.Errorf("the wrong answer: %v", report.First)
	}
}
