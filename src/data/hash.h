/* hash.h: hashes of values, the same in every build and on every machine. High and low bits are
 * equally good. Not keyed: no protection against chosen input. */
#ifndef DATA_HASH_H
#define DATA_HASH_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data/batch.h"

#define HASH_START 0x9e3779b97f4a7c15ull /* of no columns at all */
#define HASH_NULL 0x7b1f2c9d04e8a653ull  /* the word of a null */

/* The halves of the 128-bit product, xored: the mixing step of Wang Yi, "wyhash", 2019. */
static inline uint64_t hash_multiply(uint64_t a, uint64_t b) {
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}
/* The hash of (columns so far, one more), from that one's word. */
static inline uint64_t hash_add(uint64_t hash, uint64_t word) {
    return hash_multiply(word ^ 0x2d358dccaa6c78a5ull, hash);
}
/* After the last column: one multiplication alone would tie the low bits of values that follow each
 * other to their high ones. */
static inline uint64_t hash_finish(uint64_t hash) {
    hash = (hash ^ hash >> 32) * 0x9fb21c651e98df25ull;
    return hash ^ hash >> 32;
}
static inline uint64_t hash_int(int64_t value) {
    return hash_finish(hash_add(HASH_START, (uint64_t)value));
}

/* The words of values longer than 8 bytes. */
static inline uint64_t hash_bytes(const uint8_t *data, size_t size) {
    return XXH3_64bits(data, size);
}
static inline uint64_t hash_view(const view *v) {
    if (v->size > VIEW_SMALL_MAX) return hash_bytes(v->data, v->size);
    uint64_t words[2];
    memcpy(words, v, 16);
    return hash_multiply(words[0] ^ 0x8bb84b93962eacc9ull, words[1] ^ 0x4b33a62ed433d4a3ull);
}

#endif
