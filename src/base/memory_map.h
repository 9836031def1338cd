/* memory_map.h: bytes from the system and back. */
#ifndef BASE_MEMORY_MAP_H
#define BASE_MEMORY_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeros, a multiple of pages; NULL: none left. From 2 MiB on aligned to huge pages, and of them. What
 * `fills` soon gets its small pages at once: in one call they cost half of what faults one by one do. */
void *map_bytes(size_t bytes, bool fills);

/* What is to be unmapped, collected: neighbours go in one call, which halves the end of a run. */
typedef struct mapping {
    uint8_t *at;
    size_t bytes;
} mapping;

typedef struct unmapping {
    mapping *items;
    size_t n, capacity;
} unmapping;

void unmap_later(unmapping *u, void *at, size_t bytes);
void unmap_now(unmapping *u); /* leaves it empty */

#endif
