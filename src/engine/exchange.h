/* exchange.h: rows scattered to partitions, kept in memory while the budget lasts and on disk after.
 *
 * The one place where rows move between partitions: below group, distinct, join and sort. Any number
 * of threads append; they hold no lock while they write rows. When memory is short the largest
 * partitions write their full blocks to the spill file, and when that is not enough the open ones.
 * After `exchange_seal` partitions are read, by one thread each; a partition too large to handle is
 * split again by `exchange_repartition`. */
#ifndef ENGINE_EXCHANGE_H
#define ENGINE_EXCHANGE_H

#include "engine/spill.h"

typedef struct exchange exchange;

/* n_partitions: 1..4096. block_bytes 0: chosen from the memory limit, 4 KiB..256 KiB. The layout must
 * outlive the exchange; so must `m` and `s`. Registers a memory_spiller. */
tw_status exchange_create(memory *m, spill *s, const row_layout *l, uint32_t n_partitions,
                          size_t block_bytes, exchange **out, tw_error *err);
void exchange_free(exchange *x);

/* Row i of the columns goes to partition to[i], with headers[i] (a hash or a position; NULL: zeros) in
 * its header and, when the layout has extra bytes, those at extra + i * extra_stride (NULL: zeros).
 * Makes room by itself. An error (TW_ERR_MEMORY: nothing is left to spill; TW_ERR_IO: the disk;
 * TW_ERR_DATA: a row of 4 GiB) is final: some of the rows may be in, and the exchange can only be
 * freed. The caller must hold no lock that a spiller takes. */
tw_status exchange_append(exchange *x, const column *columns, uint32_t n, const uint32_t *to,
                          const uint64_t *headers, const uint8_t *extra, size_t extra_stride,
                          tw_error *err);
/* The same for rows that are encoded already (pre-aggregated groups, rows moving on): rows[i] of the
 * exchange's layout, header and extra included; long bytes are copied. */
tw_status exchange_append_rows(exchange *x, const uint8_t *const *rows, uint32_t n, const uint32_t *to,
                               tw_error *err);

/* What is in a partition now; blocks that were taken do not count. Exact once sealed. */
uint64_t exchange_rows(exchange *x, uint32_t partition);
uint64_t exchange_partition_bytes(exchange *x, uint32_t partition);   /* rows and heaps, anywhere */
uint64_t exchange_partition_spilled(exchange *x, uint32_t partition); /* those on disk */

/* No append may follow. */
void exchange_seal(exchange *x);

/* Takes the blocks of a partition, the spilled ones too, one by one, in no order; each is the
 * caller's (row_block_free). TW_END after the last. A block read from disk is charged to MEMORY_STATE. One thread per partition at a time. Taken blocks are gone from the exchange.
 * Also allowed before the seal: takes what is there now, without blocks that are being written (for
 * merging while upstream still runs). */
tw_status exchange_take(exchange *x, uint32_t partition, row_block **out, tw_error *err);
/* Puts an unfinished block back. */
void exchange_give_back(exchange *x, uint32_t partition, row_block *b);

/* Shows all blocks, those on disk read back, and changes nothing; some at a time. Nobody may append meanwhile. */
typedef tw_status (*exchange_visit)(void *context, const row_block *const *blocks, uint32_t n, tw_error *err);
tw_status exchange_each(exchange *x, exchange_visit visit, void *context, tw_error *err);

/* Chooses a partition of the new exchange for each row. */
typedef void (*exchange_route)(void *context, const uint8_t *const *rows, uint32_t n, uint32_t *to);
/* Takes all blocks of a partition and appends their rows to `into` (same layout), block by block. */
tw_status exchange_repartition(exchange *from, uint32_t partition, exchange *into, exchange_route route,
                               void *context, tw_error *err);

#endif
