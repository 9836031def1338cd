/* References to buffers, and buffers over bytes that are elsewhere. */
#include <stdlib.h>

#include "base/memory_internal.h"

buffer *buffer_ref(buffer *b) {
    if (b) atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed);
    return b;
}

static bool drop_reference(buffer *b) {
    return b && atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) == 1;
}

static void free_leaf(buffer *b) {
    if (b->owner) {
        memory_take_back(b);
        return;
    }
    if (b->release) b->release(b->context);
    free(b);
}

/* Joined buffers may be nested deeply: those to free are chained through `context`. */
void buffer_unref(buffer *b) {
    if (!drop_reference(b)) return;
    if (!b->parts) {
        free_leaf(b);
        return;
    }
    b->context = NULL;
    while (b) {
        buffer *dead = b;
        b = dead->context;
        for (size_t i = 0; i < dead->n_parts; i++) {
            buffer *part = dead->parts[i];
            if (!drop_reference(part)) continue;
            if (part->parts) {
                part->context = b;
                b = part;
            } else {
                free_leaf(part);
            }
        }
        free(dead->parts);
        free(dead);
    }
}

tw_status buffer_wrap(void *data, size_t size, void (*release)(void *), void *context, buffer **out,
                      tw_error *err) {
    buffer *b = calloc(1, sizeof *b);
    *out = b;
    if (!b) return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    b->data = data;
    b->size = size;
    b->release = release;
    b->context = context;
    atomic_init(&b->references, 1);
    return TW_OK;
}

static int compare_pointers(const void *a, const void *b) {
    uintptr_t x = (uintptr_t) * (buffer *const *)a, y = (uintptr_t) * (buffer *const *)b;
    return (x > y) - (x < y);
}

/* Joined parts of a few are taken apart, so that repeats show and chains of joins stay flat; larger
 * ones are kept whole, because a batch must not cost a thousand references. */
enum { JOIN_FLAT_MAX = 8 };

static size_t join_list(buffer *const *parts, size_t n, buffer **list) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        buffer *b = parts[i];
        if (!b || (i && b == parts[i - 1])) continue;
        bool flat = b->parts && b->n_parts <= JOIN_FLAT_MAX;
        for (size_t j = 0; j < (flat ? b->n_parts : 1); j++) list[count++] = flat ? b->parts[j] : b;
    }
    qsort(list, count, sizeof *list, compare_pointers);
    size_t distinct = 0;
    for (size_t i = 0; i < count; i++)
        if (!distinct || list[i] != list[distinct - 1]) list[distinct++] = list[i];
    return distinct;
}

tw_status buffer_join(buffer *const *parts, size_t n, buffer **out, tw_error *err) {
    buffer *first = NULL;
    size_t others = 0;
    for (size_t i = 0; i < n; i++) {
        if (!first) first = parts[i];
        else others += parts[i] && parts[i] != first;
    }
    *out = NULL;
    if (!others) {
        *out = buffer_ref(first);
        return TW_OK;
    }
    buffer **list = n <= SIZE_MAX / sizeof *list / JOIN_FLAT_MAX
                        ? malloc(n * JOIN_FLAT_MAX * sizeof *list) : NULL;
    buffer *b = list ? calloc(1, sizeof *b) : NULL;
    if (!b) {
        free(list);
        return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    }
    b->n_parts = join_list(parts, n, list);
    if (b->n_parts == 1) {
        *out = buffer_ref(list[0]);
        free(list);
        free(b);
        return TW_OK;
    }
    for (size_t i = 0; i < b->n_parts; i++) b->size += buffer_ref(list[i])->size;
    buffer **less = realloc(list, b->n_parts * sizeof *list);
    b->parts = less ? less : list;
    atomic_init(&b->references, 1);
    *out = b;
    return TW_OK;
}
