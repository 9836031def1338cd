/* memory_map.h: bytes from the system and back. */
#ifndef BASE_MEMORY_MAP_H
#define BASE_MEMORY_MAP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Addresses that are mapped and not given out yet, which cost nothing. Threads that each mapped their
 * own would wait for one another: mapping is a writer of the process's memory map, filling only reads. */
typedef struct map_region {
    pthread_mutex_t lock;
    uint8_t *at;
    size_t left;
} map_region;

void map_region_init(map_region *r);
void map_region_destroy(map_region *r); /* what was given out stays */
/* Zeros, a multiple of pages; NULL: none left. From 2 MiB on aligned to huge pages, and of them. What
 * `fills` soon gets its small pages at once: in one call they cost half of what faults one by one do. */
void *map_bytes(map_region *r, size_t bytes, bool fills);

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
