/* sort_internal.h: the state of one sort, which its sink (sort_sink.c) and its source (sort_source.c)
 * share.
 *
 * Rows are first collected in the stage, one partition in no order, until there are enough for a fair
 * sample or no more come. The sample cuts the order into ranges, the stage's rows move there, and all
 * others go there at once. What memory does not hold the exchanges write to disk. Then the ranges are
 * read in order, each sorted in memory by one worker. A range that is too large, and a stage that never
 * was cut, is first cut into smaller ones by all workers that come along. */
#ifndef STEP_SORT_INTERNAL_H
#define STEP_SORT_INTERNAL_H

#include "engine/exchange.h"
#include "engine/pipeline.h"
#include "step/sort_split.h"

/* Ranges side by side: the partitions of an exchange. */
typedef struct sort_level {
    exchange *x;               /* NULL when all its ranges have been read */
    sort_splitters *splitters; /* NULL: one range */
    uint32_t n_ranges, unread;
    struct sort_level *next;
} sort_level;

typedef struct sort_range {
    sort_level *level;
    uint32_t partition;
    uint64_t rows, bytes;
    const sort_sample *from, *to; /* splitters of some level; NULL: no bound */
    struct sort_range *next;
} sort_range;

/* A range that is being cut into the ranges of a new level. */
typedef struct sort_cut {
    sort_range *range;
    sort_level *into;
    pthread_mutex_t take;
    uint32_t workers;
    bool drained;
} sort_cut;

typedef struct sort_state {
    sink sink;
    source source;
    atomic_uint owners;   /* the two */
    schema *schema;
    sort_key *keys;
    uint32_t n_keys;
    uint64_t limit;       /* UINT64_MAX: all rows */
    bool *needed;         /* downstream, of the schema's columns */

    /* Set by start. */
    run_context *run;
    sort_order order;
    row_layout *layout, *sample_layout;
    uint32_t *fields, *sample_fields;
    uint32_t *columns;    /* of the schema, by field */
    uint32_t n_output;    /* fields [0, n_output) are wanted downstream, the rest are keys only */
    size_t stage_bytes_max, range_bytes_max;
    uint32_t ranges_max;
    sort_samples samples;
    bool started;

    pthread_mutex_t lock; /* for what follows; no spiller takes it */
    pthread_cond_t changed;
    sort_level *stage;
    _Atomic(sort_level *) ranges; /* NULL until the stage is cut */
    uint32_t staging;     /* pushes that write to the stage */
    bool cutting, failed;
    _Atomic(sort_level *) levels; /* all there are, to be freed */
    /* With a limit: ranges from `ranges_wanted` on have `limit` rows before them. */
    atomic_uint ranges_wanted;
    atomic_uint_fast64_t rows_unchecked;

    /* The source's. */
    sort_range *first;    /* still to be read, in order */
    sort_cut *cut;
    uint64_t rank;        /* rows of the ranges before the first */
} sort_state;

/* A sink and the source behind it. Takes over `keys` (malloc), also on failure. */
tw_status sort_create(schema *s, sort_key *keys, uint32_t n_keys, uint64_t limit, sink **out_sink,
                      source **out_source, tw_error *err);

/* A level with a new exchange and the splitters, which it takes over (NULL: one range). */
tw_status sort_level_new(sort_state *s, sort_splitters *splitters, sort_level **out, tw_error *err);
/* Moves the rows of a block to their ranges. An error is final. */
tw_status sort_scatter_block(sort_state *s, const row_block *b, sort_level *into, tw_error *err);
/* The level's ranges in order, before *first. Each bound is that of `whole` (NULL: none) at the ends. */
tw_status sort_list_ranges(sort_level *level, const sort_range *whole, sort_range **first, tw_error *err);
/* Rows of an exchange that an error left half filled are lost: such an error must not be retried. */
tw_status sort_final(tw_status status);

void sort_state_release(sort_state *s);
void sort_free_levels(sort_state *s);

extern const sink_class sort_sink_class;
extern const source_class sort_source_class;

#endif
