#include "base/memory_map.h"

#include <stdlib.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

void *map_bytes(size_t bytes, bool fills) {
    size_t extra = bytes >= HUGE_PAGE ? HUGE_PAGE : 0;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (fills && !extra ? MAP_POPULATE : 0);
    uint8_t *at = mmap(NULL, bytes + extra, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (at == MAP_FAILED) return NULL;
    if (extra) {
        size_t before = -(uintptr_t)at & (HUGE_PAGE - 1);
        if (before) munmap(at, before);
        at += before;
        if (extra > before) munmap(at + bytes, extra - before);
        madvise(at, bytes, MADV_HUGEPAGE); /* only faster; may be switched off */
    }
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

void unmap_now(unmapping *u) {
    if (u->n > 1) qsort(u->items, u->n, sizeof *u->items, by_address);
    for (size_t i = 0; i < u->n;) {
        mapping whole = u->items[i++];
        while (i < u->n && u->items[i].at == whole.at + whole.bytes) whole.bytes += u->items[i++].bytes;
        munmap(whole.at, whole.bytes);
    }
    free(u->items);
    *u = (unmapping){0};
}
