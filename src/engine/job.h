/* job.h: a job as the text states it: its flows, their steps and the settings of the run. Only the
 * shape is checked here; what steps and connectors mean is the planner's matter (engine/plan.h).
 * A job is immutable, and may be read from any thread. */
#ifndef ENGINE_JOB_H
#define ENGINE_JOB_H

#include "engine/descriptor.h"

enum { JOB_FLOWS_MAX = 1024, JOB_STEPS_MAX = 1024 /* of one flow */ };

/* `name: arguments`: a step, a source or a sink. */
typedef struct job_part {
    const char *name;      /* NULL: there is none */
    const node *arguments; /* NULL or NODE_NULL for a bare name */
    struct place at;       /* of the name */
} job_part;

typedef struct job_flow {
    const char *name; /* "main" for the flow of a job without `flows` */
    struct place at;
    job_part source;         /* without name if it reads a flow */
    const char *source_flow; /* `source: {flow: NAME}`: NAME, which may be unknown; else NULL */
    struct place source_flow_at;
    job_part *steps;
    uint32_t n_steps;
    job_part sink; /* without name if other flows (or the caller, JOB_OPEN_SINKS) read it */
} job_flow;

typedef enum job_bad_records { JOB_BAD_FAIL, JOB_BAD_SKIP, JOB_BAD_DEAD_LETTER } job_bad_records;

/* How often a row takes effect, though a run is stopped and gone on with. In the order of job files. */
typedef enum guarantee { GUARANTEE_BEST = -1, AT_MOST_ONCE, AT_LEAST_ONCE, EXACTLY_ONCE } guarantee;

typedef struct job_workers {
    const char *step;
    uint32_t workers;
} job_workers;

/* `run`: 0 or NULL where the text is silent. */
typedef struct job_run {
    uint32_t parallelism;
    int64_t memory_bytes;
    uint32_t batch_rows;
    const char *spill;
    job_bad_records on_bad_record;
    const char *dead_letter;
    const char *checkpoint_folder;
    guarantee guarantee;       /* GUARANTEE_BEST: not stated */
    struct place guarantee_at;
    uint64_t checkpoint_every_us;
    uint64_t latency_us;       /* 0: not stated */
    struct place latency_at;
    job_workers *workers;
    uint32_t n_workers;
} job_run;

typedef struct job {
    const char *name; /* given, else the file's name without folder and ending */
    job_flow *flows;
    uint32_t n_flows; /* at least 1 */
    job_run run;
    struct job_memory *memory; /* the document and what else it points at */
} job;

enum job_flags { JOB_OPEN_SINKS = 1 /* a flow that nobody reads may lack a sink: the caller reads it */ };

/* What a job is made from. `text` need not end with a 0. */
typedef struct job_source {
    const char *text;
    size_t length;
    const char *file;        /* its name in errors */
    const char *const *sets; /* PATH=VALUE each, applied in order */
    size_t n_sets;
    const struct variables *variables; /* NULL: the environment */
    unsigned flags;
} job_source;

/* TW_OK gives a job. TW_ERR_JOB: all that is wrong was added to `errors`, in the order of the text,
 * and *out is NULL, or a job of what could be read, so that the planner can find more errors; it must
 * not run. TW_ERR_MEMORY: *out is NULL. */
tw_status job_parse(const job_source *source, error_list *errors, job **out);
void job_free(job *j); /* NULL is allowed */

/* The index of a flow, or -1. */
int job_flow_index(const job *j, const char *name);

/* The settings of `run`, for help and reference. */
extern const descriptor run_descriptor;

#endif
