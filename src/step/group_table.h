/* group_table.h: groups by key: a hash table of rows that hold keys and aggregate states.
 *
 * Slots are 8 bytes: 16 bits of the hash and a pointer to a row that never moves, so growing rehashes
 * slots alone. Rows are found in groups of GROUP_STEP with their cache misses overlapped (Chen et al.,
 * "Improving Hash Join Performance through Prefetching", 2004). A hash is used from the top for
 * partitions, from the bottom for slots. Used by one thread at a time. */
#ifndef STEP_GROUP_TABLE_H
#define STEP_GROUP_TABLE_H

#include "step/aggregate.h"

#define GROUP_STEP 512u

/* What all tables of a step share; immutable after planning. */
typedef struct group_shape {
    row_layout *layout;     /* keys, then a binary field for each aggregate with a view; states in extra */
    row_layout *key_layout; /* the keys alone, at the same offsets */
    uint32_t n_keys;
    aggregate *aggregates;
    uint32_t n_aggregates;
} group_shape;

tw_status group_shape_new(const type *const *keys, uint32_t n_keys, aggregate *aggregates, uint32_t n_aggregates,
                          group_shape **out, tw_error *err); /* takes over `aggregates` (malloc) on success */
void group_shape_free(group_shape *s);

typedef struct group_table {
    const group_shape *shape;
    arena_rows rows;
    buffer *slots;
    uint64_t mask;
    uint8_t *scratch;       /* GROUP_STEP encoded keys */
    uint8_t **scratch_rows;
} group_table;

/* may_make_room: asks other states to spill before it refuses. */
tw_status group_table_init(group_table *t, const group_shape *s, memory *m, bool may_make_room, tw_error *err);
void group_table_destroy(group_table *t);
void group_table_reset(group_table *t); /* no groups, least memory */
static inline size_t group_table_bytes(const group_table *t) { return t->rows.bytes + (t->slots ? t->slots->capacity : 0); }

/* Adds rows [first, first + n), n <= GROUP_STEP, of columns: keys first, then the aggregates' inputs.
 * TW_ERR_MEMORY: refused, and nothing was added; other errors are final. */
tw_status group_table_add(group_table *t, const column *columns, const uint64_t *hashes, uint32_t first, uint32_t n,
                          uint64_t position, tw_error *err);
/* Merges n <= GROUP_STEP rows of another table (in a block). */
tw_status group_table_merge(group_table *t, const uint8_t *const *rows, uint32_t n, tw_error *err);

#endif
