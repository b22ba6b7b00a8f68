package shardgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	clusterv1 "github.com/skerrydb/skerry/proto/cluster/v1"
)

// mapFile keeps the last map that the node knew: with it, it starts and finds
// the others while the directory is away.
const mapFile = "map.pb"

// loadMapFile returns nil if there is no such file.
func loadMapFile(dir, name string) (*clusterv1.RangeMap, error) {
	content, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDataDir, err)
	}
	m := &clusterv1.RangeMap{}
	if err := m.UnmarshalVT(content); err != nil {
		return nil, fmt.Errorf("%w: %s is damaged: restore the directory from a backup", ErrDataDir, filepath.Join(dir, name))
	}
	return m, nil
}

func saveMapFile(dir, name string, m *clusterv1.RangeMap) error {
	content, err := m.MarshalVT()
	if err != nil {
		return err
	}
	return writeDurably(dir, name, content)
}
