/* nested.h: the values of lists and sparse columns as bytes, for rows (data/rows.h).
 *
 *   list    uint32 n, n validity bits (1 = not null, rounded up to bytes), then n items: fixed types
 *           side by side, strings as uint32 size and bytes, lists and sparse as these bytes again
 *   sparse  uint32 n, n int32 indices, n float32 values
 * An empty list has no more than its n. Null items have zero bytes, so equal values have equal bytes
 * but for -0.0 and NaN, which are normalised when `is_key`. */
#ifndef DATA_NESTED_H
#define DATA_NESTED_H

#include "data/batch.h"

/* Bytes of value `row` of a list or sparse column. */
size_t nested_bytes(const column *c, uint32_t row);
/* Writes them to `to`, which has room; returns the end. */
uint8_t *nested_encode(const column *c, uint32_t row, bool is_key, uint8_t *to);
/* What hash_bytes gives for the normalised bytes, without room for them. */
uint64_t nested_hash(const column *c, uint32_t row);
/* Whether these bytes are one value of the type, whole. */
bool nested_is_valid(const type *t, const uint8_t *data, size_t size);
/* A column of `t` from n values (size 0: null), which must be valid. Strings in it point into
 * `heap_owner`. */
tw_status nested_decode(memory *m, const type *t, const view *values, uint32_t n, buffer *heap_owner,
                        column *out, tw_error *err);

/* -0.0 becomes 0.0, every NaN the same NaN. */
static inline uint32_t float32_normal_bits(uint32_t bits) {
    uint32_t magnitude = bits & 0x7fffffffu;
    return magnitude == 0 ? 0 : magnitude > 0x7f800000u ? 0x7fc00000u : bits;
}
static inline uint64_t float64_normal_bits(uint64_t bits) {
    uint64_t magnitude = bits & 0x7fffffffffffffffull;
    return magnitude == 0 ? 0 : magnitude > 0x7ff0000000000000ull ? 0x7ff8000000000000ull : bits;
}

#endif
