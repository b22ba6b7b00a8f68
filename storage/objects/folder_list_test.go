package objects_test

import (
	"slices"
	"testing"

	"github.com/skerrydb/skerry/storage/objects"
)

func names(t *testing.T, bucket objects.Bucket, options objects.ListOptions) []string {
	t.Helper()
	var all []string
	for entry, err := range bucket.List(t.Context(), options) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entry.Name)
	}
	return all
}

func TestFolderListsInOrderOfNames(t *testing.T) {
	folder, err := objects.OpenFolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ab", "a/b", "a-b", "a/a/x", "b/c"} {
		if err := folder.Put(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		options objects.ListOptions
		want    []string
	}{
		{objects.ListOptions{}, []string{"a-b", "a/a/x", "a/b", "ab", "b/c"}},
		{objects.ListOptions{Prefix: "a"}, []string{"a-b", "a/a/x", "a/b", "ab"}},
		{objects.ListOptions{Prefix: "a/"}, []string{"a/a/x", "a/b"}},
		{objects.ListOptions{After: "a/a/x"}, []string{"a/b", "ab", "b/c"}},
		{objects.ListOptions{Delimited: true}, []string{"a-b", "a/", "ab", "b/"}},
		{objects.ListOptions{Delimited: true, Prefix: "a/"}, []string{"a/a/", "a/b"}},
		{objects.ListOptions{Delimited: true, After: "a/"}, []string{"ab", "b/"}},
	} {
		if got := names(t, folder, test.options); !slices.Equal(got, test.want) {
			t.Errorf("%+v: %q, want %q", test.options, got, test.want)
		}
	}
}
