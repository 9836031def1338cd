/* batch.h: columns and batches: some rows of one schema, in columns. The unit that moves.
 *
 * The layout is Arrow's (validity bitmaps with the lowest bit first, 1 = not null; contiguous values;
 * 16-byte views), but for three things that are changed in place at the door: a long view holds a
 * pointer instead of (buffer, offset), a bool takes a byte, list offsets are uint32.
 *
 * A batch is immutable once another thread or step can see it. Column buffers are shared by
 * reference between batches: dropping, renaming and selecting columns copies nothing. */
#ifndef DATA_BATCH_H
#define DATA_BATCH_H

#include <string.h>

#include "base/memory.h"
#include "data/type.h"

#define BATCH_ROWS_MAX 65536u /* so that a row number fits 16 bits, and a bitmap 8 KiB */

/* Neumann and Freitag, "Umbra: A Disk-Based System with In-Memory Performance", 2020.
 * Up to 12 bytes stand in the view itself, zero-padded; of longer ones the first four. */
typedef struct view {
    uint32_t size;
    union {
        uint8_t small[12];
        struct {
            uint8_t prefix[4];
            const uint8_t *data;
        } __attribute__((packed, aligned(4)));
    };
} view;
_Static_assert(sizeof(view) == 16, "a view is 16 bytes");
#define VIEW_SMALL_MAX 12u

static inline const uint8_t *view_data(const view *v) {
    return v->size <= VIEW_SMALL_MAX ? v->small : v->data;
}
/* `data` must outlive the view when size > 12, and may be NULL when size is 0. */
static inline view view_make(const uint8_t *data, uint32_t size) {
    view v = {.size = size};
    if (size <= VIEW_SMALL_MAX) {
        memset(v.small, 0, sizeof v.small);
        if (size) memcpy(v.small, data, size);
    } else {
        memcpy(v.prefix, data, 4);
        v.data = data;
    }
    return v;
}
static inline bool view_equal(const view *a, const view *b) {
    uint64_t x[2], y[2];
    memcpy(x, a, 16);
    memcpy(y, b, 16);
    if (x[0] != y[0]) return false; /* size and the first four bytes */
    if (x[1] == y[1]) return true;
    return a->size > VIEW_SMALL_MAX && memcmp(a->data, b->data, a->size) == 0;
}
/* Byte by byte, a prefix before what it begins. */
static inline int view_compare(const view *a, const view *b) {
    uint32_t x, y; /* the first four bytes decide most */
    memcpy(&x, a->prefix, 4);
    memcpy(&y, b->prefix, 4);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    x = __builtin_bswap32(x);
    y = __builtin_bswap32(y);
#endif
    if (x != y) return x < y ? -1 : 1;
    uint32_t n = a->size < b->size ? a->size : b->size;
    int order = memcmp(view_data(a), view_data(b), n);
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

typedef struct column {
    const type *type;
    uint32_t rows;
    void *values;        /* rows * type_bytes; for lists and sparse: uint32 offsets[rows + 1]; NULL: the
                          * column is absent, nobody downstream reads it (pick, slice, share keep it so) */
    uint64_t *valid;     /* bitmap of (rows + 63) / 64 words, or NULL when nothing is null; bits past
                          * `rows` mean nothing */
    buffer *values_buffer, *valid_buffer; /* keep `values` and `valid` alive; may be NULL */
    buffer *heap;        /* keeps alive what views point to; NULL when all are small */
    /* list: 1; sparse: 2 (int32 indices, float32 values); else NULL. Made by column_new or
     * column_new_children, shared by reference, so immutable once the column was shared. */
    struct column *children;
    uint32_t n_children;
} column;
/* The value of a row that is null is any harmless one: a view that points nowhere has size 0, and the
 * offsets of a null list may enclose items. */

static inline bool column_is_valid(const column *c, uint32_t row) {
    return !c->valid || (c->valid[row >> 6] >> (row & 63) & 1);
}

/* Where the rows of a batch came from, for messages and dead letters. */
typedef struct origin {
    atomic_uint references;
    char *file;             /* path or connector name */
    uint64_t first_record;  /* number of the record that row 0 came from, counted from 1 */
    /* Optional: how many records come before those that first_record counts. A reader in the middle of a
     * file knows that only by counting, which is put off until a message asks. `release`, if any, is called with
     * the context when the origin goes; without it the context outlives the origin. */
    uint64_t (*records_before)(const struct origin *o);
    void (*release)(const void *context);
    const void *context;
    uint64_t split;
    buffer *raw_buffer;     /* with dead letters only: view[records], each record as it came */
    buffer *raw_heap;
} origin;

typedef struct batch {
    atomic_uint references;
    schema *schema;
    uint32_t rows;          /* 1..BATCH_ROWS_MAX; never an empty batch */
    uint64_t position;      /* row order: row i stands at position + i, see engine/pipeline.h */
    origin *origin;         /* NULL once rows were made by a group, join or sort */
    buffer *origin_rows;    /* uint32[rows]: which record, from first_record (UINT32_MAX: of none);
                             * NULL: row i is record i */
    column columns[];       /* schema->n */
} batch;

/* A batch with one reference, rows set, and all columns empty for the caller to fill. */
tw_status batch_new(schema *s, uint32_t rows, batch **out, tw_error *err);
batch *batch_ref(batch *b);
void batch_unref(batch *b); /* NULL is allowed */
/* The place of row `row` for an error; leaves `err` alone when it is not known. */
void batch_place(const batch *b, uint32_t row, tw_error *err);
/* Bytes that this batch alone holds on to in values, bitmaps and heaps (shared ones counted whole). */
size_t batch_bytes(const batch *b);

tw_status origin_new(const char *file, uint64_t first_record, origin **out, tw_error *err);
origin *origin_ref(origin *o);
void origin_unref(origin *o);
/* The number of record i, from first_record. */
static inline uint64_t origin_record(const origin *o, uint64_t i) {
    return o->first_record + i + (o->records_before ? o->records_before(o) : 0);
}
/* Gives `out`, which has none yet, the origin of `in`, for its out->rows rows picked by `rows` (indices
 * into `in`; NULL: the first out->rows). When rows_buffer is not NULL, it holds `rows` at its start and
 * never changes again: a reference to it is kept when that is enough. */
tw_status batch_inherit_origin(memory *m, const batch *in, const uint32_t *rows, buffer *rows_buffer,
                               batch *out, tw_error *err);

/* ---- columns: made, shared, picked, joined end to end ---- */
/* What fails leaves `out` zeroed. All new buffers are MEMORY_FLOW. */
/* Values (not zeroed; offsets of nested types zeroed) for `rows`; no bitmap; children have their type
 * and nothing else, for the caller to fill. */
tw_status column_new(memory *m, const type *t, uint32_t rows, column *out, tw_error *err);
/* For a column over bytes from elsewhere: sets the type and zeroes all else, but makes the children
 * that the type has (and theirs), equally empty. */
tw_status column_new_children(const type *t, column *out, tw_error *err);
/* Adds a bitmap, all valid; bits past `rows` are 1 too. No-op when there is one already. */
tw_status column_need_valid(memory *m, column *c, tw_error *err);
static inline void column_set_null(column *c, uint32_t row) { /* needs the bitmap */
    c->valid[row >> 6] &= ~(1ull << (row & 63));
}
void column_share(const column *from, column *to); /* references, no copy */
void column_clear(column *c);                      /* releases, zeroes */
/* Rows `rows[0..n)` of `in`, any order, repeats allowed. UINT32_MAX makes a null (its value zeroed).
 * Views keep pointing into in's heap. No bitmap when nothing is null. `out` is not `in`. */
tw_status column_pick(memory *m, const column *in, const uint32_t *rows, uint32_t n, column *out,
                      tw_error *err);
/* Rows [first, first + n): shares values; copies the bitmap unless first % 64 == 0. */
tw_status column_slice(memory *m, const column *in, uint32_t first, uint32_t n, column *out,
                       tw_error *err);
/* The same for whole batches, n >= 1; position becomes that of the first row; origin is inherited. For
 * rows_buffer (may be NULL) see batch_inherit_origin. */
tw_status batch_pick(memory *m, const batch *in, const uint32_t *rows, buffer *rows_buffer, uint32_t n,
                     batch **out, tw_error *err);
tw_status batch_slice(memory *m, batch *in, uint32_t first, uint32_t n, batch **out, tw_error *err);
/* Whether value i of a equals value j of b (same type); null equals null; NaN equals NaN; 0 equals
 * -0: the equality of group, distinct and join. */
bool column_values_equal(const column *a, uint32_t i, const column *b, uint32_t j);

/* ---- building a column value by value, for readers and tests ---- */
typedef struct column_builder column_builder;
/* Grows as needed. Strings are copied into a heap of its own unless given by _view. A call that
 * fails appends nothing; a type that does not fit the call is TW_ERR_INTERNAL. */
tw_status column_builder_new(memory *m, const type *t, column_builder **out, tw_error *err);
void column_builder_free(column_builder *b);
/* A null; items appended since the last ended list are dropped. */
tw_status column_builder_null(column_builder *b, tw_error *err);
/* bool to timestamp; TW_ERR_DATA when it does not fit an int32 or date */
tw_status column_builder_int(column_builder *b, int64_t value, tw_error *err);
tw_status column_builder_float(column_builder *b, double value, tw_error *err);
tw_status column_builder_bytes(column_builder *b, const void *data, uint32_t size, tw_error *err);
/* `heap`, of which a reference is kept, keeps alive what the view points to; NULL for a small view. */
tw_status column_builder_view(column_builder *b, view value, buffer *heap, tw_error *err);
/* Lists and sparse: append items to the child (index 0, 1), then end the row. */
column_builder *column_builder_child(column_builder *b, unsigned index);
tw_status column_builder_end_list(column_builder *b, tw_error *err);
tw_status column_builder_vector(column_builder *b, const float *values, tw_error *err);
uint32_t column_builder_rows(const column_builder *b);
/* Drops rows from `rows` on, and items after the last ended list (a bad record was half appended). */
void column_builder_rewind(column_builder *b, uint32_t rows);
/* Hands the column over and starts anew (also after a failure). Items after the last ended list are
 * dropped. */
tw_status column_builder_finish(column_builder *b, column *out, tw_error *err);

#endif
