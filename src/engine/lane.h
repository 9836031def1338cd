/* lane.h: one worker's private instance of a pipeline: operators, sink writer, and the split at hand.
 * Run by one worker at a time; may be parked between any two batches and resumed by another. A call
 * that fails for a passing reason is repeated later, so that the worker can do something else
 * meanwhile: what other lanes let go of may be what is missing. */
#ifndef ENGINE_LANE_H
#define ENGINE_LANE_H

#include "engine/plan_internal.h"

typedef enum lane_outcome {
    LANE_FAILED,    /* err is set */
    LANE_SPLIT_END, /* idle: wants another split */
    LANE_WAITS,     /* no credit or no input: park it until run_wake */
    LANE_YIELDS,    /* there is more urgent work; resume it soon */
    LANE_RETRIES,   /* a call failed, which may pass: resume it at resume_ns */
    LANE_OPENED,    /* lane_open alone: it has its split */
    LANE_NO_SPLIT   /* lane_open alone: that was past the last one */
} lane_outcome;

/* What its run says about a lane's sink. */
typedef struct sink_gate {
    atomic_bool unwanted; /* nobody reads what the sink collects any more */
    atomic_uint epoch;    /* the sink takes batches up to this one */
} sink_gate;

typedef struct lane {
    pipeline *pipeline;
    run_context *run;
    const sink_gate *gate;
    reader *reader;
    batch_order order;    /* position: of the next row to be pushed */
    operator **operators;
    batch **pending;      /* pending[i]: the batch operator i is working on */
    batch **whole;        /* whole[i]: the batch of which that is a part, because it failed; else NULL */
    uint32_t *taken;      /* taken[i]: its rows that are done with */
    uint32_t piece_rows;  /* with a goal for latency: the first operator takes so many rows at a time, */
    uint32_t piece;       /* now these, */
    uint64_t piece_ns;    /* which have taken so long by now, sink included */
    batch *ready;         /* at the sink's door */
    sink_writer *writer;
    uint64_t parked_ns;   /* since when it waits for the sink; 0: it does not */
    uint64_t *rows_in, *rows_out, *busy_ns; /* [0]: source, [1 + i]: operators, [n + 1]: sink */
    uint64_t blocked_ns;
    uint64_t resume_ns;   /* after LANE_RETRIES */
    unsigned tries;       /* failures in a row */
    bool prepared;        /* operators and writer are open */
    bool opened;          /* it has a split */
    struct lane *next;
} lane;

/* An idle lane, which holds nothing yet. */
tw_status lane_new(pipeline *p, run_context *run, const sink_gate *gate, lane **out, tw_error *err);
/* Opens split order.split; operators and writer too if this is its first. LANE_WAITS: it is not there
 * yet. */
lane_outcome lane_open(lane *l, tw_error *err);
lane_outcome lane_run(lane *l, const atomic_bool *yield, tw_error *err);
/* Adds what it counted to the steps. Once. */
void lane_count(const lane *l, step_statistics **steps);
/* Flushes, counts and frees it; the lane is gone either way. */
tw_status lane_close(lane *l, step_statistics **steps, tw_error *err);
/* Frees it without flushing. */
void lane_drop(lane *l);

#endif
