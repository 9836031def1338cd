/* thalweg/thalweg.h: the whole of Thalweg for a C program.
 *
 * Layers, simplest first:
 *   1. tw_run_text: a job's text in, a result out.
 *   2. tw_job: parse, set, check, explain, start, wait, cancel, progress, summary.
 *   3. What there is: steps and connectors, their help, data generators.
 *
 * Objects are opaque. tw_*_free takes NULL. Texts that a function hands out are freed with tw_free.
 * Several jobs may run at a time in one process; a tw_job is used by one thread at a time, except for
 * tw_job_stop, tw_job_cancel and tw_job_progress, which any thread may call while the job exists. The library
 * installs no signal handler, never exits, and writes to standard output only for a `stdout` sink. */
#ifndef THALWEG_H
#define THALWEG_H

#include <stdbool.h>
#include <stddef.h>

#include "thalweg/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0" */
TW_API const char *tw_version(void);
TW_API void tw_free(void *text);

/* ---- 1. one call ---- */

/* Runs the job in `text` (YAML or JSON, ended by 0) to its end. TW_ERR_JOB: the job is wrong, nothing
 * has run; other errors: it failed, and no output is visible. */
TW_API tw_status tw_run_text(const char *text, tw_error *err);

/* ---- 2. a job ---- */

typedef struct tw_job tw_job;

/* `file` is the name in errors. With TW_OK or TW_ERR_JOB there is a job in *out, so that
 * tw_job_errors can tell all that is wrong with it. */
TW_API tw_status tw_job_parse(const char *text, size_t length, const char *file, tw_job **out,
                              tw_error *err);
TW_API void tw_job_free(tw_job *job); /* cancels and waits first if it still runs */
/* "run.memory=1GiB", "steps[1].sort.limit=10". Before tw_job_check, which tells an assignment that is
 * TW_ERR_JOB here once more. */
TW_API tw_status tw_job_set(tw_job *job, const char *assignment, tw_error *err);
/* Checks everything and makes the plan; nothing runs and no output is touched. */
TW_API tw_status tw_job_check(tw_job *job, tw_error *err);
/* All that is wrong with the job, in the order of its text. Valid until the job is freed. */
TW_API size_t tw_job_errors(const tw_job *job);
TW_API const tw_error *tw_job_error(const tw_job *job, size_t i);
/* The plan as text. After tw_job_check. */
TW_API tw_status tw_job_explain(tw_job *job, char **out, tw_error *err);
/* Whether a `stdout` sink will write to standard output; its place in the job goes into `place`, unless
 * that is NULL. After tw_job_check. */
TW_API bool tw_job_prints(const tw_job *job, tw_error *place);

/* Checks if that was not done, then starts the worker threads and returns. A job runs once. After an error
 * other than TW_ERR_JOB the run has failed: tw_job_result repeats it, and there is a summary. */
TW_API tw_status tw_job_start(tw_job *job, tw_error *err);
/* Waits for at most timeout_ms (negative: until it ends); true once it has ended. */
TW_API bool tw_job_wait(tw_job *job, int timeout_ms);
/* What somebody should know while the job runs: peers that were lost and came back, a full disk. Before tw_job_start; without
 * it nobody is told, but warnings are counted. */
TW_API void tw_job_set_log(tw_job *job, tw_log log, void *context);
/* Interrupts: the job ends within a second as TW_ERR_CANCELLED, without output. Any thread. */
TW_API void tw_job_cancel(tw_job *job);
/* Whether it has a source that never ends by itself. After tw_job_check. */
TW_API bool tw_job_endless(const tw_job *job);
/* Ends an endless job well: its sources take nothing new, what they have is worked off, the outputs are made
 * visible, the outcome is TW_OK. Any thread. A bounded job goes on to its end. */
TW_API void tw_job_stop(tw_job *job);
/* The outcome; makes the outputs visible. After tw_job_wait said true. */
TW_API tw_status tw_job_result(tw_job *job, tw_error *err);

typedef struct tw_progress {
    uint64_t rows_in, rows_out;
    uint64_t bytes_in;
    uint64_t bytes_total; /* of what is being read now; 0: not known */
    double seconds;       /* since the start */
} tw_progress;
TW_API void tw_job_progress(tw_job *job, tw_progress *out);

/* Figures of a finished run. Valid until the job is freed. */
typedef struct tw_step_summary {
    const char *flow, *step;
    uint64_t rows_in, rows_out;
    double busy_seconds, blocked_seconds, idle_seconds; /* summed over workers */
} tw_step_summary;

typedef struct tw_summary {
    const char *name;
    const char *status; /* "done", "failed", "interrupted" */
    const char *error;  /* "" if none; with its place */
    double wall_seconds, cpu_seconds;
    uint64_t peak_rss_bytes; /* of this process so far */
    uint64_t rows_in, rows_out, bytes_in, bytes_out;
    uint64_t bad_records, late_records, spilled_bytes;
    double latency_goal_seconds; /* run.latency; 0: none, and no times */
    uint64_t latency_rows;       /* that were measured, from their arrival until a sink took them: not what states gave */
    double latency_p50_seconds, latency_p99_seconds; /* of those */
    uint64_t warnings; /* what went wrong and was survived: as told by tw_job_set_log */
    const char *bottleneck; /* "cpu", "disk_read", ..., or a step's name */
    double bottleneck_utilization;  /* 0..1 */
    double bound_rows_per_second;   /* what the bottleneck allows */
    double bound_fraction;          /* of that, achieved: 0..1 */
    uint32_t parallelism;
    size_t n_steps;
    const tw_step_summary *steps;
} tw_summary;
/* After tw_job_result. NULL before, and when there was no memory for it. */
TW_API const tw_summary *tw_job_summary(const tw_job *job);
/* The same as one JSON object, without a newline at its end. */
TW_API tw_status tw_job_summary_json(const tw_job *job, char **out, tw_error *err);

/* ---- checkpoints, in the folder that run.checkpoint.dir names ---- */

/* As text for people; number 0 is the newest. No run may write there meanwhile. */
TW_API tw_status tw_checkpoint_list(const char *folder, char **out, tw_error *err);
TW_API tw_status tw_checkpoint_inspect(const char *folder, uint64_t number, char **out, tw_error *err);
/* TW_ERR_DATA: it is damaged. */
TW_API tw_status tw_checkpoint_verify(const char *folder, uint64_t number, tw_error *err);
/* number 0: all of them. */
TW_API tw_status tw_checkpoint_delete(const char *folder, uint64_t number, tw_error *err);

/* ---- 3. what there is ---- */

typedef enum tw_kind { TW_STEP, TW_SOURCE, TW_SINK, TW_GENERATOR, TW_SECTION, TW_FORMAT } tw_kind;
/* The i-th of its kind: name and a line about it; false past the last. */
TW_API bool tw_list(tw_kind kind, size_t i, const char **name, const char **summary);
/* Help about a step, connector, format, generator or section by name, every one that has the name: plain
 * text. TW_ERR_JOB names the nearest known name. */
TW_API tw_status tw_help(const char *name, char **out, tw_error *err);
/* The reference of all steps, connectors and settings, in Markdown. */
TW_API tw_status tw_reference(char **out, tw_error *err);

/* Makes data of a kind (see tw_list): options are "name=value" texts; 0 threads are as many as there are
 * processors. Bytes go to `write`, in order, from one thread at a time; anything but 0 from it ends the
 * work as TW_ERR_IO. Same seed, same bytes. TW_ERR_JOB: a kind, an option or a value that is wrong. */
typedef int (*tw_write)(void *context, const void *bytes, size_t size);
TW_API tw_status tw_generate(const char *kind, const char *const *options, size_t n_options, uint64_t seed,
                             uint32_t threads, tw_write write, void *context, tw_error *err);

#ifdef __cplusplus
}
#endif
#endif
