#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct arena_block {
    struct arena_block *next;
    size_t capacity;
    alignas(max_align_t) unsigned char bytes[];
} arena_block;

enum { block_bytes = 16 << 10 };

void *arena_new(arena *a, size_t bytes) {
    const size_t unit = alignof(max_align_t);
    if (bytes > SIZE_MAX / 2) return NULL;
    bytes = (bytes + unit - 1) / unit * unit;
    if (!a->blocks || bytes > a->blocks->capacity - a->used) {
        size_t capacity = bytes > block_bytes / 4 ? bytes : block_bytes;
        arena_block *block = calloc(1, sizeof *block + capacity);
        if (!block) return NULL;
        block->capacity = capacity;
        if (a->blocks && capacity != block_bytes) { /* a large one of its own, behind the open one */
            block->next = a->blocks->next;
            a->blocks->next = block;
            return block->bytes;
        }
        block->next = a->blocks;
        a->blocks = block;
        a->used = 0;
    }
    void *result = a->blocks->bytes + a->used;
    a->used += bytes;
    return result;
}

void *arena_array(arena *a, size_t n, size_t size) {
    return size && n > SIZE_MAX / size ? NULL : arena_new(a, n * size);
}

char *arena_copy(arena *a, const void *bytes, size_t length) {
    char *copy = length < SIZE_MAX ? arena_new(a, length + 1) : NULL;
    if (copy && length) memcpy(copy, bytes, length);
    return copy;
}

void arena_free(arena *a) {
    for (arena_block *block = a->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    *a = (arena){0};
}
