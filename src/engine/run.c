#include "engine/run.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/run_internal.h"

static uint32_t choose_batch_rows(const run_options *o) {
    if (o->batch_rows) return o->batch_rows < BATCH_ROWS_MAX ? o->batch_rows : BATCH_ROWS_MAX;
    return o->memory_bytes < ((size_t)128 << 20) ? 2048 : 8192;
}

static sink_state *sink_state_of(run *r, const sink *k) {
    for (uint32_t i = 0; i < r->plan->n_sinks; i++)
        if (r->sinks[i].sink == k) return &r->sinks[i];
    return NULL;
}

static void add_read(pipeline_state *p, sink_state *k) {
    for (uint32_t i = 0; i < p->n_reads; i++)
        if (p->reads[i] == k) return;
    p->reads[p->n_reads++] = k;
    k->readers_left++;
}

/* Room for the number of each input at the top of a position. */
static uint32_t input_shift(uint32_t n_inputs) {
    uint32_t shift = 63;
    while (shift > 0 && (uint64_t)n_inputs > (uint64_t)1 << (64 - shift)) shift--;
    return shift;
}

/* Who feeds whom and who waits for whom. */
static tw_status connect_parts(run *r, tw_error *err) {
    plan *p = r->plan;
    size_t n_reads = 0;
    for (uint32_t i = 0; i < p->n_pipelines; i++) n_reads += p->pipelines[i]->n_after + 1;
    r->pipelines = calloc(p->n_pipelines + 1, sizeof *r->pipelines);
    r->sinks = calloc(p->n_sinks + 1, sizeof *r->sinks);
    r->reads = calloc(n_reads + 1, sizeof *r->reads);
    if (!r->pipelines || !r->sinks || !r->reads) return error_set(err, TW_ERR_MEMORY, "out of memory for a run");
    for (uint32_t i = 0; i < p->n_sinks; i++) r->sinks[i] = (sink_state){.sink = p->sinks[i], .told.watermark = WATERMARK_NONE};
    sink_state **reads = r->reads;
    for (uint32_t i = 0; i < p->n_pipelines; i++) {
        pipeline *line = p->pipelines[i];
        pipeline_state *state = &r->pipelines[i];
        *state = (pipeline_state){.pipeline = line, .dry_at = UINT64_MAX, .reads = reads, .absorbed = line->sink->absorbs};
        frontier_init(&state->frontier);
        state->lanes_max = pipeline_lanes_max(line, r->options.parallelism, r->options.memory_bytes);
        state->n_awaited = line->n_after + line->n_also_after;
        state->sink = sink_state_of(r, line->sink);
        state->sink->inputs_left = ++state->sink->n_inputs;
        if (line->feeder) add_read(state, sink_state_of(r, line->feeder));
        for (uint32_t k = 0; k < line->n_after; k++) add_read(state, sink_state_of(r, line->after[k]));
        reads += state->n_reads;
        r->has_live |= line->source->live;
    }
    for (uint32_t i = 0; i < p->n_pipelines; i++)
        p->pipelines[i]->input_shift = input_shift(r->pipelines[i].sink->n_inputs);
    return TW_OK;
}

static tw_status start_sinks(run *r, tw_error *err) {
    for (uint32_t i = 0; i < r->plan->n_sinks; i++) {
        sink *k = r->sinks[i].sink;
        TRY(k->class->start(k, &r->context, r->sinks[i].n_inputs, err));
    }
    return TW_OK;
}

static tw_status start_workers(run *r, tw_error *err) {
    bool absorbs = false;
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) absorbs |= r->pipelines[i].absorbed;
    uint32_t n = r->options.parallelism + absorbs;
    r->threads = calloc(n, sizeof *r->threads);
    if (!r->threads) return error_set(err, TW_ERR_MEMORY, "out of memory for threads");
    pthread_mutex_lock(&r->lock); /* nobody counts threads_left down meanwhile */
    for (; r->n_threads < n; r->n_threads++) {
        int e = pthread_create(&r->threads[r->n_threads], NULL, run_worker, r);
        if (e && r->n_threads == 0) {
            pthread_mutex_unlock(&r->lock);
            return error_io(err, e, "cannot start a thread");
        }
        if (e) break; /* fewer threads do the same work */
        r->threads_left++;
    }
    pthread_mutex_unlock(&r->lock);
    return TW_OK;
}

static void init_locks(run *r) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_init(&r->log_lock, NULL);
    pthread_mutex_init(&r->latency_lock, NULL);
    pthread_cond_init(&r->done, &monotonic);
    pthread_cond_init(&r->epochs_moved, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static void note_latency(void *engine, uint64_t rows, uint64_t ns) {
    run *r = engine;
    pthread_mutex_lock(&r->latency_lock);
    histogram_add(r->latencies, ns, rows);
    pthread_mutex_unlock(&r->latency_lock);
}

tw_status run_start(plan *p, const run_options *options, run **out, tw_error *err) {
    run *r = calloc(1, sizeof *r);
    if (!r) return error_set(err, TW_ERR_MEMORY, "out of memory for a run");
    r->plan = p;
    r->checkpoint_lock = -1;
    r->options = *options;
    if (!r->options.parallelism) r->options.parallelism = 1;
    r->begin_ns = clock_ns();
    r->begin_cpu_ns = clock_process_cpu_ns();
    init_locks(r);
    run_context *c = &r->context;
    c->cancelled = &r->stop;
    c->parallelism = r->options.parallelism;
    c->batch_rows = choose_batch_rows(options);
    c->batch_bytes = (size_t)256 << 10;
    c->wake = run_wake_lanes;
    c->log = run_tell;
    c->latency_ns = options->latency_ns;
    c->arrived = note_latency;
    c->engine = r;
    if (c->latency_ns) r->latencies = calloc(1, sizeof *r->latencies);
    tw_status status = c->latency_ns && !r->latencies ? error_set(err, TW_ERR_MEMORY, "out of memory for a run") : TW_OK;
    if (status == TW_OK) status = poller_create(&c->poller, err);
    if (status == TW_OK) status = memory_create(options->memory_bytes, &c->memory, err);
    if (status == TW_OK) status = spill_create(options->spill, &c->spill, err);
    if (status == TW_OK) status = bad_records_create(options->bad_policy, options->dead_letter, &c->bad, err);
    if (status == TW_OK && p->keeps_raw) bad_records_want_raw(c->bad);
    if (status == TW_OK) status = connect_parts(r, err);
    if (status == TW_OK) status = epochs_prepare(r, err);
    if (status == TW_OK) status = start_sinks(r, err);
    if (status == TW_OK) status = epochs_load(r, err);
    if (status == TW_OK) status = start_workers(r, err);
    if (status == TW_OK) status = epochs_start(r, err);
    if (status != TW_OK) {
        run_free(r);
        return status;
    }
    *out = r;
    return TW_OK;
}

bool run_wait(run *r, int timeout_ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    if (timeout_ms >= 0) {
        until.tv_sec += timeout_ms / 1000;
        until.tv_nsec += timeout_ms % 1000 * 1000000l;
        if (until.tv_nsec >= 1000000000l) until.tv_sec++, until.tv_nsec -= 1000000000l;
    }
    pthread_mutex_lock(&r->lock);
    int e = 0;
    while (r->threads_left && e == 0)
        e = timeout_ms < 0 ? pthread_cond_wait(&r->done, &r->lock)
                           : pthread_cond_timedwait(&r->done, &r->lock, &until);
    bool over = r->threads_left == 0;
    pthread_mutex_unlock(&r->lock);
    return over;
}

void run_cancel(run *r) {
    pthread_mutex_lock(&r->lock);
    if (!r->failed && r->threads_left) r->cancelled = true;
    atomic_store(&r->stop, true);
    run_rouse(r, UINT32_MAX);
    epochs_moved(r);
    pthread_mutex_unlock(&r->lock);
}

void run_stop(run *r) {
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->plan->n_pipelines && !r->stopping; i++) { /* those who never end */
        source *s = r->plan->pipelines[i]->source;
        if (s && s->endless) s->class->stop(s);
    }
    r->stopping = true;
    r->holding = r->options.checkpoint_folder != NULL;
    epochs_moved(r);
    pthread_mutex_unlock(&r->lock);
    run_wake_lanes(r);
}

void run_get_progress(run *r, run_progress *out) {
    *out = (run_progress){.seconds = (double)(clock_ns() - r->begin_ns) * 1e-9};
    out->rows_in = atomic_load(&r->context.rows_in);
    out->rows_out = atomic_load(&r->context.rows_out);
    out->bytes_in = atomic_load(&r->context.bytes_in);
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) out->bytes_total += r->pipelines[i].bytes_total;
    pthread_mutex_unlock(&r->lock);
}

static tw_status commit_all(run *r, tw_error *err) {
    /* First: it is what can still fail, its last bytes are not written yet. */
    TRY(bad_records_commit(r->context.bad, err));
    for (uint32_t i = 0; i < r->plan->n_sinks; i++) {
        sink *k = r->plan->sinks[i];
        if (k->class->commit) TRY(k->class->commit(k, err));
    }
    return r->stopping && !r->suspended ? epochs_settle(r, err) : TW_OK;
}

tw_status run_result(run *r, tw_error *err) {
    epochs_join(r);
    if (!r->failed && r->cancelled) return error_set(err, TW_ERR_CANCELLED, "interrupted");
    if (!r->failed && !r->committed) {
        r->status = commit_all(r, &r->error);
        r->failed = r->status != TW_OK;
        r->committed = !r->failed;
    }
    if (r->failed && err) *err = r->error;
    return r->status;
}

/* VmHWM: what the limits of run.memory are about. ru_maxrss is no less than the peak of whatever process
 * forked this one. */
static uint64_t peak_rss_bytes(void) {
    struct rusage u;
    char status[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, status, sizeof status - 1);
    if (fd >= 0) close(fd);
    status[n > 0 ? n : 0] = 0;
    const char *line = strstr(status, "VmHWM:");
    unsigned long long kib;
    if (line && sscanf(line, "VmHWM: %llu", &kib) == 1) return kib * 1024;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (uint64_t)u.ru_maxrss * 1024 : 0;
}

void run_get_figures(const run *r, run_figures *out) {
    const run_context *c = &r->context;
    *out = (run_figures){
        .wall_seconds = (double)(r->end_ns - r->begin_ns) * 1e-9,
        .cpu_seconds = (double)(r->end_cpu_ns - r->begin_cpu_ns) * 1e-9,
        .peak_rss_bytes = peak_rss_bytes(),
        .peak_memory_bytes = memory_peak(c->memory),
        .rows_in = atomic_load(&c->rows_in),
        .rows_out = atomic_load(&c->rows_out),
        .bytes_in = atomic_load(&c->bytes_in),
        .bytes_out = atomic_load(&c->bytes_out),
        .bad_records = bad_records_count(c->bad),
        .late_records = atomic_load(&c->late_records),
        .spilled_bytes = spill_bytes(c->spill),
        .warnings = r->warnings,
        .parallelism = r->options.parallelism,
    };
    if (!r->latencies) return;
    out->latency_goal = (double)c->latency_ns * 1e-9;
    out->latency_rows = r->latencies->n;
    out->latency_p50 = (double)histogram_quantile(r->latencies, 0.5) * 1e-9;
    out->latency_p99 = (double)histogram_quantile(r->latencies, 0.99) * 1e-9;
}

/* Parts of the plan may still call run_wake: until they are freed, which comes after their lanes. */
static void drop_lanes(run *r, lane **list) {
    pthread_mutex_lock(&r->lock);
    lane *l = *list;
    *list = NULL;
    pthread_mutex_unlock(&r->lock);
    while (l) {
        lane *next = l->next;
        lane_drop(l);
        l = next;
    }
}

void run_free(run *r) {
    if (!r) return;
    if (r->n_threads) {
        run_cancel(r);
        for (uint32_t i = 0; i < r->n_threads; i++) pthread_join(r->threads[i], NULL);
        epochs_join(r);
    }
    plan *p = r->plan;
    for (uint32_t i = 0; r->pipelines && i < p->n_pipelines; i++) {
        drop_lanes(r, &r->pipelines[i].idle);
        drop_lanes(r, &r->pipelines[i].parked); /* before the list it may be moved to */
        drop_lanes(r, &r->pipelines[i].runnable);
        drop_lanes(r, &r->pipelines[i].delayed);
        frontier_free(&r->pipelines[i].frontier);
    }
    for (uint32_t i = 0; r->pipelines && i < p->n_pipelines; i++) free(r->pipelines[i].id);
    for (uint32_t i = 0; r->sinks && i < p->n_sinks; i++) free(r->sinks[i].id);
    plan_drop_parts(p); /* their buffers belong to the run's memory */
    bad_records_free(r->context.bad);
    spill_free(r->context.spill);
    memory_destroy(r->context.memory);
    poller_free(r->context.poller);
    if (r->checkpoint_lock >= 0) close(r->checkpoint_lock);
    free(r->threads);
    free(r->pipelines);
    free(r->sinks);
    free(r->reads);
    pthread_cond_destroy(&r->done);
    pthread_cond_destroy(&r->epochs_moved);
    pthread_mutex_destroy(&r->lock);
    pthread_mutex_destroy(&r->log_lock);
    pthread_mutex_destroy(&r->latency_lock);
    free(r->latencies);
    free(r);
}
