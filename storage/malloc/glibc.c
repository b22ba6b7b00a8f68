//go:build cgo && linux

#include <malloc.h>
#include <stdlib.h>

// Runs before the first thread begins: one that has an arena keeps it, and shares it.
__attribute__((constructor)) static void one_arena(void) {
#ifdef __GLIBC__
	if (getenv("MALLOC_ARENA_MAX") == NULL) {
		mallopt(M_ARENA_MAX, 1);
	}
#endif
}
