#include "step/group_table.h"

#include <stdlib.h>

#include "step/group_find.h"

enum {
    buckets_min = 64,
    bucket_load = 5,     /* of eight, on average, before there are twice as many; */
    bucket_load_max = 7, /* when there is no room for that */
};

tw_status group_table_init(group_table *t, const group_shape *s, memory *m, size_t bytes_max, tw_error *err) {
    *t = (group_table){.shape = s, .bytes_max = bytes_max, .groups_max = UINT64_MAX};
    arena_rows_init(&t->rows, m, s->layout, bytes_max);
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
    buffer_unref(t->buckets);
    buffer_unref(t->scratch_heap);
    t->buckets = t->scratch_heap = NULL;
    t->mask = 0;
}

void group_table_rewind(group_table *t) {
    arena_rows_rewind(&t->rows);
    if (t->buckets) memset(t->buckets->data, 0, (t->mask + 1) * sizeof(bucket));
}

void group_table_destroy(group_table *t) {
    group_table_reset(t);
    free(t->scratch);
    free(t->scratch_rows);
    *t = (group_table){0};
}

/* ---- buckets ---- */

static bucket *free_bucket(bucket *buckets, uint64_t mask, uint64_t hash) {
    uint64_t at = hash & mask;
    while (bucket_is_full(&buckets[at])) at = (at + 1) & mask;
    return &buckets[at];
}

static void put_rows(const group_table *t, bucket *buckets, uint64_t mask, const uint8_t *rows, uint32_t n) {
    enum { ahead = 16 };
    size_t stride = t->shape->layout->stride;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *row = rows + i * stride;
        if (i + ahead < n) __builtin_prefetch(&buckets[row_header(row + ahead * stride) & mask], 1);
        uint64_t hash = row_header(row);
        bucket_put(free_bucket(buckets, mask, hash), tag_of(hash), row);
    }
}

/* Room for *more groups, or if that were too large for fewer. False: for none. */
static bool buckets_reserve(group_table *t, uint32_t *more) {
    uint64_t n = t->buckets ? t->mask + 1 : 0, wanted = n ? n : buckets_min;
    while (t->rows.n + *more > wanted * bucket_load) wanted *= 2;
    if (wanted == n) return true;
    if (t->rows.n && group_table_bytes(t) + wanted * sizeof(bucket) > t->bytes_max) {
        uint64_t most = n * bucket_load_max;
        if (t->rows.n + *more > most) *more = t->rows.n < most ? (uint32_t)(most - t->rows.n) : 0;
        return *more > 0;
    }
    buffer *fresh = arena_rows_buffer(&t->rows, wanted * sizeof(bucket));
    if (!fresh) return false;
    bucket *buckets = (bucket *)(void *)fresh->data;
    memset(buckets, 0, wanted * sizeof *buckets);
    for (uint32_t c = 0; c < t->rows.n_chunks; c++) {
        uint8_t *rows;
        uint32_t count = arena_rows_chunk(&t->rows, c, &rows);
        put_rows(t, buckets, wanted - 1, rows, count);
    }
    buffer_unref(t->buckets);
    t->buckets = fresh;
    t->mask = wanted - 1;
    return true;
}

void group_table_expect(group_table *t, uint64_t groups) {
    uint64_t bytes = groups * t->shape->layout->stride + groups / bucket_load * sizeof(bucket);
    uint32_t n = (uint32_t)groups;
    if (t->rows.n == 0 && bytes <= t->bytes_max / 2 && groups < UINT32_MAX) buckets_reserve(t, &n);
}

/* ---- finding ---- */

bool group_table_keep_keys(group_table *t, uint8_t *row) {
    const row_layout *l = t->shape->layout;
    for (uint32_t k = 0; k < l->n_views && l->view_fields[k] < t->shape->n_keys; k++) {
        view *v = (view *)(void *)(row + l->fields[l->view_fields[k]].offset);
        if (v->size <= VIEW_SMALL_MAX) continue;
        uint8_t *kept = arena_rows_bytes(&t->rows, v->size);
        if (!kept) return false;
        memcpy(kept, v->data, v->size);
        v->data = kept;
    }
    return true;
}

static bool same_key(const group_table *t, const group_find *f, const uint8_t *row, const uint8_t *key) {
    const row_layout *l = t->shape->layout;
    if (f->form == KEY_VIEW) return find_equal(l, KEY_VIEW, 2, row, key);
    if (f->form == KEY_WORD) return find_equal(l, KEY_WORD, 1, row, key);
    return find_equal(l, KEY_ENCODED, (l->key_end - l->key_begin) / 8, row, key);
}

uint8_t *group_table_find_or_make(group_table *t, const group_find *f, uint32_t i) {
    bucket *buckets = buckets_of(t);
    uint64_t hash = f->hashes[i];
    uint16_t tag = tag_of(hash);
    const uint8_t *key = find_key(f, f->form, i);
    for (uint64_t at = hash & t->mask;; at = (at + 1) & t->mask) {
        bucket *b = &buckets[at];
        for (uint32_t match = bucket_match(b, tag); match; match &= match - 1, match &= match - 1) {
            uint8_t *row = bucket_row(b, match);
            if (same_key(t, f, row, key)) return row;
        }
        if (bucket_is_full(b)) continue;
        uint8_t *row = new_group(t, f, f->form, key, hash);
        if (row) bucket_put(b, tag, row);
        return row;
    }
}

static uint32_t find_each(group_table *t, const group_find *f) {
    const row_layout *l = t->shape->layout;
    uint32_t whole = (l->key_end - l->key_begin) / 8;
    if (f->form == KEY_VIEW) return find_blocks(t, f, KEY_VIEW, 2);
    if (f->form == KEY_WORD) return find_blocks(t, f, KEY_WORD, 1);
    switch (whole) {
    case 0: return find_blocks(t, f, KEY_ENCODED, 0);
    case 1: return find_blocks(t, f, KEY_ENCODED, 1);
    case 2: return find_blocks(t, f, KEY_ENCODED, 2);
    case 3: return find_blocks(t, f, KEY_ENCODED, 3);
    default: return find_blocks(t, f, KEY_ENCODED, whole);
    }
}

static uint32_t make_each(group_table *t, const group_find *f) {
    switch (f->form) {
    case KEY_WORD: return make_groups(t, f, KEY_WORD);
    case KEY_VIEW: return make_groups(t, f, KEY_VIEW);
    default: return make_groups(t, f, KEY_ENCODED);
    }
}

/* One group has them all. */
static uint32_t find_only(group_table *t, const group_find *f) {
    uint8_t *row = group_table_find_or_make(t, f, 0);
    for (uint32_t i = 0; i < f->n; i++) f->groups[i] = row;
    if (f->count_offset) *(uint64_t *)(void *)(row + f->count_offset) += f->n;
    return f->n;
}

/* The groups of the first rows, made where there are none; lowers f->n to how many have one. False: none has. */
static bool find_groups(group_table *t, group_find *f) {
    t->rows.refusal = TW_ERR_MEMORY;
    if (t->rows.n > t->keeps_one && group_table_bytes(t) >= t->bytes_max) return false;
    if (t->rows.n >= t->groups_max) return false;
    if ((!t->apart && !buckets_reserve(t, &f->n)) || !arena_rows_reserve(&t->rows, f->n)) return false;
    f->n = t->apart ? make_each(t, f) : t->shape->n_keys ? find_each(t, f) : find_only(t, f);
    return f->n > 0;
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
static tw_status full(const group_table *t) { return t->rows.refusal == TW_ERR_MEMORY ? TW_END : t->rows.refusal; }

/* The groups of the step that comes next, or of the one that was begun before the table was emptied. */
static tw_status find_step(group_table *t, const group_input *in, uint8_t **groups, group_progress *p, tw_error *err) {
    uint32_t left = in->n - p->rows;
    group_find f = {.n = p->step ? p->step : left < GROUP_STEP ? left : GROUP_STEP,
                    .hashes = in->hashes + p->rows,
                    .count_offset = p->step || in->tags ? 0 : t->shape->count_offset,
                    .groups = groups};
    if (is_plain(t->shape, in->columns, &f.form)) {
        size_t bytes = f.form == KEY_VIEW ? sizeof(view) : sizeof(uint64_t);
        f.keys = (const uint8_t *)in->columns[0].values + p->rows * bytes;
    } else {
        if (t->shape->n_keys && !encode_keys(t, in->columns, p->rows, f.n)) return full(t);
        f.rows = (const uint8_t *const *)t->scratch_rows;
    }
    if (!find_groups(t, &f)) return full(t);
    if (p->step && f.n < p->step) return error_set(err, TW_ERR_MEMORY, "run.memory is too small: long keys do not fit");
    p->step = f.n;
    return TW_OK;
}

static tw_status add_to_aggregates(group_table *t, const group_input *in, uint8_t *const *groups, group_progress *p,
                                   tw_error *err) {
    for (; p->aggregate < t->shape->n_aggregates; p->aggregate++, p->row = 0) {
        const aggregate *a = &t->shape->aggregates[p->aggregate];
        if ((a->kind == AGGREGATE_COUNT_DISTINCT) != (in->tags != NULL)) continue;
        if (a->kind == AGGREGATE_COUNT_ROWS && a->offset == t->shape->count_offset) continue;
        aggregate_input rows = {.groups = groups + p->row,
                                .first = p->rows + p->row,
                                .n = p->step - p->row,
                                .column = in->tags ? in->tags : a->input ? &in->columns[a->column] : NULL,
                                .position = in->position,
                                .arena = &t->rows};
        tw_status status = a->add(a, &rows, err);
        p->row += rows.done;
        if (status != TW_OK) return status == TW_ERR_MEMORY ? TW_END : status;
    }
    return TW_OK;
}

static void next_step(group_progress *p) { *p = (group_progress){.rows = p->rows + p->step}; }

tw_status group_table_add(group_table *t, const group_input *in, group_progress *p, tw_error *err) {
    uint8_t *groups[GROUP_STEP];
    t->rows.err = err;
    while (p->rows < in->n) {
        TRY(find_step(t, in, groups, p, err));
        TRY(add_to_aggregates(t, in, groups, p, err));
        next_step(p);
    }
    return TW_OK;
}

/* ---- merging ---- */

static tw_status merge_states(group_table *t, const uint8_t *const *rows, uint8_t *const *groups, group_progress *p, tw_error *err) {
    for (; p->aggregate < t->shape->n_aggregates; p->aggregate++, p->row = 0) {
        const aggregate *a = &t->shape->aggregates[p->aggregate];
        for (; p->row < p->step; p->row++) {
            if (!groups[p->row]) continue;
            tw_status status = a->merge(a, groups[p->row], rows[p->row], &t->rows, err);
            if (status != TW_OK) return status == TW_ERR_MEMORY ? TW_END : status;
        }
    }
    return TW_OK;
}

tw_status group_table_merge(group_table *t, const uint8_t *rows, uint32_t n, group_progress *p, tw_error *err) {
    uint8_t *groups[GROUP_STEP];
    const uint8_t *some[GROUP_STEP];
    uint64_t hashes[GROUP_STEP];
    t->rows.err = err;
    const row_layout *l = t->shape->layout;
    size_t stride = l->stride;
    bool whole = t->shape->n_keys && !l->has_heap; /* then merging can't be refused half-way */
    while (p->rows < n) {
        uint32_t left = n - p->rows;
        group_find f = {.form = KEY_ENCODED, .rows = some, .whole = whole, .hashes = hashes, .groups = groups,
                        .n = p->step ? p->step : left < GROUP_STEP ? left : GROUP_STEP};
        for (uint32_t i = 0; i < f.n; i++) {
            some[i] = rows + (p->rows + i) * stride;
            hashes[i] = row_header(some[i]);
        }
        if (!find_groups(t, &f)) return full(t);
        if (p->step && f.n < p->step) return error_set(err, TW_ERR_MEMORY, "run.memory is too small: long keys do not fit");
        p->step = f.n;
        TRY(merge_states(t, some, groups, p, err));
        next_step(p);
    }
    return TW_OK;
}
