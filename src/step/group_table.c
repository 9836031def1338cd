#include "step/group_table.h"

#include <stdlib.h>

#define SLOTS_MIN 1024u
#define POINTER_MASK 0x0000ffffffffffffull

static uint64_t tag_of(uint64_t hash) { return hash << 16 & ~POINTER_MASK; } /* bits 32..47 */

/* ---- the shape ---- */

void group_shape_free(group_shape *s) {
    if (!s) return;
    row_layout_free(s->layout);
    row_layout_free(s->key_layout);
    free(s->aggregates);
    free(s);
}

static tw_status make_layouts(group_shape *s, const type *const *keys, tw_error *err) {
    const type **types = malloc((s->n_keys + s->n_aggregates + 1) * sizeof *types);
    if (!types) return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    uint32_t n = 0, extra = 0, view_at = s->n_keys;
    for (; n < s->n_keys; n++) types[n] = keys[n];
    for (uint32_t i = 0; i < s->n_aggregates; i++) {
        if (s->aggregates[i].has_view) types[n++] = type_of(TYPE_BINARY);
        extra += s->aggregates[i].bytes;
    }
    tw_status status = row_layout_new(types, n, s->n_keys, extra, &s->layout, err);
    if (status == TW_OK) status = row_layout_new(types, s->n_keys, s->n_keys, 0, &s->key_layout, err);
    free(types);
    TRY(status);
    extra = s->layout->extra_offset;
    for (uint32_t i = 0; i < s->n_aggregates; i++) {
        aggregate *a = &s->aggregates[i];
        a->offset = extra;
        extra += a->bytes;
        if (a->has_view) a->view_offset = s->layout->fields[view_at++].offset;
    }
    for (uint32_t i = 0; i < s->n_keys; i++)
        if (s->layout->fields[i].offset != s->key_layout->fields[i].offset || s->layout->key_end != s->key_layout->key_end)
            return error_set(err, TW_ERR_INTERNAL, "keys have no place of their own in the layout");
    return TW_OK;
}

tw_status group_shape_new(const type *const *keys, uint32_t n_keys, aggregate *aggregates, uint32_t n_aggregates,
                          group_shape **out, tw_error *err) {
    group_shape *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    s->n_keys = n_keys;
    s->aggregates = aggregates;
    s->n_aggregates = n_aggregates;
    tw_status status = make_layouts(s, keys, err);
    if (status != TW_OK) {
        s->aggregates = NULL;
        group_shape_free(s);
        return status;
    }
    *out = s;
    return TW_OK;
}

/* ---- the table ---- */

tw_status group_table_init(group_table *t, const group_shape *s, memory *m, bool may_make_room, tw_error *err) {
    *t = (group_table){.shape = s};
    arena_rows_init(&t->rows, m, s->layout);
    t->rows.may_make_room = may_make_room;
    t->scratch = calloc(GROUP_STEP, s->key_layout->stride);
    t->scratch_rows = malloc(GROUP_STEP * sizeof *t->scratch_rows);
    if (!t->scratch || !t->scratch_rows) {
        group_table_destroy(t);
        return error_set(err, TW_ERR_MEMORY, "out of memory for a table of groups");
    }
    for (uint32_t i = 0; i < GROUP_STEP; i++) t->scratch_rows[i] = t->scratch + (size_t)i * s->key_layout->stride;
    return TW_OK;
}

void group_table_reset(group_table *t) {
    arena_rows_clear(&t->rows);
    buffer_unref(t->slots);
    t->slots = NULL;
    t->mask = 0;
}

void group_table_destroy(group_table *t) {
    group_table_reset(t);
    free(t->scratch);
    free(t->scratch_rows);
    *t = (group_table){0};
}

static uint64_t *slots_of(const group_table *t) { return (uint64_t *)(void *)t->slots->data; }

static void slots_put(uint64_t *slots, uint64_t mask, const uint8_t *row) {
    uint64_t hash = row_header(row), at = hash & mask;
    while (slots[at]) at = (at + 1) & mask;
    slots[at] = tag_of(hash) | (uint64_t)(uintptr_t)row;
}

/* At most half full with `more` rows. False: refused. */
static bool slots_reserve(group_table *t, uint32_t more) {
    uint64_t n = t->slots ? t->mask + 1 : 0, wanted = n ? n : SLOTS_MIN;
    while ((t->rows.n + more) * 2 > wanted) wanted *= 2;
    if (wanted == n) return true;
    buffer *fresh = buffer_try(t->rows.memory, wanted * sizeof(uint64_t));
    while (!fresh && t->rows.may_make_room) {
        if (memory_make_room(t->rows.memory, wanted * sizeof(uint64_t), NULL) != TW_OK) return false;
        fresh = buffer_try(t->rows.memory, wanted * sizeof(uint64_t));
    }
    if (!fresh) return false;
    uint64_t *slots = (uint64_t *)(void *)fresh->data;
    memset(slots, 0, wanted * sizeof *slots);
    for (uint32_t c = 0; c < t->rows.n_chunks; c++) {
        uint8_t *rows;
        uint32_t count = arena_rows_chunk(&t->rows, c, &rows);
        for (uint32_t i = 0; i < count; i++) slots_put(slots, wanted - 1, rows + (size_t)i * t->shape->layout->stride);
    }
    buffer_unref(t->slots);
    t->slots = fresh;
    t->mask = wanted - 1;
    return true;
}

/* Equal words are the common case; long views are equal when what they point to is. */
static inline bool keys_equal(const row_layout *l, const uint8_t *a, const uint8_t *b) {
    uint32_t at = l->key_begin, whole = l->key_begin + ((l->key_end - l->key_begin) & ~7u);
    uint64_t different = 0, x, y;
    for (; at < whole; at += 8) {
        memcpy(&x, a + at, 8);
        memcpy(&y, b + at, 8);
        different |= x ^ y;
    }
    if (l->key_tail_mask) {
        memcpy(&x, a + at, 8);
        memcpy(&y, b + at, 8);
        different |= (x ^ y) & l->key_tail_mask;
    }
    if (!different) return true;
    return l->keys_have_views && rows_keys_equal(l, a, b);
}

/* A new group with the keys of `from` (an encoded row) and empty states. Room was reserved. */
static uint8_t *new_group(group_table *t, const uint8_t *from, uint64_t hash) {
    const row_layout *l = t->shape->layout;
    uint8_t *row = arena_rows_new(&t->rows);
    memcpy(row, l->blank, l->stride);
    memcpy(row + l->key_begin, from + l->key_begin, l->key_end - l->key_begin);
    row_set_header(row, hash);
    for (uint32_t i = 0; i < l->n_views && l->view_fields[i] < t->shape->n_keys; i++) {
        view *v = (view *)(void *)(row + l->fields[l->view_fields[i]].offset);
        if (v->size <= VIEW_SMALL_MAX) continue;
        uint8_t *kept = arena_rows_bytes(&t->rows, v->size);
        memcpy(kept, v->data, v->size);
        v->data = kept;
    }
    return row;
}

/* Bytes of heap that the keys of n encoded rows could need. */
static size_t long_key_bytes(const group_table *t, const uint8_t *const *rows, uint32_t n) {
    const row_layout *l = t->shape->layout;
    if (!l->keys_have_views) return 0;
    size_t bytes = 0;
    for (uint32_t k = 0; k < l->n_views && l->view_fields[k] < t->shape->n_keys; k++) {
        uint32_t offset = l->fields[l->view_fields[k]].offset;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t size = ((const view *)(const void *)(rows[i] + offset))->size;
            bytes += size > VIEW_SMALL_MAX ? (size + 7u) & ~7u : 0;
        }
    }
    return bytes;
}

/* The groups of n encoded rows, made where there are none. */
static tw_status find_groups(group_table *t, const uint8_t *const *rows, const uint64_t *hashes, uint32_t n,
                             uint8_t **groups, tw_error *err) {
    if (!slots_reserve(t, n) || !arena_rows_reserve(&t->rows, n, long_key_bytes(t, rows, n)))
        return error_set(err, TW_ERR_MEMORY, "run.memory is too small for a table of groups");
    uint64_t *slots = slots_of(t), mask = t->mask;
    const row_layout *l = t->shape->layout;
    for (uint32_t i = 0; i < n; i++) __builtin_prefetch(&slots[hashes[i] & mask]);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t slot = slots[hashes[i] & mask];
        if (slot) __builtin_prefetch((const void *)(uintptr_t)(slot & POINTER_MASK));
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t hash = hashes[i], tag = tag_of(hash), at = hash & mask;
        for (;; at = (at + 1) & mask) {
            uint64_t slot = slots[at];
            if (!slot) {
                groups[i] = new_group(t, rows[i], hash);
                slots[at] = tag | (uint64_t)(uintptr_t)groups[i];
                break;
            }
            if ((slot & ~POINTER_MASK) != tag) continue;
            uint8_t *row = (uint8_t *)(uintptr_t)(slot & POINTER_MASK);
            if (row_header(row) != hash || !keys_equal(l, row, rows[i])) continue;
            groups[i] = row;
            break;
        }
    }
    return TW_OK;
}

tw_status group_table_add(group_table *t, const column *columns, const uint64_t *hashes, uint32_t first, uint32_t n,
                          uint64_t position, tw_error *err) {
    const group_shape *s = t->shape;
    uint8_t *groups[GROUP_STEP];
    uint32_t selection[GROUP_STEP];
    for (uint32_t i = 0; i < n; i++) selection[i] = first + i;
    if (s->n_keys) rows_encode(s->key_layout, columns, selection, n, t->scratch_rows, NULL);
    TRY(find_groups(t, (const uint8_t *const *)t->scratch_rows, hashes + first, n, groups, err));
    for (uint32_t i = 0; i < s->n_aggregates; i++) {
        const aggregate *a = &s->aggregates[i];
        aggregate_input in = {.groups = groups,
                              .first = first,
                              .n = n,
                              .column = a->input ? &columns[a->column] : NULL,
                              .position = position,
                              .arena = &t->rows};
        TRY(a->add(a, &in, err));
    }
    return TW_OK;
}

tw_status group_table_merge(group_table *t, const uint8_t *const *rows, uint32_t n, tw_error *err) {
    const group_shape *s = t->shape;
    uint8_t *groups[GROUP_STEP];
    uint64_t hashes[GROUP_STEP];
    for (uint32_t i = 0; i < n; i++) hashes[i] = row_header(rows[i]);
    TRY(find_groups(t, rows, hashes, n, groups, err));
    for (uint32_t i = 0; i < s->n_aggregates; i++) {
        const aggregate *a = &s->aggregates[i];
        for (uint32_t k = 0; k < n; k++) TRY(a->merge(a, groups[k], rows[k], &t->rows, err));
    }
    return TW_OK;
}
