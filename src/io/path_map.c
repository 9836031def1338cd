/* path_map.c: open addressing with linear probing; a removal moves what follows back (Knuth, TAOCP 3, 6.4,
 * algorithm R). */
#include "io/path_map.h"

#include <stdlib.h>
#include <string.h>

#include "data/hash.h"

enum { CAPACITY_MIN = 64 };

uint64_t path_key(const char *path) {
    uint64_t key = hash_bytes((const uint8_t *)path, strlen(path));
    return key ? key : 1;
}

static uint32_t home(const path_map *m, uint64_t key) { return (uint32_t)key & (m->capacity - 1); }
static uint32_t after(const path_map *m, uint32_t i) { return (i + 1) & (m->capacity - 1); }

static path_entry *place_of(const path_map *m, uint64_t key) {
    uint32_t i = home(m, key);
    while (m->entries[i].key && m->entries[i].key != key) i = after(m, i);
    return &m->entries[i];
}

path_entry *path_map_find(const path_map *m, uint64_t key) {
    path_entry *e = m->n ? place_of(m, key) : NULL;
    return e && e->key ? e : NULL;
}

static tw_status grow(path_map *m, tw_error *err) {
    path_map bigger = {.n = m->n, .capacity = m->capacity ? 2 * m->capacity : CAPACITY_MIN};
    if (bigger.capacity) bigger.entries = calloc(bigger.capacity, sizeof *bigger.entries);
    if (!bigger.entries) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    for (uint32_t i = 0; i < m->capacity; i++)
        if (m->entries[i].key) *place_of(&bigger, m->entries[i].key) = m->entries[i];
    free(m->entries);
    *m = bigger;
    return TW_OK;
}

tw_status path_map_get(path_map *m, uint64_t key, path_entry **out, tw_error *err) {
    if (m->n >= m->capacity / 2) TRY(grow(m, err));
    *out = place_of(m, key);
    if (!(*out)->key) {
        (*out)->key = key;
        m->n++;
    }
    return TW_OK;
}

void path_map_remove(path_map *m, uint64_t key) {
    path_entry *e = path_map_find(m, key);
    if (!e) return;
    uint32_t hole = (uint32_t)(e - m->entries);
    for (uint32_t i = after(m, hole); m->entries[i].key; i = after(m, i)) {
        uint32_t wish = home(m, m->entries[i].key);
        /* It may move if its wish is not between the hole and where it is. */
        if (((i - wish) & (m->capacity - 1)) < ((i - hole) & (m->capacity - 1))) continue;
        m->entries[hole] = m->entries[i];
        hole = i;
    }
    m->entries[hole] = (path_entry){0};
    m->n--;
}

void path_map_free(path_map *m) {
    free(m->entries);
    *m = (path_map){0};
}
