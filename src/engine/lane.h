/* lane.h: one worker's private instance of a pipeline: operators, sink writer, and the split at hand.
 * Run by one worker at a time; may be parked between any two batches and resumed by another. */
#ifndef ENGINE_LANE_H
#define ENGINE_LANE_H

#include "engine/plan_internal.h"

typedef enum lane_outcome {
    LANE_FAILED,    /* err is set */
    LANE_SPLIT_END, /* idle: wants another split */
    LANE_WAITS,     /* no credit or no input: park it until run_wake */
    LANE_YIELDS     /* there is more urgent work; resume it soon */
} lane_outcome;

typedef struct lane {
    pipeline *pipeline;
    run_context *run;
    reader *reader;
    batch_order order;    /* position: of the next row to be pushed */
    operator **operators;
    batch **pending;      /* pending[i]: the batch operator i is working on */
    batch *ready;         /* at the sink's door */
    sink_writer *writer;
    uint64_t parked_ns;   /* since when it waits for the sink; 0: it does not */
    uint64_t *rows_in, *rows_out, *busy_ns; /* [0]: source, [1 + i]: operators, [n + 1]: sink */
    uint64_t blocked_ns;
    struct lane *next;
} lane;

tw_status lane_open(pipeline *p, run_context *run, lane **out, tw_error *err);
/* Gives it a split, opened by the caller. */
void lane_begin(lane *l, reader *r, uint64_t split);
lane_outcome lane_run(lane *l, const atomic_bool *yield, tw_error *err);
/* Flushes and frees it; the lane is gone either way. */
tw_status lane_close(lane *l, step_statistics **steps, tw_error *err);
/* Frees it without flushing. */
void lane_drop(lane *l);

#endif
