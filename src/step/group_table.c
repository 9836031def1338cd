#include "step/group_table.h"

#include <stdlib.h>

#include "step/group_find.h"

enum {
    slots_min = 1024,
    step_key_bytes_max = 256 << 10, /* of long keys in a step, so that room for all of them may be reserved */
};

tw_status group_table_init(group_table *t, const group_shape *s, memory *m, size_t bytes_max, tw_error *err) {
    *t = (group_table){.shape = s, .bytes_max = bytes_max, .groups_max = UINT64_MAX};
    arena_rows_init(&t->rows, m, s->layout);
    size_t stride = s->key_layout->stride;
    t->scratch = calloc(1, GROUP_STEP * stride + sizeof(uint64_t)); /* the last key is read as whole words */
    t->scratch_rows = malloc(GROUP_STEP * sizeof *t->scratch_rows);
    if (!t->scratch || !t->scratch_rows) {
        group_table_destroy(t);
        return error_set(err, TW_ERR_MEMORY, "out of memory for a table of groups");
    }
    for (uint32_t i = 0; i < GROUP_STEP; i++) t->scratch_rows[i] = t->scratch + i * stride;
    return TW_OK;
}

void group_table_reset(group_table *t) {
    arena_rows_clear(&t->rows);
    buffer_unref(t->slots);
    buffer_unref(t->scratch_heap);
    t->slots = t->scratch_heap = NULL;
    t->mask = 0;
}

void group_table_destroy(group_table *t) {
    group_table_reset(t);
    free(t->scratch);
    free(t->scratch_rows);
    *t = (group_table){0};
}

/* ---- slots ---- */

static void slots_put(uint64_t *slots, uint64_t mask, const uint8_t *row) {
    uint64_t hash = row_header(row), at = hash & mask;
    while (slots[at]) at = (at + 1) & mask;
    slots[at] = tag_of(hash) | (uint64_t)(uintptr_t)row;
}

/* At most half full with `more` rows. False: refused, or too large. */
static bool slots_reserve(group_table *t, uint32_t more) {
    uint64_t n = t->slots ? t->mask + 1 : 0, wanted = n ? n : slots_min;
    while ((t->rows.n + more) * 2 > wanted) wanted *= 2;
    if (wanted == n) return true;
    t->rows.refusal = TW_ERR_MEMORY;
    if (t->rows.n && group_table_bytes(t) + wanted * sizeof(uint64_t) > t->bytes_max) return false;
    buffer *fresh = arena_rows_buffer(&t->rows, wanted * sizeof(uint64_t));
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

/* ---- finding ---- */

uint8_t *group_table_new_group(group_table *t, const group_find *f, uint32_t i) {
    const row_layout *l = t->shape->layout;
    uint8_t *row = arena_rows_new(&t->rows);
    memcpy(row, l->blank, l->stride);
    row_set_header(row, f->hashes[i]);
    size_t bytes = f->form == KEY_VIEW ? sizeof(view) : f->form == KEY_WORD ? sizeof(uint64_t) : l->key_end - l->key_begin;
    memcpy(row + l->key_begin, find_key(f, f->form, i), bytes);
    for (uint32_t k = 0; k < l->n_views && l->view_fields[k] < t->shape->n_keys; k++) {
        view *v = (view *)(void *)(row + l->fields[l->view_fields[k]].offset);
        if (v->size <= VIEW_SMALL_MAX) continue;
        uint8_t *kept = arena_rows_bytes(&t->rows, v->size);
        memcpy(kept, v->data, v->size);
        v->data = kept;
    }
    return row;
}

static inline uint32_t long_bytes(const view *v) { return v->size > VIEW_SMALL_MAX ? (v->size + 7u) & ~7u : 0; }

/* How many of the rows make one step, and the bytes of heap their keys could need. */
static uint32_t step_rows(const group_table *t, const group_find *f, size_t *bytes) {
    const row_layout *l = t->shape->layout;
    *bytes = 0;
    if (!l->keys_have_views) return f->n;
    for (uint32_t i = 0; i < f->n; i++) {
        size_t more = 0;
        if (f->form == KEY_VIEW) more = long_bytes((const view *)(const void *)find_key(f, KEY_VIEW, i));
        else
            for (uint32_t k = 0; k < l->n_views && l->view_fields[k] < t->shape->n_keys; k++)
                more += long_bytes((const view *)(const void *)(f->rows[i] + l->fields[l->view_fields[k]].offset));
        if (i && *bytes + more > step_key_bytes_max) return i;
        *bytes += more;
    }
    return f->n;
}

static void find_each(group_table *t, const group_find *f, uint8_t **groups) {
    const row_layout *l = t->shape->layout;
    uint32_t whole = (l->key_end - l->key_begin) / 8;
    if (f->form == KEY_VIEW) find_loop(t, f, KEY_VIEW, 2, groups);
    else if (f->form == KEY_WORD) find_loop(t, f, KEY_WORD, 1, groups);
    else if (whole == 0) find_loop(t, f, KEY_ENCODED, 0, groups);
    else if (whole == 1) find_loop(t, f, KEY_ENCODED, 1, groups);
    else if (whole == 2) find_loop(t, f, KEY_ENCODED, 2, groups);
    else if (whole == 3) find_loop(t, f, KEY_ENCODED, 3, groups);
    else if (whole == 4) find_loop(t, f, KEY_ENCODED, 4, groups);
    else find_loop(t, f, KEY_ENCODED, whole, groups);
}

/* The groups of the first f->n rows, made where there are none; lowers f->n to a step. False: there is no room. */
static bool find_groups(group_table *t, group_find *f, uint8_t **groups) {
    if (t->rows.n && (group_table_bytes(t) >= t->bytes_max || t->rows.n >= t->groups_max)) {
        t->rows.refusal = TW_ERR_MEMORY;
        return false;
    }
    size_t key_bytes;
    uint32_t n = f->n = step_rows(t, f, &key_bytes);
    if (!slots_reserve(t, n) || !arena_rows_reserve(&t->rows, n, key_bytes)) return false;
    if (t->shape->n_keys == 0) f->n = 1; /* one group has them all */
    find_each(t, f, groups);
    for (; f->n < n; f->n++) groups[f->n] = groups[0];
    return true;
}

/* ---- adding ---- */

static bool is_plain(const group_shape *s, const column *c, key_form *form) {
    if (s->n_keys != 1 || c->valid) return false;
    switch (c->type->kind) {
    case TYPE_STRING:
    case TYPE_BINARY: *form = KEY_VIEW; return true;
    case TYPE_INT64:
    case TYPE_TIMESTAMP: *form = KEY_WORD; return true;
    default: return false;
    }
}

static bool encode_keys(group_table *t, const column *columns, uint32_t first, uint32_t n) {
    const group_shape *s = t->shape;
    uint32_t selection[GROUP_STEP];
    for (uint32_t i = 0; i < n; i++) selection[i] = first + i;
    uint8_t *heap = NULL;
    if (s->keys_need_heap) {
        size_t bytes = rows_heap_bytes(s->key_layout, columns, selection, n, NULL);
        if (!t->scratch_heap || t->scratch_heap->size < bytes) {
            buffer_unref(t->scratch_heap);
            t->scratch_heap = arena_rows_buffer(&t->rows, bytes + bytes / 2);
        }
        if (!t->scratch_heap) return false;
        heap = t->scratch_heap->data;
    }
    rows_encode(s->key_layout, columns, selection, n, t->scratch_rows, heap ? &heap : NULL);
    return true;
}

/* TW_END instead of a mere refusal; a spill that failed is an error. */
static tw_status full(const group_table *t) {
    return t->rows.refusal == TW_ERR_MEMORY ? TW_END : t->rows.refusal;
}

static tw_status add_to_aggregates(group_table *t, const group_input *in, uint8_t *const *groups, uint32_t n,
                                   group_progress *p, tw_error *err) {
    for (; p->aggregate < t->shape->n_aggregates; p->aggregate++, p->row = 0) {
        const aggregate *a = &t->shape->aggregates[p->aggregate];
        if ((a->kind == AGGREGATE_COUNT_DISTINCT) != (in->tags != NULL)) continue;
        aggregate_input rows = {.groups = groups + p->row,
                                .first = p->rows + p->row,
                                .n = n - p->row,
                                .column = in->tags ? in->tags : a->input ? &in->columns[a->column] : NULL,
                                .position = in->position,
                                .arena = &t->rows};
        tw_status status = a->add(a, &rows, err);
        p->row += rows.done;
        if (status != TW_OK) return status == TW_ERR_MEMORY ? TW_END : status;
    }
    return TW_OK;
}

tw_status group_table_add(group_table *t, const group_input *in, group_progress *p, tw_error *err) {
    t->rows.err = err;
    while (p->rows < in->n) {
        uint8_t *groups[GROUP_STEP];
        uint32_t left = in->n - p->rows;
        group_find f = {.n = left < GROUP_STEP ? left : GROUP_STEP, .hashes = in->hashes + p->rows};
        if (is_plain(t->shape, in->columns, &f.form)) {
            size_t bytes = f.form == KEY_VIEW ? sizeof(view) : sizeof(uint64_t);
            f.keys = (const uint8_t *)in->columns[0].values + p->rows * bytes;
        } else {
            if (t->shape->n_keys && !encode_keys(t, in->columns, p->rows, f.n)) return full(t);
            f.rows = (const uint8_t *const *)t->scratch_rows;
        }
        if (!find_groups(t, &f, groups)) return full(t);
        TRY(add_to_aggregates(t, in, groups, f.n, p, err));
        p->rows += f.n;
        p->aggregate = 0;
    }
    return TW_OK;
}

/* ---- merging ---- */

static tw_status merge_states(group_table *t, const uint8_t *const *rows, uint8_t *const *groups, uint32_t n,
                              group_progress *p, tw_error *err) {
    for (; p->aggregate < t->shape->n_aggregates; p->aggregate++, p->row = 0) {
        const aggregate *a = &t->shape->aggregates[p->aggregate];
        for (; p->row < n; p->row++) {
            tw_status status = a->merge(a, groups[p->row], rows[p->row], &t->rows, err);
            if (status != TW_OK) return status == TW_ERR_MEMORY ? TW_END : status;
        }
    }
    return TW_OK;
}

tw_status group_table_merge(group_table *t, const uint8_t *rows, uint32_t n, group_progress *p, tw_error *err) {
    t->rows.err = err;
    size_t stride = t->shape->layout->stride;
    while (p->rows < n) {
        uint8_t *groups[GROUP_STEP];
        const uint8_t *some[GROUP_STEP];
        uint64_t hashes[GROUP_STEP + GROUP_HASHES_AHEAD];
        uint32_t left = n - p->rows;
        group_find f = {.form = KEY_ENCODED, .rows = some, .hashes = hashes, .n = left < GROUP_STEP ? left : GROUP_STEP};
        for (uint32_t i = 0; i < f.n; i++) {
            some[i] = rows + (p->rows + i) * stride;
            hashes[i] = row_header(some[i]);
        }
        for (uint32_t i = f.n; i < f.n + GROUP_HASHES_AHEAD; i++)
            hashes[i] = i < left ? row_header(rows + (p->rows + i) * stride) : 0;
        if (!find_groups(t, &f, groups)) return full(t);
        TRY(merge_states(t, some, groups, f.n, p, err));
        p->rows += f.n;
        p->aggregate = 0;
    }
    return TW_OK;
}
