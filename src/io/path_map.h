/* path_map.h: what is known of paths, by their hashes: 64 bits, so that millions of paths need no more than an entry each.
 * Two paths with one hash are one path here: among a million that is as likely as 1 in 30 million. */
#ifndef IO_PATH_MAP_H
#define IO_PATH_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct path_entry {
    uint64_t key;      /* 0: a free place */
    uint64_t identity; /* of the file that was last seen there; 0: not looked at */
    void *item;        /* the owner's; NULL at first */
    uint8_t state;     /* the owner's; 0 at first */
    bool marked;       /* the owner's */
} path_entry;

typedef struct path_map { /* start with {0} */
    path_entry *entries;
    uint32_t n, capacity;
} path_map;

uint64_t path_key(const char *path);
path_entry *path_map_find(const path_map *m, uint64_t key); /* NULL: not there; valid until the next change */
tw_status path_map_get(path_map *m, uint64_t key, path_entry **out, tw_error *err); /* adds it */
void path_map_remove(path_map *m, uint64_t key);
void path_map_free(path_map *m);

#endif
