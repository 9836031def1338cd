#include <stdlib.h>

#include "data/batch.h"
#include "data/bitmap.h"

/* Children of a nested column are one block that all its shares refer to, so that sharing needs no
 * allocation and cannot fail. */
typedef struct children_block {
    atomic_uint references;
    column columns[];
} children_block;

static children_block *block_of(column *children) {
    return (children_block *)(void *)((uint8_t *)children - offsetof(children_block, columns));
}

/* ---- made, shared, released ---- */

tw_status column_new_children(const type *t, column *out, tw_error *err) {
    memset(out, 0, sizeof *out);
    out->type = t;
    if (!type_is_nested(t)) return TW_OK;
    uint32_t n = t->kind == TYPE_LIST ? 1 : 2;
    children_block *block = calloc(1, sizeof *block + n * sizeof(column));
    if (!block) {
        out->type = NULL;
        return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
    }
    atomic_init(&block->references, 1);
    out->children = block->columns;
    out->n_children = n;
    if (t->kind == TYPE_SPARSE) {
        out->children[0].type = type_of(TYPE_INT32);
        out->children[1].type = type_of(TYPE_FLOAT32);
        return TW_OK;
    }
    tw_status status = column_new_children(t->item, &out->children[0], err);
    if (status != TW_OK) column_clear(out);
    return status;
}

tw_status column_new(memory *m, const type *t, uint32_t rows, column *out, tw_error *err) {
    TRY(column_new_children(t, out, err));
    bool nested = type_is_nested(t);
    size_t bytes = ((size_t)rows + nested) * type_bytes(t);
    tw_status status = buffer_new(m, MEMORY_FLOW, bytes, &out->values_buffer, err);
    if (status != TW_OK) {
        column_clear(out);
        return status;
    }
    out->rows = rows;
    out->values = out->values_buffer->data;
    if (nested) memset(out->values, 0, bytes);
    return TW_OK;
}

static tw_status new_bitmap(memory *m, uint32_t rows, column *out, tw_error *err) {
    TRY(buffer_new(m, MEMORY_FLOW, bitmap_words(rows) * 8, &out->valid_buffer, err));
    out->valid = (uint64_t *)(void *)out->valid_buffer->data;
    return TW_OK;
}

static void drop_bitmap(column *c) {
    buffer_unref(c->valid_buffer);
    c->valid_buffer = NULL;
    c->valid = NULL;
}

tw_status column_need_valid(memory *m, column *c, tw_error *err) {
    if (c->valid) return TW_OK;
    TRY(new_bitmap(m, c->rows, c, err));
    memset(c->valid, 0xff, bitmap_words(c->rows) * 8);
    return TW_OK;
}

void column_share(const column *from, column *to) {
    *to = *from;
    buffer_ref(to->values_buffer);
    buffer_ref(to->valid_buffer);
    buffer_ref(to->heap);
    if (to->children)
        atomic_fetch_add_explicit(&block_of(to->children)->references, 1, memory_order_relaxed);
}

void column_clear(column *c) {
    buffer_unref(c->values_buffer);
    buffer_unref(c->valid_buffer);
    buffer_unref(c->heap);
    if (c->children) {
        children_block *block = block_of(c->children);
        if (atomic_fetch_sub_explicit(&block->references, 1, memory_order_acq_rel) == 1) {
            for (uint32_t i = 0; i < c->n_children; i++) column_clear(&block->columns[i]);
            free(block);
        }
    }
    memset(c, 0, sizeof *c);
}

static tw_status pick_valid(memory *m, const column *in, const uint32_t *rows, uint32_t n, bool has_null,
                            column *out, tw_error *err) {
    if (!in->valid && !has_null) return TW_OK;
    TRY(new_bitmap(m, n, out, err));
    if (!bitmap_gather(in->valid, rows, n, out->valid)) drop_bitmap(out);
    return TW_OK;
}

/* ---- picked: values of one size, by index ---- */

typedef struct pair {
    uint64_t a, b;
} pair;

#define PICK(name, word)                                                                           \
    static void name(const void *in, const uint32_t *rows, uint32_t n, void *out) {                \
        const word *from = in;                                                                     \
        word *to = out;                                                                            \
        for (uint32_t i = 0; i < n; i++) to[i] = from[rows[i]];                                    \
    }                                                                                              \
    static void name##_or_null(const void *in, const uint32_t *rows, uint32_t n, void *out) {      \
        const word *from = in;                                                                     \
        word *to = out;                                                                            \
        static const word zero;                                                                    \
        for (uint32_t i = 0; i < n; i++) to[i] = rows[i] == UINT32_MAX ? zero : from[rows[i]];     \
    }
PICK(pick_1, uint8_t)
PICK(pick_4, uint32_t)
PICK(pick_8, uint64_t)
#undef PICK

/* Views are aligned to 4 bytes only. */
static void pick_16(const void *in, const uint32_t *rows, uint32_t n, void *out) {
    const uint8_t *from = in;
    uint8_t *to = out;
    for (uint32_t i = 0; i < n; i++) {
        pair p;
        memcpy(&p, from + 16 * (size_t)rows[i], 16);
        memcpy(to + 16 * (size_t)i, &p, 16);
    }
}

static void pick_any(const uint8_t *from, size_t bytes, const uint32_t *rows, uint32_t n, uint8_t *to) {
    for (uint32_t i = 0; i < n; i++, to += bytes) {
        if (rows[i] == UINT32_MAX) memset(to, 0, bytes);
        else memcpy(to, from + rows[i] * bytes, bytes);
    }
}

static void pick_values(const column *in, const uint32_t *rows, uint32_t n, bool has_null, void *out) {
    switch (type_bytes(in->type)) {
    case 1: (has_null ? pick_1_or_null : pick_1)(in->values, rows, n, out); break;
    case 4: (has_null ? pick_4_or_null : pick_4)(in->values, rows, n, out); break;
    case 8: (has_null ? pick_8_or_null : pick_8)(in->values, rows, n, out); break;
    case 16:
        if (!has_null) {
            pick_16(in->values, rows, n, out);
            break;
        } /* fall through */
    default: pick_any(in->values, type_bytes(in->type), rows, n, out);
    }
}

/* ---- picked: items of nested columns, by ranges ---- */

static tw_status too_many_items(tw_error *err) {
    return error_set(err, TW_ERR_MEMORY, "the lists of one batch have more than 4,294,967,294 items");
}

static void range_values(const column *in, const uint32_t *starts, const uint32_t *offsets, uint32_t n,
                         column *out) {
    size_t bytes = type_bytes(in->type);
    for (uint32_t i = 0; i < n; i++) {
        size_t some = offsets[i + 1] - offsets[i];
        if (some)
            memcpy((uint8_t *)out->values + offsets[i] * bytes,
                   (const uint8_t *)in->values + starts[i] * bytes, some * bytes);
    }
}

static tw_status pick_ranges(memory *m, const column *in, const uint32_t *starts, const uint32_t *offsets,
                             uint32_t n, column *out, tw_error *err);

/* Ranges of lists are ranges of their items too. */
static tw_status range_items(memory *m, const column *in, const uint32_t *starts, const uint32_t *offsets,
                             uint32_t n, column *out, tw_error *err) {
    buffer *scratch;
    TRY(buffer_new(m, MEMORY_FLOW, (2 * (size_t)n + 1) * 4, &scratch, err));
    uint32_t *item_starts = (uint32_t *)(void *)scratch->data, *item_offsets = item_starts + n;
    const uint32_t *in_offsets = in->values;
    uint32_t *out_offsets = out->values;
    uint64_t total = 0;
    item_offsets[0] = 0;
    for (uint32_t i = 0; i < n && total < UINT32_MAX; i++) {
        const uint32_t *from = in_offsets + starts[i];
        uint32_t some = offsets[i + 1] - offsets[i];
        item_starts[i] = from[0];
        for (uint32_t k = 0; k < some; k++)
            out_offsets[offsets[i] + k + 1] = (uint32_t)total + (from[k + 1] - from[0]);
        total += from[some] - from[0];
        item_offsets[i + 1] = (uint32_t)total;
    }
    tw_status status = total < UINT32_MAX ? TW_OK : too_many_items(err);
    for (uint32_t k = 0; k < in->n_children && status == TW_OK; k++) {
        column_clear(&out->children[k]);
        status = pick_ranges(m, &in->children[k], item_starts, item_offsets, n, &out->children[k], err);
    }
    buffer_unref(scratch);
    return status;
}

/* Values [starts[i], + offsets[i + 1] - offsets[i]) of `in`, end to end. */
static tw_status pick_ranges(memory *m, const column *in, const uint32_t *starts, const uint32_t *offsets,
                             uint32_t n, column *out, tw_error *err) {
    uint32_t total = offsets[n];
    TRY(column_new(m, in->type, total, out, err));
    out->heap = buffer_ref(in->heap);
    tw_status status = TW_OK;
    if (in->valid && (status = new_bitmap(m, total, out, err)) == TW_OK) {
        memset(out->valid, 0xff, bitmap_words(total) * 8);
        for (uint32_t i = 0; i < n; i++)
            bitmap_copy(in->valid, starts[i], out->valid, offsets[i], offsets[i + 1] - offsets[i]);
    }
    if (status == TW_OK && type_is_nested(in->type))
        status = range_items(m, in, starts, offsets, n, out, err);
    else if (status == TW_OK)
        range_values(in, starts, offsets, n, out);
    if (status != TW_OK) column_clear(out);
    return status;
}

static tw_status pick_items(memory *m, const column *in, const uint32_t *rows, uint32_t n, column *out,
                            tw_error *err) {
    buffer *scratch;
    TRY(buffer_new(m, MEMORY_FLOW, (size_t)n * 4, &scratch, err));
    uint32_t *starts = (uint32_t *)(void *)scratch->data, *offsets = out->values;
    const uint32_t *in_offsets = in->values;
    uint64_t total = 0;
    for (uint32_t i = 0; i < n && total < UINT32_MAX; i++) {
        uint32_t r = rows[i];
        bool items = r != UINT32_MAX && column_is_valid(in, r);
        starts[i] = items ? in_offsets[r] : 0;
        total += items ? in_offsets[r + 1] - in_offsets[r] : 0;
        offsets[i + 1] = (uint32_t)total;
    }
    tw_status status = total < UINT32_MAX ? TW_OK : too_many_items(err);
    for (uint32_t k = 0; k < in->n_children && status == TW_OK; k++) {
        column_clear(&out->children[k]);
        status = pick_ranges(m, &in->children[k], starts, offsets, n, &out->children[k], err);
    }
    buffer_unref(scratch);
    return status;
}

tw_status column_pick(memory *m, const column *in, const uint32_t *rows, uint32_t n, column *out,
                      tw_error *err) {
    if (!in->values) { /* absent: nobody reads it */
        *out = (column){.type = in->type, .rows = n};
        return TW_OK;
    }
    uint32_t nulls = 0;
    for (uint32_t i = 0; i < n; i++) nulls |= rows[i] == UINT32_MAX;
    TRY(column_new(m, in->type, n, out, err));
    out->heap = buffer_ref(in->heap);
    tw_status status = pick_valid(m, in, rows, n, nulls, out, err);
    if (status == TW_OK && type_is_nested(in->type)) status = pick_items(m, in, rows, n, out, err);
    else if (status == TW_OK) pick_values(in, rows, n, nulls, out->values);
    if (status != TW_OK) column_clear(out);
    return status;
}

tw_status column_slice(memory *m, const column *in, uint32_t first, uint32_t n, column *out,
                       tw_error *err) {
    column_share(in, out);
    out->rows = n;
    if (!in->values) return TW_OK; /* absent */
    out->values = (uint8_t *)in->values + first * type_bytes(in->type);
    if (!in->valid) return TW_OK;
    out->valid = in->valid + first / 64;
    if (first % 64 == 0) return TW_OK;
    drop_bitmap(out);
    tw_status status = new_bitmap(m, n, out, err);
    if (status != TW_OK) {
        column_clear(out);
        return status;
    }
    if (n) out->valid[bitmap_words(n) - 1] = ~0ull;
    bitmap_copy(in->valid, first, out->valid, 0, n);
    return TW_OK;
}

/* ---- compared ---- */

static bool float_equal(float a, float b) { return a == b || (a != a && b != b); }
static bool double_equal(double a, double b) { return a == b || (a != a && b != b); }

static bool items_equal(const column *a, uint32_t i, const column *b, uint32_t j) {
    const uint32_t *x = (const uint32_t *)a->values + i, *y = (const uint32_t *)b->values + j;
    uint32_t n = x[1] - x[0];
    if (y[1] - y[0] != n) return false;
    for (uint32_t k = 0; k < a->n_children; k++)
        for (uint32_t item = 0; item < n; item++)
            if (!column_values_equal(&a->children[k], x[0] + item, &b->children[k], y[0] + item))
                return false;
    return true;
}

static bool vectors_equal(const float *x, const float *y, uint32_t width) {
    for (uint32_t k = 0; k < width; k++)
        if (!float_equal(x[k], y[k])) return false;
    return true;
}

bool column_values_equal(const column *a, uint32_t i, const column *b, uint32_t j) {
    bool valid = column_is_valid(a, i);
    if (valid != column_is_valid(b, j)) return false;
    if (!valid) return true;
#define AT(c, what, row) (((const what *)(c)->values)[row])
    switch (a->type->kind) {
    case TYPE_BOOL: return AT(a, uint8_t, i) == AT(b, uint8_t, j);
    case TYPE_INT32:
    case TYPE_DATE: return AT(a, int32_t, i) == AT(b, int32_t, j);
    case TYPE_INT64:
    case TYPE_TIMESTAMP: return AT(a, int64_t, i) == AT(b, int64_t, j);
    case TYPE_FLOAT32: return float_equal(AT(a, float, i), AT(b, float, j));
    case TYPE_FLOAT64: return double_equal(AT(a, double, i), AT(b, double, j));
    case TYPE_STRING:
    case TYPE_BINARY: return view_equal(&AT(a, view, i), &AT(b, view, j));
    case TYPE_VECTOR: {
        size_t width = a->type->width;
        return vectors_equal(&AT(a, float, i * width), &AT(b, float, j * width), a->type->width);
    }
    case TYPE_LIST:
    case TYPE_SPARSE: return items_equal(a, i, b, j);
    case TYPE_KINDS: break;
    }
#undef AT
    return false;
}
