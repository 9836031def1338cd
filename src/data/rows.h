/* rows.h: rows in row-major form, for everything that collects rows and moves them: exchange, group,
 * join, sort, spill. A scatter to 256 places then touches 256 lines, not 256 times the columns.
 *
 * A row is `stride` bytes (a multiple of 8): an 8-byte header (the row's hash, its position, or what
 * the owner likes), the key fields and their validity bits, the validity bits of the others and those
 * fields, and `extra` bytes for the owner (aggregates). Strings and binaries are views; lists, sparse
 * and vectors wider than 16 floats are views of their encoded bytes. In a block, long views point into
 * the block's own heap, so a block is two runs of bytes that can be written, read back and relocated.
 * Fields that are null and gaps are zero bytes, so that equal keys have equal bytes but for -0.0, NaN
 * (both normalised on encoding when the field is a key: a sort that must give them back as they were
 * uses a layout without keys) and long views. */
#ifndef DATA_ROWS_H
#define DATA_ROWS_H

#include "data/batch.h"

/* How a field lies in a row, and what its bytes mean. */
typedef enum row_form {
    ROW_BYTE,   /* bool */
    ROW_INT32,  /* int32, date */
    ROW_INT64,  /* int64, timestamp */
    ROW_FLOAT32,
    ROW_FLOAT64,
    ROW_VIEW,   /* string, binary */
    ROW_VECTOR, /* up to 16 floats, inline */
    ROW_WIDE,   /* a wider vector: a view of its floats */
    ROW_NESTED, /* list, sparse: a view of the bytes of data/nested.h */
} row_form;

typedef struct row_field {
    uint32_t offset; /* from the row's start; 8-byte aligned for 8- and 16-byte fields */
    uint32_t bytes;
    uint32_t valid_bit; /* counted from the row's start: byte valid_bit / 8, bit valid_bit % 8 */
    row_form form;
    const type *type;
} row_field;

typedef struct row_layout {
    uint32_t n;              /* fields */
    uint32_t n_keys;         /* the first n_keys fields are keys */
    uint32_t stride;
    uint32_t extra_offset;   /* 8-byte aligned */
    uint32_t extra_bytes;    /* rounded up to a multiple of 8 */
    uint32_t key_begin;      /* = 8 */
    uint32_t key_end;        /* bytes [key_begin, key_end) hold the keys and their validity, no more */
    uint64_t key_tail_mask;  /* the bytes of the last, partial word of that range; 0: it is whole */
    bool has_heap;           /* some field is a view */
    bool has_nested;         /* some field is ROW_NESTED */
    bool keys_have_views;
    uint32_t n_views;
    uint32_t *view_fields;   /* n_views indices of the fields that are views of any form */
    uint8_t *blank;          /* a row of zeros but for all validity bits set: stride bytes */
    uint32_t n_blanks;
    uint32_t *blanks;        /* offsets of the words of `blank` that fields do not cover whole */
    row_field fields[];      /* n */
} row_layout;

tw_status row_layout_new(const type *const *types, uint32_t n, uint32_t n_keys, uint32_t extra_bytes,
                         row_layout **out, tw_error *err);
void row_layout_free(row_layout *l); /* NULL is allowed */

static inline uint64_t row_header(const uint8_t *row) {
    uint64_t h;
    memcpy(&h, row, 8);
    return h;
}
static inline void row_set_header(uint8_t *row, uint64_t header) { memcpy(row, &header, 8); }
static inline bool row_is_valid(const row_layout *l, const uint8_t *row, uint32_t index) {
    uint32_t bit = l->fields[index].valid_bit;
    return row[bit >> 3] >> (bit & 7) & 1;
}

/* Equality of the key fields of two rows (as column_values_equal). Compares bytes, and what long
 * views point to. */
bool rows_keys_equal(const row_layout *l, const uint8_t *a, const uint8_t *b);

/* A block: up to `capacity` rows and one heap. One owner at a time. */
typedef struct row_block {
    buffer *rows, *heap;    /* heap may be NULL */
    uint32_t n, capacity;   /* rows */
    size_t heap_used;       /* bytes */
    atomic_uint writers;    /* the exchange's: threads still writing rows that they reserved here */
    struct row_block *next; /* for the owner's lists */
} row_block;

/* Bytes of heap that the given rows of these columns need (long views, encoded nested values);
 * adds them up per row into sizes[i] too unless NULL. A size stops at UINT32_MAX: such a row (4 GiB
 * and more) must not be encoded. */
size_t rows_heap_bytes(const row_layout *l, const column *columns, const uint32_t *selection,
                       uint32_t n, uint32_t *sizes);
/* Writes row selection[i] (NULL: i) of the columns to `to[i]`, for i < n: fields and validity, not the
 * header, not extra. Long bytes are copied to *heap, which is moved on; it must have room for
 * rows_heap_bytes. With heap == NULL long views keep pointing at the columns' heap, wide vectors at
 * the columns' values (no copy, and no normalised -0.0 and NaN in wide vectors); not allowed when the
 * layout has_nested. */
void rows_encode(const row_layout *l, const column *columns, const uint32_t *selection, uint32_t n,
                 uint8_t *const *to, uint8_t **heap);
/* The same with a place of its own for each row's long bytes: heaps[i], moved on. */
void rows_encode_apart(const row_layout *l, const column *columns, const uint32_t *selection,
                       uint32_t n, uint8_t *const *to, uint8_t **heaps);
/* Fields [first_field, first_field + n_fields) of n rows into new columns. Long views point into
 * `heap_owner` (the blocks' heaps, joined by the caller), which the columns reference; nested values
 * are decoded. After an error `out` holds nothing. */
tw_status rows_decode(memory *m, const row_layout *l, const uint8_t *const *from, uint32_t n,
                      uint32_t first_field, uint32_t n_fields, buffer *heap_owner, column *out,
                      tw_error *err);
/* Copies one row, header and extra included, into another block's space, moving its long bytes to
 * *heap (with room). */
void rows_copy(const row_layout *l, const uint8_t *from, uint8_t *to, uint8_t **heap);
size_t rows_copy_heap_bytes(const row_layout *l, const uint8_t *row); /* what rows_copy will use */

/* For rows that go to a file: turns the pointers of long views into base + their distance from `heap`.
 * False when one does not point into [heap, heap + heap_bytes). */
bool rows_unplace(const row_layout *l, uint8_t *rows, uint32_t n, const uint8_t *heap,
                  size_t heap_bytes, uint64_t base);
/* The way back, which trusts nothing: false when a view leaves the heap or a nested value is not one. */
bool rows_place(const row_layout *l, uint8_t *rows, uint32_t n, const uint8_t *heap,
                size_t heap_bytes);

/* Hashes of the key columns, for exchange, group, distinct and join. Deterministic, the same in every
 * build and on every machine. int32 and int64 of equal value hash alike, and so do -0.0 and 0.0, all
 * NaNs, and equal strings and binaries. hashes[i] for i < n. */
void hash_columns(const column *columns, uint32_t n_columns, uint32_t n, uint64_t *hashes);
/* The hash of the key fields of an encoded row equals hash_columns of the columns it came from. */
uint64_t hash_row_keys(const row_layout *l, const uint8_t *row);

#endif
