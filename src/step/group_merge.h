/* group_merge.h: the partitions of a split, merged: what a source of groups reads. What does not fit is split
 * by further bits of the hash and merged piece by piece. Used by one thread at a time. */
#ifndef STEP_GROUP_MERGE_H
#define STEP_GROUP_MERGE_H

#include "step/group_store.h"

typedef struct group_merge group_merge;

tw_status group_merge_open(group_store *s, uint64_t split, group_merge **out, tw_error *err);
void group_merge_free(group_merge *m); /* NULL is allowed */
/* Up to `most` groups; the same ones until group_merge_advance. *heap, which the merge owns, keeps what their
 * views point to. TW_END after the last. After TW_ERR_IO it may be called again. */
tw_status group_merge_rows(group_merge *m, uint32_t most, const uint8_t **rows, uint32_t *n, buffer **heap, tw_error *err);
void group_merge_advance(group_merge *m, uint32_t n);
/* The table where the groups that come next are complete, the first *n of it: they may be changed there. TW_END as above;
 * group_merge_skip goes on behind them. */
tw_status group_merge_table(group_merge *m, group_table **out, uint64_t *n, tw_error *err);
void group_merge_skip(group_merge *m);

#endif
