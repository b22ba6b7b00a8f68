package metastorev1

import (
	"strings"
	"testing"
)

// R-PLN-7: the vectors of job names.
func TestJobName(t *testing.T) {
	a, b := "01JGJFGR480000000000000000", "01JGJFGR48040G2081040G2081"
	for _, c := range []struct {
		sources      []string
		tenant       string
		shard, level uint32
		want         string
	}{
		{[]string{a, b}, "acme", 3, 1, "72de16b5c00e7f76-Tacme-S3-L1"},
		{[]string{b, a}, "acme", 3, 1, "4648c461f0c7e331-Tacme-S3-L1"},
		{[]string{a}, "", 1, 0, "8002ef2e40f85368-T-S1-L0"},
		{[]string{a}, "a-S1-L2", 1, 2, "8002ef2e40f85368-Ta-S1-L2-S1-L2"},
		{[]string{a}, "../x y%", 1, 2, "8002ef2e40f85368-T..%2Fx%20y%25-S1-L2"},
		{nil, "", 0, 0, "ef46db3751d8e999-T-S0-L0"},
	} {
		name := JobName(c.sources, c.tenant, c.shard, c.level)
		if name != c.want {
			t.Errorf("name %s, want %s", name, c.want)
		}
		tenant, shard, level, err := ParseJobName(name)
		if tenant != c.tenant || shard != c.shard || level != c.level || err != nil {
			t.Errorf("%s parsed as %q, %d, %d, %v", name, tenant, shard, level, err)
		}
	}
	for _, name := range []string{"", "x", "x-L1", "x-S1-L1", "x-Ta-S1-L", "x-Ta-S-L1", "x-Ta-S1-L99999999999", "x-Ta%-S1-L1", "x-Ta%zz-S1-L1", "x-Ta%61-S1-L1", "x-Ta/b-S1-L1"} {
		if _, _, _, err := ParseJobName(name); err == nil {
			t.Errorf("%q was parsed", name)
		}
	}
}

func FuzzParseJobName(f *testing.F) {
	f.Add("8002ef2e40f85368-Ta-S1-L2-S1-L2", "a/b", uint32(1), uint32(2))
	f.Fuzz(func(t *testing.T, name, tenant string, shard, level uint32) {
		made := JobName([]string{"x"}, tenant, shard, level)
		if gotTenant, gotShard, gotLevel, err := ParseJobName(made); err != nil || gotTenant != tenant || gotShard != shard || gotLevel != level {
			t.Errorf("%q parsed as %q, %d, %d, %v", made, gotTenant, gotShard, gotLevel, err)
		}
		if strings.ContainsAny(made, "/\\\x00 ") {
			t.Errorf("%q is no name of a directory", made)
		}
		// Whatever else is given: no panic.
		_, _, _, _ = ParseJobName(name)
	})
}
