/* run_internal.h: the state of a run, shared by run.c (from create to free) and schedule.c (its workers). */
#ifndef ENGINE_RUN_INTERNAL_H
#define ENGINE_RUN_INTERNAL_H

#include <pthread.h>

#include "base/histogram.h"
#include "engine/frontier.h"
#include "engine/lane.h"
#include "engine/poller.h"
#include "engine/run.h"

typedef enum phase {
    PHASE_WAITING,  /* for sinks and pipelines before it */
    PHASE_STARTING, /* a worker is in start() */
    PHASE_RUNNING,  /* splits are handed out */
    PHASE_DRAINING, /* no more splits; lanes still work on theirs */
    PHASE_CLOSING,  /* lanes are flushed and freed */
    PHASE_ENDED
} phase;

typedef struct sink_state {
    sink *sink;
    uint32_t n_inputs, inputs_left;
    uint32_t readers_left;  /* pipelines not ended that need what it collects; 0 at first: it is external */
    bool finished;
    sink_gate gate;         /* unwanted: all who would read it have ended */
    bool advancing;         /* somebody tells it about a mark */
    mark told;
    char *id;               /* in checkpoints */
} sink_state;

typedef struct pipeline_state {
    pipeline *pipeline;
    phase phase;
    uint32_t n_awaited;     /* sinks to finish and pipelines to end before it starts */
    sink_state *sink;
    sink_state **reads;     /* each once */
    uint32_t n_reads;
    uint64_t n_splits, next_split;
    uint64_t multiplier;    /* shuffles the order of splits; 1: as they come */
    uint32_t lanes, lanes_max;
    uint32_t busy;          /* lanes with a split, a worker or both; those in open() too */
    uint32_t closing;       /* workers that close a lane or end the pipeline */
    lane *idle;             /* without a split */
    lane *runnable, *parked;
    lane *delayed;          /* to be run again at their resume_ns */
    frontier frontier;      /* of an endless flow */
    uint32_t epoch;         /* of splits to be opened, if its source is one from outside */
    char *id;               /* of that source, in checkpoints */
    bool absorbed;          /* its sink absorbs */
    bool opening;           /* a lane opens a split of a source without a known number of splits */
    uint64_t dry_at;        /* the wake count at which open() had nothing; UINT64_MAX: not dry */
    uint64_t started_ns;
    uint64_t bytes_total;   /* of the source */
} pipeline_state;

struct run {
    run_context context;
    plan *plan;
    run_options options;
    pthread_mutex_t lock;   /* of all that is not atomic. No call into a part of the plan is made with it */
    pthread_cond_t done;
    pthread_t *threads;
    uint32_t n_threads, threads_left;
    pipeline_state *pipelines;
    sink_state *sinks;
    sink_state **reads;     /* what the pipelines' reads point into */
    atomic_bool stop;       /* failed or cancelled: everyone goes home */
    atomic_bool yield;      /* lanes let go after their batch: something more urgent is there */
    atomic_uint_fast64_t wakes;
    atomic_uint sleepers;   /* workers without work, and parked lanes */
    uint32_t working;       /* workers with a piece of a pipeline that is not absorbed */
    uint32_t asleep;        /* workers without work */
    uint32_t woken;         /* of them, who will be on their feet soon */
    uint32_t n_delayed;     /* lanes */
    uint32_t turn;          /* the source of an endless flow that was read last */
    bool cancelled, failed, committed;
    bool stopping;          /* endless sources were told to end */
    bool has_live;
    /* Epochs of endless flows: epochs.c. */
    pthread_t epochs_thread;
    bool has_epochs;
    pthread_cond_t epochs_moved; /* something that the epochs' thread waits for */
    uint32_t epoch;         /* the one that has begun last */
    struct checkpoint *saving; /* of the epochs before it; NULL: not now */
    uint32_t savers;        /* workers that write into it */
    uint64_t checkpoint_number; /* the last */
    int checkpoint_lock;    /* of their folder; -1: none */
    bool holding;           /* stopping: sources that have ended wait for the last checkpoint */
    bool suspended;         /* that is done: nothing is flushed, what was saved is what goes on */
    pthread_mutex_t latency_lock;
    histogram *latencies;   /* with a goal */
    pthread_mutex_t log_lock; /* of what follows, and one line at a time */
    uint64_t log_full_ns, lines_left_out, warnings;
    tw_error error;
    tw_status status;
    uint32_t ended;         /* pipelines */
    uint64_t begin_ns, begin_cpu_ns, end_ns, end_cpu_ns;
};

/* Up to n workers that sleep are to look for work. With the lock held. */
void run_rouse(run *r, uint32_t n);
/* A worker thread's function; the argument is the run. */
void *run_worker(void *run);
/* Whether a pipeline's source is an endless one from outside, with epochs of its own. */
static inline bool is_root(const pipeline_state *p) { return p->pipeline->endless && !p->pipeline->feeder; }
/* epochs.c: starts its thread, if the plan is endless; loads the newest checkpoint before. */
tw_status epochs_prepare(run *r, tw_error *err); /* before sinks start */
tw_status epochs_load(run *r, tw_error *err);
tw_status epochs_start(run *r, tw_error *err);
void epochs_join(run *r); /* after the workers were told to end */
/* All that the sources gave has left the sinks, and the workers are gone. */
tw_status epochs_settle(run *r, tw_error *err);
/* With the lock held: somebody may wait for this change. */
void epochs_moved(run *r);
/* A source is cut; a sink has been told of a new epoch. Without the lock. */
tw_status epochs_save_source(run *r, pipeline_state *p, tw_error *err);
tw_status epochs_save_sink(run *r, sink_state *k, tw_error *err);
/* run_context.log. */
void run_tell(void *run, tw_log_level level, const char *message);
/* run_context.wake. */
void run_wake_lanes(void *run);
/* The first failure is told; what follows from stopping is not. With the lock held. */
void run_fail(run *r, tw_status status, const tw_error *err);

#endif
