/* queue.h: a bounded queue of batches between two pipelines that run side by side: before a costly
 * step any idle worker takes the next batch; `limit` is one that closes after N rows. Batches leave in
 * row order, each as a split of its own. */
#ifndef ENGINE_QUEUE_H
#define ENGINE_QUEUE_H

#include "engine/plan.h"

/* In row order, one batch at a time: the watermarks before it, of its partition and the least of the others;
 * returns the one after it. */
typedef int64_t (*queue_stamp)(void *context, const batch *b, uint32_t partition, int64_t *own, int64_t *others);

/* In row order, one batch at a time, after its stamp: which of its rows go on, into rows[b->rows], *n of them. Failures
 * are final. */
typedef struct queue_times {
    uint32_t partition;
    int64_t own, others; /* as the stamp gave them */
} queue_times;
typedef tw_status (*queue_pick)(void *context, run_context *run, const batch *b, const queue_times *at, uint32_t *rows, uint32_t *n,
                                tw_error *err);

typedef struct queue_options {
    const char *name;     /* for explain */
    bool is_step;         /* it is the step that is being built, not one between steps */
    uint64_t rows_max;    /* all rows that pass in a run; UINT64_MAX: no limit */
    uint32_t piece_rows;  /* batches are cut to this many rows; 0: not cut */
    schema *logs;         /* of the rows: those that nobody has time for wait on disk; NULL: who fills it waits. Without
                           * what follows, and rows_max */
    queue_stamp stamp;    /* makes the watermarks of what follows; NULL: they are those of what comes */
    int64_t (*tick)(void *context, uint64_t now_ns); /* now and then: the watermark, which may have moved without rows; never
                           * while a batch is between its stamp and its place */
    uint64_t tick_ns;     /* how often; 0: never */
    queue_pick pick;      /* NULL: all rows go on */
    bool keeps_state;     /* `pick` does, from epoch to epoch */
    void *context;        /* of all that follow, each of which may be NULL; taken over when there is `free` */
    void (*free)(void *context); /* with the queue */
    tw_status (*start)(void *context, run_context *run, tw_error *err);
    tw_status (*finish)(void *context, tw_error *err); /* nothing more will come */
    tw_status (*save)(void *context, struct saved_part *to, tw_error *err); /* with an epoch */
    tw_status (*load)(void *context, run_context *run, const struct saved_part *from, int64_t *watermark, tw_error *err);
    void (*shape)(const void *context, char *out, size_t capacity);
    void (*needs)(void *context, bool *needed); /* columns that stamp and pick look at */
    void (*describe)(const void *context, char *out, size_t capacity);
} queue_options;

/* Both ends, for stream_break. They share one state. */
tw_status queue_create(queue_options options, uint32_t n_columns, sink **out_sink, source **out_source,
                       tw_error *err);

/* Puts one into a stream. `context` is taken over, also on failure. */
tw_status stream_queue(stream *s, queue_options options, tw_error *err);

#endif
