// Package disk watches the disks that a node depends on: whether they still take
// writes, and how much space is left.
//
//	watchdog, err := disk.Watch(directories, disk.Options{}, log, registerer)
//	unsubscribe := watchdog.Subscribe(func(directory string, status disk.Status) { ... })
//	defer watchdog.Close()
//
// Each directory has a prober, which writes and syncs a small file, a measurer,
// which asks for the free space, and a judge, which only looks at the clock. So a
// sync that hangs, which nothing can interrupt, is noticed while it hangs.
//
//	          2 s         10 s
//	healthy ──────► slow ──────► stalled     a probe is under way for so long
//	   │ ▲                          │
//	   │ └──── a probe succeeds ────┤
//	   └────► failed ◄──────────────┘        a probe ended with an error
//
// It decides nothing: what a node does about a bad disk is for who subscribes.
package disk
