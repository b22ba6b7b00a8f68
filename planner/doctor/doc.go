// Package doctor says what is wrong with a cluster, what follows from it, and what
// to do: from the same picture that package placement plans with, in words for
// operators. It changes nothing, and repeats nothing that heals by itself within
// seconds.
package doctor
