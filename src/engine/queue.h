/* queue.h: a bounded queue of batches between two pipelines that run side by side: before a costly
 * step any idle worker takes the next batch; `limit` is one that closes after N rows. Batches leave in
 * row order, each as a split of its own. */
#ifndef ENGINE_QUEUE_H
#define ENGINE_QUEUE_H

#include "engine/plan.h"

typedef struct queue_options {
    const char *name;     /* for explain */
    uint64_t rows_max;    /* all rows that pass in a run; UINT64_MAX: no limit */
    uint32_t piece_rows;  /* batches are cut to this many rows; 0: not cut */
} queue_options;

/* Both ends, for stream_break. They share one state. */
tw_status queue_create(queue_options options, uint32_t n_columns, sink **out_sink, source **out_source,
                       tw_error *err);

#endif
