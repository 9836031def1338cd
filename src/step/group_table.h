/* group_table.h: groups by key: a hash table of rows that hold keys and aggregate states.
 *
 * Buckets of eight are a cache line of 16 bits of each hash and pointers to rows that never move, so growing
 * rehashes buckets alone. While the keys of some rows are compared, the lines of rows to come are on their way (Chen et
 * al., "Improving Hash Join Performance through Prefetching", 2004). A hash is used from the top for
 * partitions, from the bottom for buckets. Used by one thread at a time. */
#ifndef STEP_GROUP_TABLE_H
#define STEP_GROUP_TABLE_H

#include "step/aggregate.h"

#define GROUP_STEP 512u    /* rows that are found, then added */

/* What all tables of a step share; immutable after planning. */
typedef struct group_shape {
    row_layout *layout;     /* keys, then a binary field for each aggregate with a view; states in extra */
    row_layout *key_layout; /* the keys alone, at the same offsets */
    bool keys_need_heap;    /* some keys cannot be encoded in place: lists, wide vectors */
    uint32_t n_keys;
    aggregate *aggregates;
    uint32_t n_aggregates;
    uint32_t count_offset;  /* of the state of a count of rows, which is added to while groups are found; 0: none */
} group_shape;

tw_status group_shape_new(const type *const *keys, uint32_t n_keys, aggregate *aggregates, uint32_t n_aggregates,
                          group_shape **out, tw_error *err); /* takes over `aggregates` (malloc) on success */
void group_shape_free(group_shape *s);

typedef struct group_table {
    const group_shape *shape;
    arena_rows rows;
    buffer *buckets;
    uint64_t mask;          /* of them */
    size_t bytes_max;       /* full when it would take more, */
    uint64_t groups_max;    /* or has so many: then it must be emptied */
    bool keeps_one;         /* a group alone may take more */
    bool apart;             /* each row becomes a group, equal ones too: no buckets. Set while there are none */
    uint8_t *scratch;       /* GROUP_STEP encoded keys */
    uint8_t **scratch_rows;
    buffer *scratch_heap;
} group_table;

tw_status group_table_init(group_table *t, const group_shape *s, memory *m, size_t bytes_max, tw_error *err);
void group_table_destroy(group_table *t);
void group_table_reset(group_table *t); /* no groups, least memory */
void group_table_rewind(group_table *t); /* no groups, but their memory is kept for the next */
/* Room for so many groups at once, if that is not too large; only makes it faster. */
void group_table_expect(group_table *t, uint64_t groups);
static inline size_t group_table_bytes(const group_table *t) { return t->rows.bytes + (t->buckets ? t->buckets->capacity : 0); }

/* Rows of a batch. */
typedef struct group_input {
    const column *columns;  /* keys first, then the aggregates' inputs */
    const uint64_t *hashes; /* n */
    uint32_t n;
    uint64_t position;      /* of row 0 */
    const column *tags;     /* NULL: rows go to all aggregates but count_distinct. Else int32: each row counts
                             * for the count_distinct of its tag, for nothing else */
} group_input;

/* How far an add or a merge has come; starts as zeros. */
typedef struct group_progress {
    uint32_t rows;      /* all of whose aggregates are done */
    uint32_t step;      /* not 0: as many come next, that have been counted but not given to the aggregates */
    uint32_t aggregate; /* from this one on, */
    uint32_t row;       /* which has had so many of them */
} group_progress;

/* Adds the rows from `progress` on. TW_END: the table is full; its groups must go to where they are merged and
 * the table be reset, then the call is repeated. Other errors are final. */
tw_status group_table_add(group_table *t, const group_input *in, group_progress *progress, tw_error *err);
/* Merges n rows of other tables, which lie side by side, with the same meaning of TW_END. */
tw_status group_table_merge(group_table *t, const uint8_t *rows, uint32_t n, group_progress *progress, tw_error *err);

#endif
