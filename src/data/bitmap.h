/* bitmap.h: validity bitmaps of columns: the lowest bit of word 0 is row 0. */
#ifndef DATA_BITMAP_H
#define DATA_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/cpu_level.h"

static inline size_t bitmap_words(size_t rows) { return (rows + 63) / 64; }

/* Bits [from, from + n) of `in` to bits [to, to + n) of `out`, whose other bits stay. */
void bitmap_copy(const uint64_t *in, size_t from, uint64_t *out, size_t to, size_t n);
/* Bit i of `out` becomes bit rows[i] of `in`, or 0 where rows[i] is UINT32_MAX; `in` NULL: all 1. Bits
 * past n in the last word become 1. Says whether any bit is 0. */
bool bitmap_gather(const uint64_t *in, const uint32_t *rows, size_t n, uint64_t *out);
/* The same with a kernel of the test's choice; the level must be there. */
bool bitmap_gather_level(cpu_level level, const uint64_t *in, const uint32_t *rows, size_t n, uint64_t *out);

#endif
