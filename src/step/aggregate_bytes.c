/* aggregate_bytes.c: aggregates whose state is a run of bytes behind a view of the group's row. */
#include <math.h>
#include <stdlib.h>

#include "data/hash.h"
#include "data/nested.h"
#include "step/aggregate.h"

#define STATE(type_, a, row) ((type_ *)(void *)((row) + (a)->offset))
#define STATE_CONST(type_, a, row) ((const type_ *)(const void *)((row) + (a)->offset))

static view *state_view(const aggregate *a, uint8_t *row) { return (view *)(void *)(row + a->view_offset); }
static const view *state_view_const(const aggregate *a, const uint8_t *row) {
    return (const view *)(const void *)(row + a->view_offset);
}

static tw_status refused(const arena_rows *arena) { return arena->refusal; }

static tw_status too_large(const aggregate *a, tw_error *err) {
    return error_set(err, TW_ERR_DATA, "'%s' of one group takes more than 4 GiB", a->name);
}

/* Points the view at room for `size` bytes, which the caller fills before it calls view_settle. NULL: refused,
 * and the view is as it was. What is replaced by something no longer leaves its place to it. */
static uint8_t *view_room(view *to, uint32_t size, arena_rows *arena) {
    if (size <= VIEW_SMALL_MAX) {
        *to = (view){.size = size};
        return to->small;
    }
    uint8_t *room = to->size >= size ? (uint8_t *)(uintptr_t)to->data : arena_rows_bytes(arena, size);
    if (room) *to = (view){.size = size, .data = room};
    return room;
}
static void view_settle(view *v) {
    if (v->size > VIEW_SMALL_MAX) memcpy(v->prefix, v->data, 4);
}

/* Copies bytes, which are not those of `to` itself, into the table and points the view at them. */
static tw_status keep_bytes(view *to, const view *from, arena_rows *arena) {
    uint8_t *room = view_room(to, from->size, arena);
    if (!room) return refused(arena);
    if (from->size) memcpy(room, view_data(from), from->size);
    view_settle(to);
    return TW_OK;
}

/* Bytes that value_write writes: strings as they are, lists and sparse ones encoded. */
static size_t value_bytes(const column *c, uint32_t row) {
    if (type_is_view(c->type)) return ((const view *)c->values)[row].size;
    return type_is_nested(c->type) ? nested_bytes(c, row) : type_bytes(c->type);
}
static void value_write(const column *c, uint32_t row, uint8_t *to) {
    if (type_is_view(c->type)) {
        const view *v = &((const view *)c->values)[row];
        if (v->size) memcpy(to, view_data(v), v->size);
    } else if (type_is_nested(c->type)) {
        nested_encode(c, row, false, to);
    } else {
        size_t size = type_bytes(c->type);
        memcpy(to, (const uint8_t *)c->values + row * size, size);
    }
}

static tw_status fixed_column(memory *m, const type *t, const view *values, const bool *valid, uint32_t n, column *out, tw_error *err) {
    TRY(column_new(m, t, n, out, err));
    size_t size = type_bytes(t);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *to = (uint8_t *)out->values + i * size;
        if (type_is_view(t)) memcpy(to, &values[i], sizeof values[i]);
        else if (valid[i]) memcpy(to, view_data(&values[i]), size);
        else memset(to, 0, size);
    }
    return TW_OK;
}

/* The other way: n values (of size 0 where not valid) into a column. `heap` keeps their bytes. */
static tw_status values_column(memory *m, const type *t, const view *values, const bool *valid, uint32_t n, buffer *heap,
                               column *out, tw_error *err) {
    if (type_is_nested(t)) TRY(nested_decode(m, t, values, n, heap, out, err));
    else TRY(fixed_column(m, t, values, valid, n, out, err));
    if (type_is_view(t)) out->heap = buffer_ref(heap);
    for (uint32_t i = 0; i < n; i++) {
        if (valid[i]) continue;
        tw_status status = column_need_valid(m, out, err);
        if (status != TW_OK) {
            column_clear(out);
            return status;
        }
        column_set_null(out, i);
    }
    return TW_OK;
}

/* One value for each group, by `get`. */
static tw_status finish_values(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                               bool (*get)(const aggregate *, const uint8_t *, view *), column *out, tw_error *err) {
    view *values = malloc((n + 1) * sizeof *values);
    bool *valid = malloc(n + 1);
    tw_status status = values && valid ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory for a result");
    for (uint32_t i = 0; i < n && status == TW_OK; i++) {
        values[i] = (view){0};
        valid[i] = get(a, groups[i], &values[i]);
        if (!valid[i]) values[i] = (view){0};
    }
    if (status == TW_OK) status = values_column(m, a->output, values, valid, n, heap, out, err);
    free(values);
    free(valid);
    return status;
}

/* ---- min and max of strings and binaries; fixed state: whether there is one ---- */

static tw_status extreme_take(const aggregate *a, uint8_t *group, const view *v, arena_rows *arena) {
    uint64_t *has = STATE(uint64_t, a, group);
    view *kept = state_view(a, group);
    if (*has) {
        int order = view_compare(v, kept);
        if (a->kind == AGGREGATE_MIN ? order >= 0 : order <= 0) return TW_OK;
    }
    TRY(keep_bytes(kept, v, arena));
    *has = 1;
    return TW_OK;
}
static tw_status extreme_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    const view *values = in->column->values;
    for (in->done = 0; in->done < in->n; in->done++) {
        uint32_t row = in->first + in->done;
        if (column_is_valid(in->column, row)) TRY(extreme_take(a, in->groups[in->done], &values[row], in->arena));
    }
    return TW_OK;
}
static tw_status extreme_merge(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err) {
    return *STATE_CONST(uint64_t, a, from) ? extreme_take(a, to, state_view_const(a, from), arena) : TW_OK;
}
static bool extreme_get(const aggregate *a, const uint8_t *group, view *out) {
    *out = *state_view_const(a, group);
    return *STATE_CONST(uint64_t, a, group) != 0;
}
static tw_status extreme_finish(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                                column *out, tw_error *err) {
    return finish_values(a, m, groups, n, heap, extreme_get, out, err);
}
const struct aggregate_functions aggregate_extreme_bytes = {extreme_add, extreme_merge, extreme_finish};

/* ---- first and last of anything; fixed state ---- */

typedef struct place_state {
    uint64_t position;
    uint64_t has; /* 1: a value, 2: a null that counts */
} place_state;

static bool place_wins(const aggregate *a, const place_state *s, uint64_t position) {
    if (!s->has) return true;
    return a->kind == AGGREGATE_LAST ? position >= s->position : position < s->position;
}
static tw_status place_take(const aggregate *a, uint8_t *group, const column *c, uint32_t row, bool valid,
                            uint64_t position, arena_rows *arena, tw_error *err) {
    view *kept = state_view(a, group);
    size_t size = valid ? value_bytes(c, row) : 0;
    if (size > UINT32_MAX) return too_large(a, err);
    uint8_t *room = view_room(kept, (uint32_t)size, arena);
    if (!room) return refused(arena);
    if (valid) value_write(c, row, room);
    view_settle(kept);
    *STATE(place_state, a, group) = (place_state){position, valid ? 1 : 2};
    return TW_OK;
}
static tw_status place_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    for (in->done = 0; in->done < in->n; in->done++) {
        uint32_t row = in->first + in->done;
        uint8_t *group = in->groups[in->done];
        uint64_t position = in->position + row;
        bool valid = column_is_valid(in->column, row);
        if ((!valid && a->kind != AGGREGATE_FIRST_ROW) || !place_wins(a, STATE(place_state, a, group), position)) continue;
        TRY(place_take(a, group, in->column, row, valid, position, in->arena, err));
    }
    return TW_OK;
}
static tw_status place_merge(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err) {
    const place_state *f = STATE_CONST(place_state, a, from);
    place_state *t = STATE(place_state, a, to);
    if (!f->has || !place_wins(a, t, f->position)) return TW_OK;
    TRY(keep_bytes(state_view(a, to), state_view_const(a, from), arena));
    *t = *f;
    return TW_OK;
}
static bool place_get(const aggregate *a, const uint8_t *group, view *out) {
    *out = *state_view_const(a, group);
    return STATE_CONST(place_state, a, group)->has == 1;
}
static tw_status place_finish(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                              column *out, tw_error *err) {
    return finish_values(a, m, groups, n, heap, place_get, out, err);
}
const struct aggregate_functions aggregate_place_bytes = {place_add, place_merge, place_finish};

/* ---- growing arrays: a view of the bytes in use, never fewer than 16 of them; fixed state: the bytes there
 * is room for in this table (a row that was copied elsewhere brings only those in use) ---- */

/* Room for `more` bytes at the end, counted in already; NULL: *status, and nothing has changed. */
static uint8_t *array_grow(const aggregate *a, uint8_t *group, size_t more, arena_rows *arena, tw_status *status, tw_error *err) {
    view *v = state_view(a, group);
    uint64_t *capacity = STATE(uint64_t, a, group), size = v->size + (uint64_t)more;
    if (size > UINT32_MAX) {
        *status = too_large(a, err);
        return NULL;
    }
    if (*capacity < size) {
        uint64_t room = *capacity * 2 > size ? *capacity * 2 : size < 64 ? 64 : size;
        uint8_t *bigger = arena_rows_bytes(arena, room);
        if (!bigger) {
            *status = refused(arena);
            return NULL;
        }
        if (v->size) memcpy(bigger, v->data, v->size);
        v->data = bigger;
        *capacity = room;
    }
    uint8_t *end = (uint8_t *)(uintptr_t)v->data + v->size;
    v->size = (uint32_t)size;
    return end;
}

static tw_status array_append(const aggregate *a, uint8_t *group, const void *bytes, uint32_t n, arena_rows *arena, tw_error *err) {
    tw_status status = TW_OK;
    uint8_t *end = array_grow(a, group, n, arena, &status, err);
    if (!end) return status;
    memcpy(end, bytes, n);
    view_settle(state_view(a, group));
    return TW_OK;
}

/* ---- quantile: all values up to QUANTILE_KEPT, then a uniform sample of that many: those with the
 * smallest hashes of their positions, so that it does not depend on the order of merging. By the
 * inequality of Dvoretzky, Kiefer and Wolfowitz (1956; Massart 1990) 65,536 values are within 1 % in
 * rank but for a chance of 4 in a million. ---- */

#define QUANTILE_KEPT 65536u

typedef struct ranked_value {
    uint64_t hash;
    double value;
} ranked_value;

/* C. A. R. Hoare's "Algorithm 65: find" (1961): the k smallest hashes to the front. */
#define DEFINE_SELECT(name, T, LESS)                                                               \
    static void name(T *v, size_t n, size_t k) {                                                   \
        size_t low = 0, high = n;                                                                  \
        while (high - low > 1) {                                                                   \
            T x = v[low + (high - low) / 2], y = v[low], z = v[high - 1];                          \
            T p = LESS(x, y) ? (LESS(y, z) ? y : LESS(x, z) ? z : x) : (LESS(x, z) ? x : LESS(y, z) ? z : y); \
            size_t i = low, lt = low, gt = high;                                                   \
            while (i < gt) {                                                                       \
                T t = v[i];                                                                        \
                if (LESS(t, p)) v[i++] = v[lt], v[lt++] = t;                                       \
                else if (LESS(p, t)) v[i] = v[--gt], v[gt] = t;                                    \
                else i++;                                                                          \
            }                                                                                      \
            if (k < lt) high = lt;                                                                 \
            else if (k >= gt) low = gt;                                                            \
            else return;                                                                           \
        }                                                                                          \
    }
#define HASH_LESS(x, y) ((x).hash < (y).hash)
#define NUMBER_LESS(x, y) ((x) < (y) || (isnan(y) && !isnan(x)))
DEFINE_SELECT(select_hash, ranked_value, HASH_LESS)
DEFINE_SELECT(select_number, double, NUMBER_LESS)

static void quantile_trim(const aggregate *a, uint8_t *group, uint32_t when) {
    view *v = state_view(a, group);
    uint32_t n = v->size / sizeof(ranked_value);
    if (n <= when) return;
    select_hash((ranked_value *)(void *)(uintptr_t)v->data, n, QUANTILE_KEPT);
    v->size = QUANTILE_KEPT * sizeof(ranked_value);
    view_settle(v);
}

static double number_of(const column *c, uint32_t row) {
    switch (c->type->kind) {
    case TYPE_INT32: return ((const int32_t *)c->values)[row];
    case TYPE_INT64: return (double)((const int64_t *)c->values)[row];
    case TYPE_FLOAT32: return (double)((const float *)c->values)[row];
    default: return ((const double *)c->values)[row];
    }
}
static tw_status quantile_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    for (in->done = 0; in->done < in->n; in->done++) {
        uint32_t row = in->first + in->done;
        if (!column_is_valid(in->column, row)) continue;
        ranked_value r = {hash_int((int64_t)(in->position + row)), number_of(in->column, row)};
        TRY(array_append(a, in->groups[in->done], &r, sizeof r, in->arena, err));
        quantile_trim(a, in->groups[in->done], 2 * QUANTILE_KEPT);
    }
    return TW_OK;
}
static tw_status quantile_merge(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err) {
    const view *v = state_view_const(a, from);
    if (v->size == 0) return TW_OK;
    TRY(array_append(a, to, view_data(v), v->size, arena, err));
    quantile_trim(a, to, 2 * QUANTILE_KEPT);
    return TW_OK;
}
/* Between the two values around the rank, as numpy's default and SQL's percentile_cont do. */
static double quantile_of(double *values, size_t n, double fraction) {
    double rank = fraction * (double)(n - 1);
    size_t k = (size_t)rank;
    select_number(values, n, k);
    double low = values[k], rest = rank - (double)k;
    if (rest <= 0 || k + 1 >= n) return low;
    double high = values[k + 1];
    for (size_t i = k + 2; i < n; i++)
        if (NUMBER_LESS(values[i], high)) high = values[i];
    return low == high ? low : low * (1 - rest) + high * rest;
}
static tw_status quantile_finish(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                                 column *out, tw_error *err) {
    double *values = malloc(QUANTILE_KEPT * 2 * sizeof *values);
    if (!values) return error_set(err, TW_ERR_MEMORY, "out of memory for a quantile");
    tw_status status = column_new(m, a->output, n, out, err);
    for (uint32_t i = 0; i < n && status == TW_OK; i++) {
        uint8_t *group = (uint8_t *)(uintptr_t)groups[i];
        quantile_trim(a, group, QUANTILE_KEPT);
        const view *v = state_view(a, group);
        size_t count = v->size / sizeof(ranked_value);
        for (size_t k = 0; k < count; k++) {
            ranked_value r;
            memcpy(&r, view_data(v) + k * sizeof r, sizeof r);
            values[k] = r.value;
        }
        ((double *)out->values)[i] = count ? quantile_of(values, count, a->fraction) : 0;
        if (count) continue;
        status = column_need_valid(m, out, err);
        if (status == TW_OK) column_set_null(out, i);
        else column_clear(out);
    }
    free(values);
    return status;
}
const struct aggregate_functions aggregate_quantile = {quantile_add, quantile_merge, quantile_finish};

/* ---- collect: (position, size, bytes rounded up to 8) one after the other ---- */

typedef struct collected {
    uint64_t position;
    uint64_t size;
} collected;

static size_t collected_bytes(uint64_t size) { return sizeof(collected) + ((size + 7) & ~7ull); }

static tw_status collect_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    for (in->done = 0; in->done < in->n; in->done++) {
        uint32_t row = in->first + in->done;
        if (!column_is_valid(in->column, row)) continue;
        collected head = {in->position + row, value_bytes(in->column, row)};
        size_t bytes = collected_bytes(head.size);
        tw_status status = TW_OK;
        uint8_t *end = array_grow(a, in->groups[in->done], bytes, in->arena, &status, err);
        if (!end) return status;
        memset(end + bytes - 8, 0, 8);
        memcpy(end, &head, sizeof head);
        value_write(in->column, row, end + sizeof head);
        view_settle(state_view(a, in->groups[in->done]));
    }
    return TW_OK;
}
static tw_status bytes_merge(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err) {
    const view *v = state_view_const(a, from);
    return v->size ? array_append(a, to, view_data(v), v->size, arena, err) : TW_OK;
}

typedef struct collected_place {
    uint64_t position;
    view value;
} collected_place;

static int by_position(const void *x, const void *y) {
    uint64_t p = ((const collected_place *)x)->position, q = ((const collected_place *)y)->position;
    return (p > q) - (p < q);
}

/* The items of one group, in row order, into items[]; returns how many. */
static size_t collect_items(const view *state, collected_place *items) {
    const uint8_t *p = view_data(state), *end = p + state->size;
    size_t n = 0;
    while (p < end) {
        collected head;
        memcpy(&head, p, sizeof head);
        items[n++] = (collected_place){head.position, view_make(p + sizeof head, (uint32_t)head.size)};
        p += collected_bytes(head.size);
    }
    qsort(items, n, sizeof *items, by_position);
    return n;
}

static tw_status collect_finish(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                                column *out, tw_error *err) {
    size_t most = 0, total = 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t bound = state_view_const(a, groups[i])->size / sizeof(collected);
        total += bound;
        if (bound > most) most = bound;
    }
    if (total > UINT32_MAX) return too_large(a, err);
    /* What grows with the data is charged to the budget. */
    buffer *room;
    TRY(buffer_new(m, MEMORY_FLOW, most * sizeof(collected_place) + total * (sizeof(view) + 1) + 64, &room, err));
    view *values = (view *)(void *)room->data;
    collected_place *items = (collected_place *)(void *)(room->data + total * sizeof(view));
    bool *valid = (bool *)(items + most);
    tw_status status = column_new(m, a->output, n, out, err);
    uint32_t used = 0;
    for (uint32_t i = 0; i < n && status == TW_OK; i++) {
        size_t count = collect_items(state_view_const(a, groups[i]), items);
        ((uint32_t *)out->values)[i] = used;
        for (size_t k = 0; k < count; k++) {
            valid[used] = true;
            values[used++] = items[k].value;
        }
    }
    if (status == TW_OK) {
        ((uint32_t *)out->values)[n] = used;
        column_clear(&out->children[0]); /* an empty one, which may have children */
        status = values_column(m, a->input, values, valid, used, heap, &out->children[0], err);
        if (status != TW_OK) column_clear(out);
    }
    buffer_unref(room);
    return status;
}
const struct aggregate_functions aggregate_collect = {collect_add, bytes_merge, collect_finish};

/* ---- count_distinct where groups go on being merged, as sessions do: the values that differ, as collected ones with their
 * hash for a position. Repeats are taken out whenever there is no room for more. ---- */

#define REPEATED (1ull << 63) /* in `size` */

typedef struct set_value {
    uint8_t *at; /* of a `collected` */
    collected head;
} set_value;

static int by_value(const void *x, const void *y) {
    const set_value *a = x, *b = y;
    if (a->head.position != b->head.position) return a->head.position < b->head.position ? -1 : 1;
    if (a->head.size != b->head.size) return a->head.size < b->head.size ? -1 : 1;
    return memcmp(a->at + sizeof a->head, b->at + sizeof b->head, a->head.size);
}

static size_t set_values_max(const view *v) { return v->size / sizeof(collected) + 1; }

/* Marks all but one of equal values; returns how many differ. */
static size_t set_mark(const view *v, set_value *values) {
    size_t n = 0, kept = 0, different = 0;
    uint8_t *p = (uint8_t *)(uintptr_t)view_data(v);
    for (const uint8_t *end = p + v->size; p < end; n++) {
        values[n].at = p;
        memcpy(&values[n].head, p, sizeof(collected));
        values[n].head.size &= ~REPEATED;
        p += collected_bytes(values[n].head.size);
    }
    qsort(values, n, sizeof *values, by_value);
    for (size_t i = 0; i < n; i++) {
        bool repeated = i > 0 && by_value(&values[kept], &values[i]) == 0;
        uint64_t size = values[i].head.size | (repeated ? REPEATED : 0);
        memcpy(values[i].at + offsetof(collected, size), &size, sizeof size);
        if (!repeated) kept = i, different++;
    }
    return different;
}

static tw_status set_compact(view *v, arena_rows *arena) {
    buffer *room = arena_rows_buffer(arena, set_values_max(v) * sizeof(set_value));
    if (!room) return refused(arena);
    set_mark(v, (set_value *)(void *)room->data);
    buffer_unref(room);
    uint8_t *to = (uint8_t *)(uintptr_t)v->data, *from = to;
    for (const uint8_t *end = from + v->size; from < end;) {
        collected head;
        memcpy(&head, from, sizeof head);
        size_t bytes = collected_bytes(head.size & ~REPEATED);
        if (!(head.size & REPEATED)) {
            memmove(to, from, bytes);
            to += bytes;
        }
        from += bytes;
    }
    v->size = (uint32_t)(to - v->data);
    view_settle(v);
    return TW_OK;
}

/* Room for more, at least as much again as there is when most of it is no repeats. */
static tw_status set_reserve(const aggregate *a, uint8_t *group, size_t more, arena_rows *arena, tw_error *err) {
    view *v = state_view(a, group);
    uint64_t capacity = *STATE_CONST(uint64_t, a, group);
    if (v->size + (uint64_t)more <= capacity) return TW_OK;
    if (v->size) TRY(set_compact(v, arena));
    uint32_t size = v->size;
    if (size + (uint64_t)more <= capacity / 2) return TW_OK;
    if (capacity > more && capacity + size <= UINT32_MAX) more = capacity;
    tw_status status = TW_OK;
    if (!array_grow(a, group, more, arena, &status, err)) return status;
    v->size = size;
    return TW_OK;
}

/* As keys are: -0.0 and 0.0 are one value, and so are all NaNs. */
static void normalise(const type *t, uint8_t *value, size_t bytes) {
    for (size_t i = 0; t->kind == TYPE_FLOAT64 && i < bytes; i += sizeof(double)) {
        double x;
        memcpy(&x, value + i, sizeof x);
        x = isnan(x) ? (double)NAN : x + 0.0;
        memcpy(value + i, &x, sizeof x);
    }
    for (size_t i = 0; (t->kind == TYPE_FLOAT32 || t->kind == TYPE_VECTOR) && i < bytes; i += sizeof(float)) {
        float x;
        memcpy(&x, value + i, sizeof x);
        x = isnan(x) ? (float)NAN : x + 0.0f;
        memcpy(value + i, &x, sizeof x);
    }
}

static tw_status set_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    for (in->done = 0; in->done < in->n; in->done++) {
        uint32_t row = in->first + in->done;
        if (!column_is_valid(in->column, row)) continue;
        uint8_t *group = in->groups[in->done];
        collected head = {0, value_bytes(in->column, row)};
        size_t bytes = collected_bytes(head.size);
        tw_status status = TW_OK;
        TRY(set_reserve(a, group, bytes, in->arena, err));
        uint8_t *end = array_grow(a, group, bytes, in->arena, &status, err);
        if (!end) return status;
        memset(end + bytes - 8, 0, 8);
        if (type_is_nested(in->column->type)) nested_encode(in->column, row, true, end + sizeof head);
        else value_write(in->column, row, end + sizeof head);
        normalise(in->column->type, end + sizeof head, head.size);
        head.position = hash_bytes(end + sizeof head, head.size);
        memcpy(end, &head, sizeof head);
        view_settle(state_view(a, group));
    }
    return TW_OK;
}
static tw_status set_merge(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err) {
    const view *v = state_view_const(a, from);
    if (v->size == 0) return TW_OK;
    TRY(set_reserve(a, to, v->size, arena, err));
    return array_append(a, to, view_data(v), v->size, arena, err);
}
static tw_status set_finish(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                            column *out, tw_error *err) {
    size_t most = 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t bound = set_values_max(state_view_const(a, groups[i]));
        if (bound > most) most = bound;
    }
    buffer *room;
    TRY(buffer_new(m, MEMORY_FLOW, most * sizeof(set_value) + 1, &room, err));
    tw_status status = column_new(m, a->output, n, out, err);
    for (uint32_t i = 0; i < n && status == TW_OK; i++)
        ((int64_t *)out->values)[i] = (int64_t)set_mark(state_view_const(a, groups[i]), (set_value *)(void *)room->data);
    buffer_unref(room);
    return status;
}
const struct aggregate_functions aggregate_set = {set_add, set_merge, set_finish};
