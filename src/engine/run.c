#include "engine/run.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/lane.h"

typedef enum phase {
    PHASE_WAITING,  /* for sinks and pipelines before it */
    PHASE_STARTING, /* a worker is in start() */
    PHASE_RUNNING,  /* splits are handed out */
    PHASE_DRAINING, /* no more splits; lanes still work on theirs */
    PHASE_CLOSING,  /* lanes are flushed and freed */
    PHASE_ENDED
} phase;

typedef struct pipeline_state {
    pipeline *pipeline;
    phase phase;
    uint64_t n_splits, next_split;
    uint64_t multiplier;    /* shuffles the order of splits; 1: as they come */
    uint32_t lanes, lanes_max;
    uint32_t busy;          /* lanes with a split, a worker or both; those in open() too */
    uint32_t closing;       /* lanes being closed by a worker */
    lane *idle;             /* without a split */
    lane *runnable, *parked;
    bool opening;           /* a worker is in open() of a source without a known number of splits */
    uint64_t dry_at;        /* the wake count at which open() had nothing; UINT64_MAX: not dry */
    uint64_t started_ns;
} pipeline_state;

typedef struct sink_state {
    sink *sink;
    uint32_t inputs_left;
    bool started, finished;
} sink_state;

struct run {
    run_context context;
    plan *plan;
    run_options options;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t *threads;
    uint32_t n_threads, threads_left;
    pipeline_state *pipelines;
    sink_state *sinks;
    atomic_bool stop;       /* failed or cancelled: everyone goes home */
    atomic_bool yield;      /* lanes let go after their batch: something more urgent is there */
    atomic_uint_fast64_t wakes;
    atomic_uint sleepers;   /* workers without work, and parked lanes */
    bool cancelled, failed, committed;
    bool has_live;
    tw_error error;
    tw_status status;
    uint32_t ended;
    uint64_t begin_ns, begin_cpu_ns, end_ns, end_cpu_ns;
};

static void fail(run *r, tw_status status, const tw_error *err) {
    /* The first failure is told; what follows from stopping is not. */
    if (!r->failed && !r->cancelled) {
        r->failed = true;
        r->status = status;
        r->error = *err;
    }
    atomic_store(&r->stop, true);
    pthread_cond_broadcast(&r->work);
}

static void wake(void *engine) {
    run *r = engine;
    atomic_fetch_add(&r->wakes, 1);
    if (atomic_load(&r->sleepers) == 0) {
        if (r->has_live) atomic_store_explicit(&r->yield, true, memory_order_relaxed);
        return;
    }
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) {
        pipeline_state *p = &r->pipelines[i];
        while (p->parked) {
            lane *l = p->parked;
            p->parked = l->next;
            l->next = p->runnable;
            p->runnable = l;
            atomic_fetch_sub(&r->sleepers, 1);
        }
    }
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
}

/* ---- starting and ending pipelines; the lock is held on entry and on return ---- */

static sink_state *sink_state_of(run *r, const sink *k) {
    for (uint32_t i = 0;; i++)
        if (r->sinks[i].sink == k) return &r->sinks[i];
}

static bool may_start(run *r, const pipeline *p) {
    for (uint32_t i = 0; i < p->n_after; i++)
        if (!sink_state_of(r, p->after[i])->finished) return false;
    for (uint32_t i = 0; i < p->n_also_after; i++)
        if (r->pipelines[p->also_after[i]->id].phase != PHASE_ENDED) return false;
    return true;
}

static uint64_t common_divisor(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* A multiplier without a common divisor walks through all splits; near the golden ratio it visits
 * them evenly, so that the first few are a fair sample (Knuth, TAOCP 3, 6.4). */
static uint64_t shuffle_multiplier(uint64_t n) {
    if (n < 4) return 1;
    uint64_t m = (uint64_t)((double)n * 0.6180339887498949);
    while (common_divisor(m, n) != 1) m++;
    return m % n;
}

static void start_pipeline(run *r, pipeline_state *p) {
    p->phase = PHASE_STARTING;
    pthread_mutex_unlock(&r->lock);
    tw_error err = {0};
    uint64_t n_splits = 0;
    source *s = p->pipeline->source;
    tw_status status = s->class->start(s, &r->context, &n_splits, &err);
    pthread_mutex_lock(&r->lock);
    if (status != TW_OK) {
        fail(r, status, &err);
        return;
    }
    p->n_splits = n_splits;
    p->multiplier = 1;
    if (p->pipeline->sink->wants_shuffled && n_splits != UINT64_MAX)
        p->multiplier = shuffle_multiplier(n_splits);
    p->started_ns = clock_ns();
    p->phase = n_splits == 0 ? PHASE_DRAINING : PHASE_RUNNING;
    pthread_cond_broadcast(&r->work);
}

static void end_pipeline(run *r, pipeline_state *p) {
    pipeline *line = p->pipeline;
    sink *k = line->sink;
    p->phase = PHASE_CLOSING;
    p->closing++; /* keeps others out */
    uint64_t n_splits = p->next_split;
    pthread_mutex_unlock(&r->lock);
    uint64_t active = (clock_ns() - p->started_ns) * (p->lanes_max ? p->lanes_max : 1);
    if (line->source->step >= 0) atomic_fetch_add(&r->plan->steps[line->source->step]->active_ns, active);
    for (uint32_t i = 0; i < line->n_operators; i++)
        if (line->operators[i]->step >= 0)
            atomic_fetch_add(&r->plan->steps[line->operators[i]->step]->active_ns, active);
    if (k->step >= 0) atomic_fetch_add(&r->plan->steps[k->step]->active_ns, active);
    line->source->class->free(line->source); /* frees states early */
    line->source = NULL;
    tw_error err = {0};
    tw_status status = TW_OK;
    if (k->class->end_input) status = k->class->end_input(k, line->input, n_splits, &err);
    pthread_mutex_lock(&r->lock);
    bool last = --sink_state_of(r, k)->inputs_left == 0;
    pthread_mutex_unlock(&r->lock);
    if (status == TW_OK && last) {
        uint64_t begin = clock_ns();
        status = k->class->finish(k, &err);
        if (k->step >= 0)
            atomic_fetch_add(&r->plan->steps[k->step]->busy_ns, clock_ns() - begin);
    }
    pthread_mutex_lock(&r->lock);
    p->closing--;
    if (status != TW_OK) {
        fail(r, status, &err);
        return;
    }
    if (last) sink_state_of(r, k)->finished = true;
    p->phase = PHASE_ENDED;
    r->ended++;
    pthread_cond_broadcast(&r->work);
}

/* ---- one turn of a worker; the lock is held on entry and on return ---- */

static void run_lane(run *r, pipeline_state *p, lane *l) {
    uint64_t wakes = atomic_load(&r->wakes);
    atomic_store_explicit(&r->yield, false, memory_order_relaxed);
    pthread_mutex_unlock(&r->lock);
    tw_error err = {0};
    lane_outcome outcome = lane_run(l, &r->yield, &err);
    pthread_mutex_lock(&r->lock);
    switch (outcome) {
    case LANE_FAILED:
        l->next = p->idle; /* dropped at the end */
        p->idle = l;
        p->busy--;
        fail(r, err.code, &err);
        return;
    case LANE_SPLIT_END:
        l->next = p->idle;
        p->idle = l;
        p->busy--;
        if (p->pipeline->sink->class->satisfied && p->phase == PHASE_RUNNING &&
            p->pipeline->sink->class->satisfied(p->pipeline->sink))
            p->phase = PHASE_DRAINING;
        if (p->phase == PHASE_DRAINING && p->busy == 0) pthread_cond_broadcast(&r->work);
        return;
    case LANE_WAITS:
        atomic_fetch_add(&r->sleepers, 1);
        if (atomic_load(&r->wakes) == wakes) {
            l->next = p->parked;
            p->parked = l;
            return;
        }
        atomic_fetch_sub(&r->sleepers, 1); /* woken meanwhile */
        /* fall through */
    case LANE_YIELDS:
        l->next = p->runnable;
        p->runnable = l;
        return;
    }
}

/* Opens the next split for an idle or a new lane. */
static void begin_split(run *r, pipeline_state *p) {
    bool counted = p->n_splits == UINT64_MAX; /* splits come one after the other */
    uint64_t wakes = atomic_load(&r->wakes);
    uint64_t turn = counted ? p->next_split : p->next_split++;
    uint64_t split = counted || p->multiplier == 1 ? turn : turn * p->multiplier % p->n_splits;
    if (!counted && p->next_split == p->n_splits) p->phase = PHASE_DRAINING;
    lane *l = p->idle;
    if (l) p->idle = l->next;
    else p->lanes++;
    p->busy++;
    p->opening = counted;
    pthread_mutex_unlock(&r->lock);

    tw_error err = {0};
    tw_status status = l ? TW_OK : lane_open(p->pipeline, &r->context, &l, &err);
    reader *opened = NULL;
    source *s = p->pipeline->source;
    if (status == TW_OK)
        for (unsigned tries = 0;; tries++) {
            status = s->class->open(s, split, &opened, &err);
            if ((status != TW_ERR_IO && status != TW_ERR_MEMORY) || tries >= 3 || run_cancelled(&r->context)) break;
            nanosleep(&(struct timespec){.tv_nsec = 1000000l << (2 * tries)}, NULL);
        }
    if (status == TW_OK) lane_begin(l, opened, split);

    pthread_mutex_lock(&r->lock);
    p->opening = false;
    if (status == TW_OK) {
        if (counted) p->next_split++;
        if (counted) pthread_cond_signal(&r->work);
        run_lane(r, p, l);
        return;
    }
    p->busy--;
    if (l) {
        l->next = p->idle;
        p->idle = l;
    } else {
        p->lanes--;
    }
    if (status == TW_END && counted) p->phase = PHASE_DRAINING;
    else if (status == STATUS_WAIT && counted) p->dry_at = wakes;
    else if (status == TW_END) fail(r, TW_ERR_INTERNAL, &(tw_error){.code = TW_ERR_INTERNAL, .message = "a source ended before its last split"});
    else fail(r, status, &err);
}

static void close_lane(run *r, pipeline_state *p) {
    lane *l = p->idle;
    p->idle = l->next;
    p->closing++;
    pthread_mutex_unlock(&r->lock);
    tw_error err = {0};
    tw_status status = lane_close(l, r->plan->steps, &err);
    pthread_mutex_lock(&r->lock);
    p->closing--;
    p->lanes--;
    if (status != TW_OK) fail(r, status, &err);
}

/* Does one piece of work of a pipeline, if there is one. */
static bool work_on(run *r, pipeline_state *p) {
    switch (p->phase) {
    case PHASE_WAITING:
        if (!may_start(r, p->pipeline)) return false;
        start_pipeline(r, p);
        return true;
    case PHASE_RUNNING:
    case PHASE_DRAINING:
        if (p->runnable) {
            lane *l = p->runnable;
            p->runnable = l->next;
            run_lane(r, p, l);
            return true;
        }
        if (p->phase == PHASE_RUNNING) {
            if (p->busy >= p->lanes_max || p->opening) return false;
            if (p->dry_at == atomic_load(&r->wakes)) return false;
            begin_split(r, p);
            return true;
        }
        if (p->busy) return false;
        p->phase = PHASE_CLOSING;
        /* fall through */
    case PHASE_CLOSING:
        if (p->idle) {
            close_lane(r, p);
            return true;
        }
        if (p->closing || p->lanes) return false;
        end_pipeline(r, p);
        return true;
    default: return false;
    }
}

static void *worker(void *argument) {
    run *r = argument;
    uint32_t n = r->plan->n_pipelines;
    pthread_mutex_lock(&r->lock);
    while (!atomic_load(&r->stop) && r->ended < n) {
        bool worked = false;
        uint64_t wakes = atomic_load(&r->wakes);
        for (uint32_t i = n; i-- > 0 && !worked && !atomic_load(&r->stop);)
            worked = work_on(r, &r->pipelines[i]);
        if (worked || atomic_load(&r->stop)) continue;
        if (r->ended == n) break;
        atomic_fetch_add(&r->sleepers, 1);
        if (atomic_load(&r->wakes) == wakes) pthread_cond_wait(&r->work, &r->lock);
        atomic_fetch_sub(&r->sleepers, 1);
    }
    pthread_cond_broadcast(&r->work);
    if (--r->threads_left == 0) {
        r->end_ns = clock_ns();
        r->end_cpu_ns = clock_process_cpu_ns();
        pthread_cond_broadcast(&r->done);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- the run ---- */

static uint32_t choose_batch_rows(const run_options *o) {
    if (o->batch_rows) return o->batch_rows < BATCH_ROWS_MAX ? o->batch_rows : BATCH_ROWS_MAX;
    return o->memory_bytes < ((size_t)128 << 20) ? 2048 : 8192;
}

/* So many lanes at once that their blocks and batches fit a quarter of the budget. */
static uint32_t lanes_that_fit(const run_options *o) {
    size_t n = o->memory_bytes / ((size_t)16 << 20);
    return n < 1 ? 1 : n < o->parallelism ? (uint32_t)n : o->parallelism;
}

static tw_status start_sinks(run *r, tw_error *err) {
    plan *p = r->plan;
    for (uint32_t i = 0; i < p->n_sinks; i++) r->sinks[i].sink = p->sinks[i];
    for (uint32_t i = 0; i < p->n_pipelines; i++) sink_state_of(r, p->pipelines[i]->sink)->inputs_left++;
    for (uint32_t i = 0; i < p->n_sinks; i++) {
        TRY(p->sinks[i]->class->start(p->sinks[i], &r->context, r->sinks[i].inputs_left, err));
        r->sinks[i].started = true;
    }
    return TW_OK;
}

static tw_status start_workers(run *r, tw_error *err) {
    r->threads = calloc(r->options.parallelism, sizeof *r->threads);
    if (!r->threads) return error_set(err, TW_ERR_MEMORY, "out of memory for threads");
    pthread_mutex_lock(&r->lock); /* nobody counts threads_left down meanwhile */
    for (; r->n_threads < r->options.parallelism; r->n_threads++) {
        int e = pthread_create(&r->threads[r->n_threads], NULL, worker, r);
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

tw_status run_start(plan *p, const run_options *options, run **out, tw_error *err) {
    run *r = calloc(1, sizeof *r);
    if (!r) return error_set(err, TW_ERR_MEMORY, "out of memory for a run");
    r->plan = p;
    r->options = *options;
    r->begin_ns = clock_ns();
    r->begin_cpu_ns = clock_process_cpu_ns();
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    run_context *c = &r->context;
    c->cancelled = &r->stop;
    c->parallelism = options->parallelism;
    c->batch_rows = choose_batch_rows(options);
    c->batch_bytes = (size_t)256 << 10;
    c->wake = wake;
    c->engine = r;
    r->pipelines = calloc(p->n_pipelines + 1, sizeof *r->pipelines);
    r->sinks = calloc(p->n_sinks + 1, sizeof *r->sinks);
    tw_status status = r->pipelines && r->sinks ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory for a run");
    if (status == TW_OK) status = memory_create(options->memory_bytes, &c->memory, err);
    if (status == TW_OK) status = spill_create(options->spill, &c->spill, err);
    if (status == TW_OK) status = bad_records_create(options->bad_policy, options->dead_letter, &c->bad, err);
    for (uint32_t i = 0; status == TW_OK && i < p->n_pipelines; i++) {
        pipeline *line = p->pipelines[i];
        uint32_t most = lanes_that_fit(options);
        r->pipelines[i] = (pipeline_state){.pipeline = line, .dry_at = UINT64_MAX};
        r->pipelines[i].lanes_max = line->lanes_max && line->lanes_max < most ? line->lanes_max : most;
        r->has_live |= line->source->live;
    }
    if (status == TW_OK) status = start_sinks(r, err);
    if (status == TW_OK) status = start_workers(r, err);
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
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
}

void run_get_progress(run *r, run_progress *out) {
    *out = (run_progress){.seconds = (double)(clock_ns() - r->begin_ns) * 1e-9};
    out->rows_in = atomic_load(&r->context.rows_in);
    out->rows_out = atomic_load(&r->context.rows_out);
    out->bytes_in = atomic_load(&r->context.bytes_in);
    pthread_mutex_lock(&r->lock);
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) {
        source *s = r->plan->pipelines[i]->source;
        if (s && r->pipelines[i].phase > PHASE_STARTING && r->pipelines[i].phase < PHASE_CLOSING)
            out->bytes_total += s->bytes_total;
    }
    pthread_mutex_unlock(&r->lock);
}

tw_status run_result(run *r, tw_error *err) {
    if (r->failed) {
        if (err) *err = r->error;
        return r->status;
    }
    if (r->cancelled) return error_set(err, TW_ERR_CANCELLED, "interrupted");
    if (r->committed) return TW_OK;
    for (uint32_t i = 0; i < r->plan->n_sinks; i++) {
        sink *k = r->plan->sinks[i];
        tw_status status = k->class->commit ? k->class->commit(k, &r->error) : TW_OK;
        if (status == TW_OK) continue;
        r->failed = true;
        r->status = status;
        return run_result(r, err);
    }
    r->committed = true;
    return bad_records_commit(r->context.bad, err);
}

/* VmHWM: what the limits of run.memory are about. */
static uint64_t peak_rss_bytes(void) {
    struct rusage u;
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
        .spilled_bytes = spill_bytes(c->spill),
        .parallelism = r->options.parallelism,
    };
}

static void drop_lanes(lane *l) {
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
    }
    plan *p = r->plan;
    for (uint32_t i = 0; r->pipelines && i < p->n_pipelines; i++) {
        drop_lanes(r->pipelines[i].idle);
        drop_lanes(r->pipelines[i].runnable);
        drop_lanes(r->pipelines[i].parked);
    }
    plan_drop_parts(p); /* their buffers belong to the run's memory */
    bad_records_free(r->context.bad);
    spill_free(r->context.spill);
    memory_destroy(r->context.memory);
    free(r->threads);
    free(r->pipelines);
    free(r->sinks);
    pthread_cond_destroy(&r->work);
    pthread_cond_destroy(&r->done);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
