package shardgroup

import (
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lni/dragonboat/v4/raftpb"
)

// Dragonboat keeps its files in a folder named after the host, and refuses a
// folder that another host wrote. A node's identity is in its data directory,
// not in its host: containers get a new host name at each start. So before the
// Raft log is opened it is made to follow the host name.
//
//	raft/dragonboat.ds      which host wrote this: 8 bytes of MD5, then a
//	                        raftpb.RaftDataStatus
//	raft/HOST/DEPLOYMENT/   the log
//
// Without this, a changed name would silently begin an empty log under a store
// that holds data. The folder is renamed first, then the file rewritten; a
// crash between is repaired by the next start.
const raftStatusFile = "dragonboat.ds"

func followHostname(raftDir, hostname string, deployment uint64) error {
	entries, err := os.ReadDir(raftDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var hosts []string
	for _, entry := range entries {
		if entry.IsDir() {
			hosts = append(hosts, entry.Name())
		}
	}
	switch {
	case len(hosts) > 1:
		return fmt.Errorf("%w: %s holds the Raft logs of %d hosts (%v); only one can be this node's: move the others away", ErrDataDir, raftDir, len(hosts), hosts)
	case len(hosts) == 1 && hosts[0] != hostname:
		if err := os.Rename(filepath.Join(raftDir, hosts[0]), filepath.Join(raftDir, hostname)); err != nil {
			return err
		}
		if err := syncDir(raftDir); err != nil {
			return err
		}
	}
	return rewriteRaftStatus(raftDir, hostname, deployment)
}

// rewriteRaftStatus also refuses the log of another cluster.
func rewriteRaftStatus(raftDir, hostname string, deployment uint64) error {
	content, err := os.ReadFile(filepath.Join(raftDir, raftStatusFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var status raftpb.RaftDataStatus
	if len(content) < raftStatusHash || !bytes.Equal(content[:raftStatusHash], raftStatusSum(content[raftStatusHash:])) {
		return fmt.Errorf("%w: %s is damaged: restore the directory from a backup", ErrDataDir, filepath.Join(raftDir, raftStatusFile))
	}
	if err := status.Unmarshal(content[raftStatusHash:]); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDataDir, filepath.Join(raftDir, raftStatusFile), err)
	}
	if status.DeploymentId != deployment {
		return fmt.Errorf("%w: %s belongs to another cluster than %s: restore the directory from one backup", ErrDataDir, raftDir, identityFile)
	}
	if status.Hostname == hostname {
		return nil
	}
	status.Hostname = hostname
	encoded, err := status.Marshal()
	if err != nil {
		return err
	}
	return writeDurably(raftDir, raftStatusFile, append(raftStatusSum(encoded), encoded...))
}

const raftStatusHash = 8

func raftStatusSum(encoded []byte) []byte {
	sum := md5.Sum(encoded)
	return append([]byte(nil), sum[raftStatusHash:]...)
}
