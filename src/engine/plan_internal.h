/* plan_internal.h: the plan as the planner, the runner and explain see it. */
#ifndef ENGINE_PLAN_INTERNAL_H
#define ENGINE_PLAN_INTERNAL_H

#include "engine/plan.h"

/* A step, source or sink of a flow, for statistics. Counters are added to when a lane lets go. */
typedef struct step_statistics {
    char *flow, *step;
    atomic_uint_fast64_t rows_in, rows_out, busy_ns, blocked_ns;
    atomic_uint_fast64_t active_ns; /* how long pipelines with this step ran, times their workers */
    uint32_t lanes_max;             /* run.workers; 0: no bound */
} step_statistics;

typedef struct pipeline {
    uint32_t id;              /* order of making; later ones lie further downstream or are awaited */
    source *source;           /* NULL once the pipeline has ended */
    int source_step;          /* of the source, which is gone earlier */
    operator_plan **operators;
    uint32_t n_operators;
    sink *feeder;             /* whose rows the source gives; NULL: from outside */
    bool overtaken;           /* they have been in a log on disk that keeps no order */
    sink *sink;
    uint32_t input;           /* which input of the sink */
    uint32_t input_shift;     /* where its number stands in the positions of rows; set by the run */
    schema *first_schema;     /* of the source */
    sink **after;             /* must have finished before it starts */
    uint32_t n_after;
    struct pipeline **also_after; /* must have ended before it starts */
    uint32_t n_also_after;
    bool endless;             /* its splits never end */
    row_order order;          /* that its rows are to keep */
    uint32_t lanes_max;       /* 0: as many as there are workers */
} pipeline;

struct plan {
    char *name;
    pipeline **pipelines;
    uint32_t n_pipelines;
    sink **sinks;             /* each once */
    uint32_t n_sinks;
    step_statistics **steps;
    uint32_t n_steps;
    memory *memory;           /* for what is made while planning */
    bool prints;              /* some sink writes to standard output */
    bool endless;
    /* Of an endless plan: how often a row may take effect when the run is resumed, and why not better. */
    guarantee guarantee;
    const char *weakest;      /* a step's name or a setting; NULL: nothing holds it back */
    bool transacts;           /* sinks write in transactions */
    bool keeps_state;         /* some sink inside does */
    bool keeps_raw;           /* some step writes dead letters */
};

/* Sets those, and adds an error when the job wants more than its parts can hold. */
tw_status plan_guarantee(plan *p, const job *j, error_list *errors);

/* Lanes of the pipeline at work at once: what run.workers bounds, and such that blocks and batches of all
 * fit a quarter of the budget. */
uint32_t pipeline_lanes_max(const pipeline *p, uint32_t parallelism, size_t memory_bytes);

/* Frees sources, operators and sinks, which hold memory of the run; the steps and names stay. */
void plan_drop_parts(plan *p);

/* Columns nobody reads are not made: asks operators and sinks from the end to the sources. */
tw_status plan_prune(plan *p, tw_error *err);

#endif
