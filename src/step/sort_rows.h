/* sort_rows.h: puts the rows of one range, which all are in memory, in order. */
#ifndef STEP_SORT_ROWS_H
#define STEP_SORT_ROWS_H

#include "step/sort_split.h"

/* Bytes of scratch for n rows; SIZE_MAX: too many. */
size_t sort_rows_scratch_bytes(uint64_t n);
/* The rows of the blocks, at most 2^32 - 1. *out: that many pointers in order, somewhere in `scratch`
 * (64-byte aligned, of the size above). When `cancelled` becomes true the order is any. */
void sort_rows(const sort_order *o, row_block *const *blocks, size_t n_blocks, uint8_t *scratch,
               const atomic_bool *cancelled, const uint8_t *const **out);

#endif
