/* random_columns.h: columns of random types and values for tests. Every draw comes from a seed that a
 * failing test prints. */
#ifndef TESTS_RANDOM_COLUMNS_H
#define TESTS_RANDOM_COLUMNS_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/batch.h"

/* SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. */
static inline uint64_t draw(uint64_t *seed) {
    uint64_t z = *seed += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}
static inline uint32_t draw_below(uint64_t *seed, uint32_t n) { return (uint32_t)(draw(seed) % n); }

#define MUST(call) must((call), __FILE__, __LINE__, #call)
static inline void must(tw_status status, const char *file, int line, const char *call) {
    if (status == TW_OK) return;
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, call, tw_status_name(status));
    abort();
}

static inline const type *random_type(uint64_t *seed) {
    switch (draw_below(seed, 18)) {
    case 0: return type_of(TYPE_BOOL);
    case 1: return type_of(TYPE_INT32);
    case 2: return type_of(TYPE_INT64);
    case 3: return type_of(TYPE_FLOAT32);
    case 4: return type_of(TYPE_FLOAT64);
    case 5: return type_of(TYPE_DATE);
    case 6: return type_of(TYPE_TIMESTAMP);
    case 7: return type_of(TYPE_BINARY);
    case 8: return type_vector(1 + draw_below(seed, 16));
    case 9: return type_vector(17 + draw_below(seed, 300));
    case 10: return type_of(TYPE_SPARSE);
    case 11: return type_list(type_of(TYPE_INT32));
    case 12: return type_list(type_of(TYPE_STRING));
    case 13: return type_list(type_list(type_of(TYPE_FLOAT64)));
    case 14: return type_list(type_of(TYPE_SPARSE));
    case 15: return type_list(type_vector(3));
    default: return type_of(TYPE_STRING);
    }
}

static inline double random_float(uint64_t *seed, bool is_float32) {
    switch (draw_below(seed, 8)) {
    case 0: return -0.0;
    case 1: return 0.0;
    case 2: return draw(seed) & 1 ? NAN : -NAN;
    case 3: return INFINITY;
    default: return is_float32 ? (float)draw_below(seed, 5) / 4 : (double)draw_below(seed, 5) / 4;
    }
}

static inline void random_vector(uint64_t *seed, column_builder *b, uint32_t width) {
    float *values = malloc(width * sizeof *values);
    bool same = draw(seed) & 1;
    for (uint32_t i = 0; i < width; i++) {
        values[i] = same ? 0.5f : (float)random_float(seed, true);
    }
    MUST(column_builder_vector(b, values, NULL));
    free(values);
}

/* Few different values, so that equal ones meet; short, 12-byte, 13-byte and long strings. */
static inline void random_bytes(uint64_t *seed, column_builder *b) {
    static const uint32_t sizes[] = {0, 1, 4, 5, 11, 12, 13, 14, 16, 31, 33, 63, 64, 65, 90, 127, 129, 300};
    uint8_t text[320];
    uint32_t size = sizes[draw_below(seed, sizeof sizes / sizeof *sizes)];
    memset(text, 'a', sizeof text);
    if (size) text[draw(seed) & 1 ? size - 1 : 0] = (uint8_t)('a' + draw_below(seed, 3));
    MUST(column_builder_bytes(b, text, size, NULL));
}

static inline void random_value(uint64_t *seed, column_builder *b, const type *t, uint32_t nulls_of_100) {
    if (draw_below(seed, 100) < nulls_of_100) {
        MUST(column_builder_null(b, NULL));
        return;
    }
    uint32_t items;
    switch (t->kind) {
    case TYPE_BOOL: MUST(column_builder_int(b, draw_below(seed, 2), NULL)); break;
    case TYPE_INT32:
    case TYPE_DATE: MUST(column_builder_int(b, (int32_t)draw_below(seed, 9) - 4, NULL)); break;
    case TYPE_INT64:
    case TYPE_TIMESTAMP:
        MUST(column_builder_int(b, (int64_t)draw(seed) >> (draw(seed) & 1 ? 61 : 0), NULL));
        break;
    case TYPE_FLOAT32:
    case TYPE_FLOAT64:
        MUST(column_builder_float(b, random_float(seed, t->kind == TYPE_FLOAT32), NULL));
        break;
    case TYPE_VECTOR: random_vector(seed, b, t->width); break;
    case TYPE_SPARSE:
        items = draw_below(seed, 4);
        for (uint32_t i = 0; i < items; i++) {
            MUST(column_builder_int(column_builder_child(b, 0), draw_below(seed, 3), NULL));
            MUST(column_builder_float(column_builder_child(b, 1), random_float(seed, true), NULL));
        }
        MUST(column_builder_end_list(b, NULL));
        break;
    case TYPE_LIST:
        items = draw_below(seed, 5) ? draw_below(seed, 3) : draw_below(seed, 20);
        for (uint32_t i = 0; i < items; i++) {
            random_value(seed, column_builder_child(b, 0), t->item, nulls_of_100);
        }
        MUST(column_builder_end_list(b, NULL));
        break;
    default: random_bytes(seed, b);
    }
}

static inline void random_column(memory *m, uint64_t *seed, const type *t, uint32_t n, column *out) {
    column_builder *b;
    static const uint32_t shares[] = {0, 0, 20, 90};
    uint32_t nulls_of_100 = shares[draw_below(seed, 4)];
    MUST(column_builder_new(m, t, &b, NULL));
    for (uint32_t i = 0; i < n; i++) random_value(seed, b, t, nulls_of_100);
    MUST(column_builder_finish(b, out, NULL));
    column_builder_free(b);
}

#endif
