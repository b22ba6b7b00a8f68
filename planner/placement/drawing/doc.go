// Package drawing reads pictures of clusters from text, for tests:
//
//	cluster factor=3 directory=5 repair=5m balance=off next=100 format=1 age=1h
//	node a zone=x state=draining silent=6m heard=10s disk=low health=slow stopping never
//	group 2 streams creating empty: 1@a* 2@b +3@c -4@d lag=3:5000 failed=2 unread=1 raft=1@a,+3@c removed=4 ahead=20s
//	operation 7 split group=2 age=2h
//
// Of a group's replicas * leads, + is a LEARNER, - is LEAVING; the others are VOTERs.
// The group's members are the same, LEAVING ones voters, unless raft= tells them.
package drawing
