#include "base/memory_map.h"

#include <stdlib.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define REGION_BYTES ((size_t)64 << 20)
#define EMPTIED_BY_TWO ((size_t)64 << 20)
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

void map_region_init(map_region *r) {
    *r = (map_region){0};
    pthread_mutex_init(&r->lock, NULL);
}

void map_region_destroy(map_region *r) {
    if (r->left) munmap(r->at, r->left);
    pthread_mutex_destroy(&r->lock);
}

static uint8_t *map_anew(size_t bytes) {
    uint8_t *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

static uint8_t *map_huge(size_t bytes) {
    uint8_t *at = map_anew(bytes + HUGE_PAGE);
    if (!at) return NULL;
    size_t before = -(uintptr_t)at & (HUGE_PAGE - 1);
    if (before) munmap(at, before);
    at += before;
    if (HUGE_PAGE > before) munmap(at + bytes, HUGE_PAGE - before);
    madvise(at, bytes, MADV_HUGEPAGE); /* only faster; may be switched off */
    return at;
}

static uint8_t *carve(map_region *r, size_t bytes) {
    pthread_mutex_lock(&r->lock);
    if (r->left < bytes) {
        if (r->left) munmap(r->at, r->left);
        r->at = map_anew(REGION_BYTES);
        r->left = r->at ? REGION_BYTES : 0;
    }
    uint8_t *at = r->left ? r->at : NULL;
    if (at) {
        r->at += bytes;
        r->left -= bytes;
    }
    pthread_mutex_unlock(&r->lock);
    return at ? at : map_anew(bytes); /* the process may have fewer addresses left than a region has */
}

void *map_bytes(map_region *r, size_t bytes, bool fills) {
    if (bytes >= HUGE_PAGE) return map_huge(bytes);
    uint8_t *at = carve(r, bytes);
    /* An older kernel has no such call: then the pages come one by one. */
    if (at && fills) madvise(at, bytes, MADV_POPULATE_WRITE);
    return at;
}

static bool reserve(unmapping *u) {
    if (u->n < u->capacity) return true;
    size_t capacity = u->capacity ? 2 * u->capacity : 64;
    mapping *items = realloc(u->items, capacity * sizeof *items);
    if (!items) return false;
    u->items = items;
    u->capacity = capacity;
    return true;
}

void unmap_later(unmapping *u, void *at, size_t bytes) {
    if (reserve(u)) u->items[u->n++] = (mapping){at, bytes};
    else munmap(at, bytes);
}

static int by_address(const void *a, const void *b) {
    const mapping *x = a, *y = b;
    return (x->at > y->at) - (x->at < y->at);
}

/* Neighbours as one. */
static size_t join_neighbours(mapping *items, size_t n) {
    size_t joined = 0;
    if (n > 1) qsort(items, n, sizeof *items, by_address);
    for (size_t i = 0; i < n; i++) {
        if (joined && items[joined - 1].at + items[joined - 1].bytes == items[i].at) items[joined - 1].bytes += items[i].bytes;
        else items[joined++] = items[i];
    }
    return joined;
}

/* The pages of what is at [from, to) of all the bytes. */
typedef struct emptying {
    const unmapping *all;
    size_t from, to;
} emptying;

static void *empty(void *argument) {
    const emptying *e = argument;
    size_t at = 0;
    for (size_t i = 0; i < e->all->n; i++) {
        const mapping *m = &e->all->items[i];
        size_t from = e->from > at ? e->from - at : 0, to = e->to > at ? e->to - at : 0;
        at += m->bytes;
        if (to > m->bytes) to = m->bytes;
        if (from < to) madvise(m->at + from, to - from, MADV_DONTNEED);
    }
    return NULL;
}

/* Giving many pages back takes long, and two threads half as long, as unmapping cannot. */
static void empty_by_two(const unmapping *u, size_t bytes) {
    size_t half = bytes / 2 & ~(HUGE_PAGE - 1);
    emptying first = {u, 0, half}, second = {u, half, bytes};
    pthread_t helper;
    if (pthread_create(&helper, NULL, empty, &first) != 0) return; /* then unmapping does it all */
    empty(&second);
    pthread_join(helper, NULL);
}

void unmap_now(unmapping *u) {
    size_t bytes = 0;
    u->n = join_neighbours(u->items, u->n);
    for (size_t i = 0; i < u->n; i++) bytes += u->items[i].bytes;
    if (bytes >= EMPTIED_BY_TWO) empty_by_two(u, bytes);
    for (size_t i = 0; i < u->n; i++) munmap(u->items[i].at, u->items[i].bytes);
    free(u->items);
    *u = (unmapping){0};
}
