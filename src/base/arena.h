/* arena.h: many small things that are freed together: the trees of a job, a parsed expression.
 * Used by one thread at a time; what is in it may be read by many. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

/* Start with `arena a = {0};`, end with arena_free. */
typedef struct arena {
    struct arena_block *blocks;
    size_t used; /* of the first block */
} arena;

/* Zeroed bytes, aligned for any type; NULL when out of memory. */
void *arena_new(arena *a, size_t bytes);
/* An array of n * size bytes; NULL when out of memory. */
void *arena_array(arena *a, size_t n, size_t size);
/* A copy with a 0 after it. */
char *arena_copy(arena *a, const void *bytes, size_t length);
void arena_free(arena *a);

#endif
