/* group_store.h: groups on their way: lanes that combine rows in tables of their own, and an exchange where
 * the tables' groups meet, by the top bits of their hash. What group_state.c is made of. */
#ifndef STEP_GROUP_STORE_H
#define STEP_GROUP_STORE_H

#include "engine/exchange.h"
#include "engine/pipeline.h"
#include "step/group_table.h"

#define GROUP_PARTITIONS 256u
#define GROUP_SUB_PARTITIONS 64u /* of one that is split again */

typedef struct group_store {
    group_shape *shape;       /* owned */
    run_context *run;
    exchange *exchange;
    size_t table_bytes_max;   /* of a lane's table */
    size_t merged_bytes_max;  /* of a table of merged groups */
    uint32_t depth_max;       /* how often a partition may be split again: as far as the hash tells groups apart */
    uint32_t *first_partition; /* of each split; n_splits + 1 */
    uint64_t n_splits, rows;  /* known once sealed */
} group_store;

/* Tables of `lane_tables` stores live side by side in a lane. */
tw_status group_store_start(group_store *s, run_context *run, uint32_t lane_tables, tw_error *err);
/* No lane will flush any more: splits partitions into pieces of work. */
tw_status group_store_seal(group_store *s, tw_error *err);
void group_store_clear(group_store *s); /* frees what it holds */

/* A table whose groups go to an exchange when it is full. Used by one thread at a time. */
typedef struct group_lane {
    group_store *store;
    group_table table;
    uint64_t rows_since_flush;
    uint32_t flushes_apart; /* left, before rows are combined again to see whether it is worth it */
    bool thin;    /* rows hardly ever meet their group again: flush early, stay in the cache */
    bool checked; /* since the last flush, whether it should be */
    struct flush_scratch *scratch;
} group_lane;

tw_status group_lane_init(group_lane *l, group_store *s, tw_error *err);
void group_lane_clear(group_lane *l);
/* Adds all rows. After an error, which is final, some are in. */
tw_status group_lane_add(group_lane *l, const group_input *in, tw_error *err);
tw_status group_lane_flush(group_lane *l, tw_error *err);

/* Rows of the store's layout, at most 1024. */
tw_status group_store_append(group_store *s, const uint8_t *const *rows, uint32_t n, tw_error *err);

/* ---- going on after a stop ---- */

/* Everything that was added so far, as frames with a tag; nothing changes, and nobody adds meanwhile. */
tw_status group_store_save(group_store *s, struct saved_part *to, int64_t tag, tw_error *err);
tw_status group_lane_save(group_lane *l, struct saved_part *to, int64_t tag, tw_error *err);
/* Adds what frame `frame` holds. */
tw_status group_store_load(group_store *s, const struct saved_part *from, uint32_t frame, tw_error *err);

/* ---- for group_merge.c ---- */

#define GROUP_DEPTH_MAX 7u /* of splitting a partition again */

/* Copies the table's groups from number `first` on into an exchange, by the bits of their hash that belong to this
 * depth (0: the store's). An error is final. */
tw_status group_table_flush(group_table *t, uint64_t first, exchange *to, uint32_t depth, struct flush_scratch *scratch,
                            tw_error *err);
struct flush_scratch *flush_scratch_new(void);
/* After TW_END of a table: whether anything came of it since the last time. */
tw_status group_table_stuck(const group_progress *before, const group_progress *now, tw_error *err);

#endif
