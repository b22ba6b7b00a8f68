package kv

import (
	"bufio"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

var killRounds = flag.Int("kv.kills", 5, "how often TestKill kills a process, for each durability")

// What the process that is to be killed finds in its environment.
const (
	envKillDir  = "KV_TEST_KILL_DIR"
	envKillMode = "KV_TEST_KILL_MODE"
)

const (
	killNamespaces = 3
	killCommitsMax = 400 // of one namespace in all rounds
)

// killedMain is the process that is to be killed: it commits to its namespaces in turn, for ever.
func killedMain() {
	var mode Durability
	if _, err := fmt.Sscan(os.Getenv(envKillMode), (*int)(&mode)); err != nil {
		panic(err)
	}
	e, err := OpenEngine(os.Getenv(envKillDir), EngineOptions{Durability: mode, MemTableBytes: minMemTableBytes})
	if err != nil {
		panic(err)
	}
	for n := 0; ; n++ {
		id := uint64(n % killNamespaces)
		db, err := e.DB(id)
		if err != nil {
			panic(err)
		}
		next := 0
		if err := db.View(func(tx *Tx) error { next = tx.ID() - firstTxID + 1; return nil }); err != nil {
			panic(err)
		}
		if next > killCommitsMax {
			fmt.Println("full")
			select {} // until killed
		}
		if err := crashCommit(db, next); err != nil {
			panic(err)
		}
		// Said only when the commit has returned.
		fmt.Printf("commit %d %d\n", id, next)
		if mode == NoWAL && n%40 == 39 {
			if err := e.Sync(); err != nil {
				panic(err)
			}
			fmt.Println("sync")
		}
	}
}

// TestKill kills a process of its own while it commits, again and again, and opens what it leaves:
// with WALSync every commit that returned is there, in all modes each namespace is at the state
// after some commit, not before the last one known to be durable, and the next round goes on from there.
func TestKill(t *testing.T) {
	states := crashStates(t, killCommitsMax)
	// A kill can come before anything reached the disk; not always.
	found := false
	for _, mode := range []Durability{NoWAL, WALNoSync, WALSync} {
		t.Run(mode.String(), func(t *testing.T) {
			dir := t.TempDir()
			rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
			var durable [killNamespaces]int
			for range *killRounds {
				done, synced := runAndKill(t, dir, mode, 1+rng.IntN(120), durable)
				if mode == WALSync {
					synced = done
				}
				e, err := OpenEngine(dir, EngineOptions{Durability: mode})
				must(t, err)
				for id := range killNamespaces {
					db := namespaceDB(t, e, uint64(id))
					// One commit may have been applied whose line was not read.
					checkPrefix(t, db, states, synced[id], min(done[id]+1, killCommitsMax))
					must(t, db.View(func(tx *Tx) error { durable[id] = tx.ID() - firstTxID; return nil }))
				}
				must(t, e.Close())
				if t.Failed() {
					return
				}
			}
			found = found || durable != [killNamespaces]int{}
		})
	}
	if !found {
		t.Error("nothing was ever found")
	}
}

// runAndKill starts a process that commits, kills it when it has said so many lines, and returns the
// last commits it made and those it said were synced, from those that were there before on.
func runAndKill(t *testing.T, dir string, mode Durability, lines int, before [killNamespaces]int) (done, synced [killNamespaces]int) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envKillDir+"="+dir, fmt.Sprintf("%s=%d", envKillMode, mode))
	var failure strings.Builder
	cmd.Stderr = &failure
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	done, synced = before, before
	scan := bufio.NewScanner(out)
	read := 0
	for scan.Scan() {
		var id, n int
		switch line := scan.Text(); {
		case line == "sync":
			synced = done
		case line == "full":
			lines = read
		default:
			if _, err := fmt.Sscanf(line, "commit %d %d", &id, &n); err != nil {
				t.Errorf("line %q: %v", line, err)
			}
			done[id] = n
		}
		if read++; read == lines || lines < read {
			must(t, cmd.Process.Kill())
		}
	}
	if err := cmd.Wait(); err == nil || read < lines {
		t.Fatalf("ended by itself after %d lines: %v\n%s", read, err, failure.String())
	}
	return done, synced
}
