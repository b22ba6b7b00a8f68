// Package malloc keeps the C allocator from holding far more memory than was asked of it.
//
// Pebble takes its block cache and its tables in memory from it. glibc gives each thread
// an arena of its own, up to eight for each processor, and what is freed in one is not
// used for another: with blocks of all sizes between 32 KB and a few hundred bytes coming
// and going on all threads, arenas grew to three times a full cache. Importing the
// package has all threads use one arena. It is locked for a fraction of a microsecond by
// each block that comes into the cache or leaves it, which takes 20 to read.
//
// Whoever sets MALLOC_ARENA_MAX in the environment gets that number of arenas instead.
// Without cgo, and with other C libraries, importing it does nothing.
package malloc
