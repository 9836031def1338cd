/* join_internal.h: the state that the parts of a join share.
 *
 *   right flow --> join_build.c (sink): rows by hash into partitions, in memory or spilled
 *   left flow  --> join_probe.c (operator): tables over the partitions that fit, made by the first
 *                  workers that come; rows of other partitions are put aside, by the same hash
 *   then       --> join_rest.c (source): the pairs of partitions that did not fit, a split each, and
 *                  rows of the right side that nobody matched
 *
 * A hybrid hash join (DeWitt et al., "Implementation Techniques for Main Memory Database Systems", 1984)
 * whose share in memory is chosen when the right side is complete. */
#ifndef STEP_JOIN_INTERNAL_H
#define STEP_JOIN_INTERNAL_H

#include <pthread.h>

#include "engine/exchange.h"
#include "engine/pipeline.h"
#include "step/join_table.h"

typedef enum join_kind { JOIN_INNER, JOIN_LEFT, JOIN_RIGHT, JOIN_FULL, JOIN_SEMI, JOIN_ANTI } join_kind;

enum { LEFT, RIGHT };

typedef struct join_side {
    schema *schema;
    uint32_t *keys;      /* columns of `schema`; in join.n_keys */
    /* From the start of the run on: */
    row_layout *layout;  /* keys, then the other columns that someone needs */
    uint32_t *columns;   /* of `schema`; layout->n */
    uint8_t *null_row;   /* a row of nulls */
    exchange *rows;      /* right: all; left: those put aside, NULL if there are none */
} join_side;

/* Where a column of the output comes from. */
typedef struct join_column {
    uint8_t side;   /* of a key: LEFT */
    bool is_key;    /* then `field` is the number of the key, in both layouts */
    bool needed;    /* by whoever comes after */
    uint32_t from;  /* column of the side's schema */
    uint32_t field; /* of its layout, from the start of the run on; if needed */
} join_column;

/* How far apart the times of partners may be: that of the right side is from `before` before to `after` after the left's. */
typedef struct join_range {
    int64_t before, after; /* microseconds, at least 0 */
    int64_t lateness;
} join_range;

typedef struct range_join range_join;

typedef enum join_phase { JOIN_COLLECTS, JOIN_PLANS, JOIN_LOADS, JOIN_READY, JOIN_FAILED } join_phase;

typedef struct join {
    sink sink;
    operator_plan plan;
    source source;
    atomic_uint owners; /* of these three */
    join_kind kind;
    uint32_t n_keys;
    join_side sides[2];
    join_column *columns; /* of the output */
    schema *out;
    bool asked;           /* somebody has told what is needed */
    char *words;          /* for explain */
    run_context *run;
    range_join *range;    /* within a time range; NULL: at any time */
    uint32_t batch_rows;  /* of the output, at most: fewer than the run's when rows are wide */
    unsigned bits;        /* partition = the hash's upper bits */
    uint32_t n_partitions; /* the right side has one more: rows with a null key */

    /* What follows belongs to join_load.c, and is read-only once `phase` is JOIN_READY. */
    atomic_int phase;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    tw_error failure;
    uint32_t *chosen;     /* partitions to load; then those that are splits of the source */
    uint32_t n_chosen, next, loaded;
    size_t budget;        /* for tables and their rows */
    atomic_size_t held;   /* of it */
    bool short_of_memory; /* something was spilled */
    row_table *tables;    /* n_partitions */
    uint8_t *later;       /* n_partitions: its rows are put aside */
    bool live;            /* the left side never ends: nothing can be put aside */
    bool any_later, any_rows, has_duplicates;
    bool resting;         /* the last pipeline began: no other works with the join any more */
    row_block **blocks;   /* n_partitions lists: rows of the tables */
    buffer *slots, *heap; /* of all tables */
} join;

static inline uint32_t join_partition(const join *j, uint64_t hash) { return (uint32_t)(hash >> (64 - j->bits)); }
static inline bool join_keeps_left(const join *j) { return j->kind == JOIN_LEFT || j->kind == JOIN_FULL; }
static inline bool join_keeps_right(const join *j) { return j->kind == JOIN_RIGHT || j->kind == JOIN_FULL; }
static inline bool join_filters(const join *j) { return j->kind == JOIN_SEMI || j->kind == JOIN_ANTI; }

/* ---- join_build.c ---- */

extern const sink_class join_sink_class;
void join_release(join *j); /* by one of its owners */
/* What both ways to join begin with: layouts, with so many bytes of extra, and the size of batches. */
tw_status join_start(join *j, run_context *run, uint32_t extra_bytes, tw_error *err);
/* Columns of a side's schema that the keys and the output take. */
void join_needs(const join *j, unsigned side, bool *needed);

/* Rows on their way into one side's partitions; one thread's. */
typedef struct join_scatter {
    join *join;
    unsigned side;
    column *columns;  /* as the layout has them */
    uint32_t capacity;
    uint32_t *to;     /* the partition of the k-th row that is appended, */
    uint64_t *hashes; /* and its hash: for the caller to fill */
    tw_error failure; /* once set, the rows are not whole any more */
} join_scatter;
void join_scatter_init(join_scatter *s, join *j, unsigned side);
tw_status join_scatter_reserve(join_scatter *s, uint32_t rows, tw_error *err);
/* Appends rows some[0..n) (NULL: the first n) of a batch. All or nothing, but for what s->failure
 * tells, which is what every later call says too. */
tw_status join_scatter_append(join_scatter *s, const batch *b, const uint32_t *some, uint32_t n, tw_error *err);
void join_scatter_clear(join_scatter *s);
/* Puts the key columns of a batch side by side. */
void join_key_columns(const join *j, unsigned side, const batch *b, column *out);
/* The rows without a null key, if there are any with one: true. */
bool join_valid_rows(const column *keys, uint32_t n_keys, uint32_t n, uint32_t *out, uint32_t *n_out);

/* ---- join_load.c ---- */

/* Makes the tables, together with other threads that call it; waits until all are there. What fails
 * once fails for all. */
tw_status join_load(join *j, tw_error *err);
void join_unload_tables(join *j); /* frees them and their rows; who is in memory stays known */
void join_unload(join *j);        /* frees all rows */

/* ---- join_probe.c, join_rest.c ---- */

extern const operator_class join_probe_class;
extern const source_class join_rest_class;

/* ---- join_range.c: a join within a time range has only these two parts ---- */

/* times: columns of the sides; n_left: how many pipelines the left side has. Sets the join's sink and source up. */
tw_status range_join_new(join *j, const join_range *range, const uint32_t times[2], uint32_t n_left, tw_error *err);
void range_join_free(range_join *r); /* NULL is allowed */

/* Slots for a table over `rows`, charged to MEMORY_STATE, after others have spilled if need be. */
tw_status join_slots(memory *m, uint64_t slots, buffer **out, tw_error *err);
/* One handle on the heaps of a list of blocks. */
tw_status join_heaps(row_block *const *lists, uint32_t n_lists, buffer **out, tw_error *err);

#endif
