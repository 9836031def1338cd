#include "data/hash.h"
#include "data/nested.h"
#include "data/rows.h"

/* Each value becomes a word, each word is mixed into the row's hash. */

enum { chunk_rows = 2048 }; /* so that the hashes stay in the nearest cache from column to column */

/* Rows [first, first + n) of a column into hashes[0..n); with `alone`, a column without nulls from start to
 * finish. `word_of` is a constant at each call. */
static inline __attribute__((always_inline)) void
hash_words(const column *c, uint32_t first, uint32_t n, bool alone, uint64_t *hashes,
           uint64_t (*word_of)(const column *, uint32_t)) {
    if (alone) {
        const column here = *c;
        for (uint32_t i = 0; i < n; i++) {
            hashes[i] = hash_finish(hash_add(HASH_START, word_of(&here, first + i)));
        }
        return;
    }
    if (!c->valid) {
        for (uint32_t i = 0; i < n; i++) hashes[i] = hash_add(hashes[i], word_of(c, first + i));
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t word = column_is_valid(c, first + i) ? word_of(c, first + i) : HASH_NULL;
        hashes[i] = hash_add(hashes[i], word);
    }
}

static inline uint64_t word_byte(const column *c, uint32_t row) {
    return ((const uint8_t *)c->values)[row];
}
static inline uint64_t word_int32(const column *c, uint32_t row) {
    return (uint64_t)(int64_t)((const int32_t *)c->values)[row];
}
static inline uint64_t word_int64(const column *c, uint32_t row) {
    return ((const uint64_t *)c->values)[row];
}
static inline uint64_t word_float32(const column *c, uint32_t row) {
    return float32_normal_bits(((const uint32_t *)c->values)[row]);
}
static inline uint64_t word_float64(const column *c, uint32_t row) {
    return float64_normal_bits(((const uint64_t *)c->values)[row]);
}
static inline uint64_t word_view(const column *c, uint32_t row) {
    return hash_view(&((const view *)c->values)[row]);
}

static uint64_t word_vector(const column *c, uint32_t row) {
    const uint8_t *from = (const uint8_t *)c->values + (size_t)row * type_bytes(c->type);
    uint32_t width = c->type->width, some[256];
    XXH3_state_t state;
    bool is_long = width > 256;
    if (is_long) XXH3_64bits_reset(&state);
    for (uint32_t done = 0; done < width; done += 256) {
        uint32_t count = width - done < 256 ? width - done : 256;
        memcpy(some, from + 4 * (size_t)done, 4 * (size_t)count);
        for (uint32_t i = 0; i < count; i++) some[i] = float32_normal_bits(some[i]);
        if (!is_long) return hash_bytes((const uint8_t *)some, 4 * (size_t)count);
        XXH3_64bits_update(&state, some, 4 * (size_t)count);
    }
    return XXH3_64bits_digest(&state);
}

static void hash_column(const column *c, uint32_t first, uint32_t n, bool alone, uint64_t *hashes) {
    switch (c->type->kind) {
    case TYPE_BOOL: hash_words(c, first, n, alone, hashes, word_byte); break;
    case TYPE_INT32:
    case TYPE_DATE: hash_words(c, first, n, alone, hashes, word_int32); break;
    case TYPE_INT64:
    case TYPE_TIMESTAMP: hash_words(c, first, n, alone, hashes, word_int64); break;
    case TYPE_FLOAT32: hash_words(c, first, n, alone, hashes, word_float32); break;
    case TYPE_FLOAT64: hash_words(c, first, n, alone, hashes, word_float64); break;
    case TYPE_STRING:
    case TYPE_BINARY: hash_words(c, first, n, alone, hashes, word_view); break;
    case TYPE_VECTOR: hash_words(c, first, n, alone, hashes, word_vector); break;
    default: hash_words(c, first, n, alone, hashes, nested_hash); break;
    }
}

void hash_columns(const column *columns, uint32_t n_columns, uint32_t n, uint64_t *hashes) {
    if (n_columns == 1 && !columns->valid) {
        hash_column(columns, 0, n, true, hashes);
        return;
    }
    for (uint32_t first = 0; first < n; first += chunk_rows) {
        uint32_t count = n - first < chunk_rows ? n - first : chunk_rows;
        for (uint32_t i = 0; i < count; i++) hashes[first + i] = HASH_START;
        for (uint32_t k = 0; k < n_columns; k++) {
            hash_column(&columns[k], first, count, false, hashes + first);
        }
        for (uint32_t i = 0; i < count; i++) hashes[first + i] = hash_finish(hashes[first + i]);
    }
}

/* Keys are normalised when they are encoded. */
static uint64_t field_word(const row_field *f, const uint8_t *row) {
    const uint8_t *at = row + f->offset;
    switch (f->form) {
    case ROW_BYTE: return *at;
    case ROW_INT32: {
        int32_t value;
        memcpy(&value, at, 4);
        return (uint64_t)(int64_t)value;
    }
    case ROW_FLOAT32: {
        uint32_t value;
        memcpy(&value, at, 4);
        return value;
    }
    case ROW_INT64:
    case ROW_FLOAT64: {
        uint64_t value;
        memcpy(&value, at, 8);
        return value;
    }
    case ROW_VECTOR: return hash_bytes(at, f->bytes);
    default: {
        view v;
        memcpy(&v, at, sizeof v);
        return hash_view(&v);
    }
    }
}

uint64_t hash_row_keys(const row_layout *l, const uint8_t *row) {
    uint64_t hash = HASH_START;
    for (uint32_t i = 0; i < l->n_keys; i++) {
        uint64_t word = row_is_valid(l, row, i) ? field_word(&l->fields[i], row) : HASH_NULL;
        hash = hash_add(hash, word);
    }
    return hash_finish(hash);
}
