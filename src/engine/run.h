/* run.h: runs a plan on worker threads: small pieces of work pulled by idle workers, the pipeline
 * furthest downstream first, so that data drains before more is read (Leis et al., "Morsel-Driven
 * Parallelism", 2014). */
#ifndef ENGINE_RUN_H
#define ENGINE_RUN_H

#include "engine/bad_records.h"
#include "engine/plan.h"

typedef struct run run;

typedef struct run_options {
    uint32_t parallelism;  /* threads; 1..1024 */
    size_t memory_bytes;
    uint32_t batch_rows;   /* 0: chosen */
    const char *spill;     /* folder or NULL */
    bad_policy bad_policy;
    const char *dead_letter;
    const char *checkpoint_folder; /* NULL: none */
    uint64_t checkpoint_every_us;  /* 0: 10 s */
    uint64_t latency_ns;           /* the goal for a row's way through; 0: none */
    tw_log log;                    /* NULL: nobody listens */
    void *log_context;
} run_options;

typedef struct run_progress {
    uint64_t rows_in, rows_out, bytes_in, bytes_total; /* bytes_total 0: not known */
    double seconds;
} run_progress;

/* Starts the workers. The plan must outlive the run and runs once. */
tw_status run_start(plan *p, const run_options *options, run **out, tw_error *err);
/* Waits at most timeout_ms (negative: as long as it takes); false if it is still running. */
bool run_wait(run *r, int timeout_ms);
/* Ends it soon, as interrupted. From any thread, any number of times. */
void run_cancel(run *r);
/* Endless sources give what they have and end, so that the run ends well. From any thread, any number of
 * times; without endless sources it changes nothing. */
void run_stop(run *r);
void run_get_progress(run *r, run_progress *out);
/* After run_wait said true: the outcome. Commits nothing that failed. */
tw_status run_result(run *r, tw_error *err);

typedef struct run_figures {
    double wall_seconds, cpu_seconds;
    uint64_t peak_rss_bytes, peak_memory_bytes;
    uint64_t rows_in, rows_out, bytes_in, bytes_out, bad_records, late_records, spilled_bytes, warnings;
    double latency_goal, latency_p50, latency_p99; /* seconds from a row's arrival to its sink; a goal of 0: there is none */
    uint64_t latency_rows;     /* that were measured */
    uint32_t parallelism;
} run_figures;
void run_get_figures(const run *r, run_figures *out);
void run_free(run *r); /* cancels and waits first if it still runs */

#endif
