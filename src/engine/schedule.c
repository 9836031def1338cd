/* schedule.c: what a worker does next. All that there is to do is a piece of some pipeline: start it,
 * open a split, go on with a lane, close a lane, end it. Workers look for pieces from the pipeline
 * furthest downstream to the first.
 *
 * Nobody sleeps while there is a piece: whoever changes the state, under the lock, either takes a piece
 * itself or finds that there is none; and whoever goes off with a piece wakes one of those who sleep if
 * there is another one. Calls of run_wake_lanes are counted, so that a lane that found the door closed
 * sees, before it parks, that somebody opened it meanwhile. */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/run_internal.h"

enum { PIECES_PER_POLL = 64 };

void run_fail(run *r, tw_status status, const tw_error *err) {
    if (!r->failed && !r->cancelled) {
        r->failed = true;
        r->status = status;
        r->error = *err;
    }
    atomic_store(&r->stop, true);
    run_rouse(r, UINT32_MAX);
    epochs_moved(r);
}

void run_rouse(run *r, uint32_t n) {
    uint32_t most = r->asleep - r->woken;
    if (n > most) n = most;
    if (!n) return;
    r->woken += n;
    poller_wake(r->context.poller, n);
}

static void push_lane(lane **list, lane *l) {
    l->next = *list;
    *list = l;
}

static lane *pop_lane(lane **list) {
    lane *l = *list;
    *list = l->next;
    return l;
}

static void unpark(run *r, pipeline_state *p) {
    while (p->parked) {
        push_lane(&p->runnable, pop_lane(&p->parked));
        atomic_fetch_sub(&r->sleepers, 1);
    }
}

void run_wake_lanes(void *engine) {
    run *r = engine;
    atomic_fetch_add(&r->wakes, 1);
    bool all_work = true;
    if (atomic_load(&r->sleepers)) {
        pthread_mutex_lock(&r->lock);
        for (uint32_t i = 0; i < r->plan->n_pipelines; i++) unpark(r, &r->pipelines[i]);
        all_work = !r->asleep;
        if (!all_work) run_rouse(r, 1);
        pthread_mutex_unlock(&r->lock);
    }
    if (all_work && r->has_live && !atomic_load_explicit(&r->yield, memory_order_relaxed))
        atomic_store_explicit(&r->yield, true, memory_order_relaxed);
}

/* ---- pieces ---- */

typedef enum piece { NOTHING, SKIP, START, CUT, RESUME, OPEN, CLOSE, END } piece;

/* There are workers beyond those that the job is given, for pipelines that are absorbed: however busy the steps
 * are, somebody reads. */
static bool has_turn(const run *r, const pipeline_state *p) { return p->absorbed || r->working < r->options.parallelism; }

/* Whether its rows are of no use any more. */
static bool is_satisfied(const pipeline_state *p) {
    sink *k = p->pipeline->sink;
    return atomic_load(&p->sink->gate.unwanted) || (k->class->satisfied && k->class->satisfied(k));
}

static bool may_end(const run *r, const pipeline_state *p) {
    if (r->holding && !r->suspended && is_root(p)) return false;
    return !p->closing && !p->lanes && !p->sink->advancing && !p->opening;
}

static piece piece_of(run *r, pipeline_state *p) {
    if (!has_turn(r, p)) return NOTHING;
    if (p->epoch < r->epoch && is_root(p) && !p->opening && p->phase >= PHASE_RUNNING && p->phase < PHASE_ENDED) return CUT;
    switch (p->phase) {
    case PHASE_WAITING:
        if (is_satisfied(p)) return SKIP;
        return p->n_awaited ? NOTHING : START;
    case PHASE_RUNNING:
        if (!p->opening && (is_satisfied(p) || (r->suspended && p->pipeline->endless))) p->phase = PHASE_DRAINING;
        break;
    case PHASE_DRAINING: break;
    case PHASE_CLOSING:
        if (p->idle) return CLOSE;
        return may_end(r, p) ? END : NOTHING;
    default: return NOTHING;
    }
    if (p->runnable) return RESUME;
    if (p->delayed) {
        uint64_t now = clock_ns();
        for (const lane *l = p->delayed; l; l = l->next)
            if (l->resume_ns <= now) return RESUME;
    }
    if (p->phase == PHASE_RUNNING) {
        if (p->busy >= p->lanes_max || p->opening) return NOTHING;
        return p->dry_at == atomic_load(&r->wakes) ? NOTHING : OPEN;
    }
    if (p->busy) return NOTHING;
    return p->idle ? CLOSE : may_end(r, p) ? END : NOTHING;
}

/* Lets go of the lock to do a piece. */
static void leave(run *r) {
    if (r->asleep > r->woken)
        for (uint32_t i = r->plan->n_pipelines; i-- > 0;)
            if (piece_of(r, &r->pipelines[i]) != NOTHING) {
                run_rouse(r, 1);
                break;
            }
    pthread_mutex_unlock(&r->lock);
}

/* ---- marks ---- */

/* What holds for all that feeds the sink. Bounded inputs promise nothing before their end, and stand in every
 * epoch. */
static mark combined_mark(const run *r, const sink_state *k) {
    mark m = {.watermark = WATERMARK_END, .epoch = UINT32_MAX};
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) {
        const pipeline_state *p = &r->pipelines[i];
        if (p->sink != k || p->phase == PHASE_ENDED) continue;
        mark now = p->pipeline->endless ? p->frontier.now : (mark){.watermark = WATERMARK_NONE, .epoch = UINT32_MAX};
        if (now.watermark < m.watermark) m.watermark = now.watermark;
        if (now.epoch < m.epoch) m.epoch = now.epoch;
    }
    return m;
}

/* Tells a sink of an endless flow what holds by now. The lock is let go meanwhile; who comes while somebody tells it
 * leaves that to him. */
static void tell_sink(run *r, sink_state *k) {
    while (k->sink->endless && !k->advancing && !k->finished && k->inputs_left) {
        mark to = combined_mark(r, k);
        if (to.watermark == k->told.watermark && to.epoch == k->told.epoch) return;
        k->told = to;
        k->advancing = true;
        leave(r);
        tw_error err = {0};
        tw_status status = k->sink->class->advance ? k->sink->class->advance(k->sink, to, &err) : TW_OK;
        bool new_epoch = to.epoch != atomic_load(&k->gate.epoch);
        if (status == TW_OK && new_epoch) status = epochs_save_sink(r, k, &err);
        pthread_mutex_lock(&r->lock);
        k->advancing = false;
        if (status != TW_OK) {
            run_fail(r, status, &err);
            return;
        }
        if (!new_epoch) continue;
        atomic_store(&k->gate.epoch, to.epoch);
        epochs_moved(r);
        atomic_fetch_add(&r->wakes, 1);
        for (uint32_t i = 0; i < r->plan->n_pipelines; i++)
            if (r->pipelines[i].sink == k) unpark(r, &r->pipelines[i]);
    }
}

/* ---- each does one piece; the lock is held on entry and on return ---- */

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
    leave(r);
    tw_error err = {0};
    uint64_t n_splits = 0;
    source *s = p->pipeline->source;
    tw_status status = s->class->start(s, &r->context, &n_splits, &err);
    pthread_mutex_lock(&r->lock);
    if (status != TW_OK) {
        run_fail(r, status, &err);
        return;
    }
    p->n_splits = n_splits;
    p->multiplier = 1;
    if (p->pipeline->sink->wants_shuffled && n_splits != UINT64_MAX) p->multiplier = shuffle_multiplier(n_splits);
    p->bytes_total = s->bytes_total;
    p->started_ns = clock_ns();
    p->phase = n_splits == 0 ? PHASE_DRAINING : PHASE_RUNNING;
}

static void count_active(run *r, const pipeline_state *p) {
    const pipeline *line = p->pipeline;
    step_statistics **steps = r->plan->steps;
    if (!p->started_ns) return;
    uint64_t active = (clock_ns() - p->started_ns) * (p->lanes_max ? p->lanes_max : 1);
    if (line->source_step >= 0) atomic_fetch_add(&steps[line->source_step]->active_ns, active);
    for (uint32_t i = 0; i < line->n_operators; i++)
        if (line->operators[i]->step >= 0) atomic_fetch_add(&steps[line->operators[i]->step]->active_ns, active);
    if (line->sink->step >= 0) atomic_fetch_add(&steps[line->sink->step]->active_ns, active);
}

static tw_status finish_sink(run *r, sink *k, tw_error *err) {
    uint64_t begin = clock_ns();
    tw_status status = k->class->finish(k, err);
    if (k->step >= 0) atomic_fetch_add(&r->plan->steps[k->step]->busy_ns, clock_ns() - begin);
    return status;
}

/* The pipeline has ended, and its sink too if it was the last one: who waited for them? */
static void tell_waiting(run *r, const pipeline_state *ended, bool sink_finished) {
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) {
        pipeline *line = r->plan->pipelines[i];
        for (uint32_t k = 0; k < line->n_also_after; k++)
            if (line->also_after[k] == ended->pipeline) r->pipelines[i].n_awaited--;
        for (uint32_t k = 0; sink_finished && k < line->n_after; k++)
            if (line->after[k] == ended->pipeline->sink) r->pipelines[i].n_awaited--;
    }
    for (uint32_t i = 0; i < ended->n_reads; i++) {
        sink_state *k = ended->reads[i];
        if (--k->readers_left || k->finished) continue;
        atomic_store(&k->gate.unwanted, true);
        for (uint32_t n = 0; n < r->plan->n_pipelines; n++)
            if (r->pipelines[n].sink == k) unpark(r, &r->pipelines[n]);
    }
}

static void end_pipeline(run *r, pipeline_state *p) {
    pipeline *line = p->pipeline;
    sink_state *k = p->sink;
    p->phase = PHASE_CLOSING;
    p->closing++; /* keeps others out */
    uint64_t n_splits = p->next_split;
    /* Frees states early; but not what others may still fill, when the pipeline was never started. */
    source *s = p->started_ns && !line->source->class->committed ? line->source : NULL;
    if (s) line->source = NULL;
    leave(r);
    count_active(r, p);
    if (s) s->class->free(s);
    tw_error err = {0};
    tw_status status = TW_OK;
    if (k->sink->class->end_input && !atomic_load(&k->gate.unwanted))
        status = k->sink->class->end_input(k->sink, line->input, n_splits, &err);
    pthread_mutex_lock(&r->lock);
    bool last = --k->inputs_left == 0;
    if (status == TW_OK && last && !atomic_load(&k->gate.unwanted)) {
        leave(r);
        status = finish_sink(r, k->sink, &err);
        pthread_mutex_lock(&r->lock);
    }
    p->closing--;
    if (status != TW_OK) {
        run_fail(r, status, &err);
        return;
    }
    k->finished |= last;
    p->phase = PHASE_ENDED;
    epochs_moved(r);
    r->ended++;
    tell_waiting(r, p, last);
    tell_sink(r, k);
}

/* Between two openings: what is opened from now on belongs to the new epoch. */
static void cut_source(run *r, pipeline_state *p) {
    p->opening = true;
    uint32_t epoch = r->epoch;
    leave(r);
    tw_error err = {0};
    tw_status status = epochs_save_source(r, p, &err);
    pthread_mutex_lock(&r->lock);
    p->opening = false;
    if (status != TW_OK) {
        run_fail(r, status, &err);
        return;
    }
    p->epoch = epoch;
    frontier_cut(&p->frontier, epoch);
    epochs_moved(r);
    tell_sink(r, p->sink);
}

static void close_lane(run *r, pipeline_state *p) {
    lane *l = pop_lane(&p->idle);
    p->phase = PHASE_CLOSING;
    p->closing++;
    leave(r);
    tw_error err = {0};
    tw_status status = lane_close(l, r->plan->steps, &err);
    pthread_mutex_lock(&r->lock);
    p->closing--;
    p->lanes--;
    if (status != TW_OK) run_fail(r, status, &err);
}

static void rest(pipeline_state *p, lane *l) {
    push_lane(&p->idle, l);
    p->busy--;
}

static void delay(run *r, pipeline_state *p, lane *l) {
    push_lane(&p->delayed, l);
    r->n_delayed++;
}

static void run_lane(run *r, pipeline_state *p, lane *l) {
    uint64_t wakes = atomic_load(&r->wakes);
    atomic_store_explicit(&r->yield, false, memory_order_relaxed);
    leave(r);
    tw_error err = {0};
    lane_outcome outcome = lane_run(l, &r->yield, &err);
    pthread_mutex_lock(&r->lock);
    switch (outcome) {
    case LANE_SPLIT_END:
        rest(p, l);
        if (!p->pipeline->endless) return;
        frontier_end(&p->frontier, l->order.split);
        tell_sink(r, p->sink);
        return;
    case LANE_YIELDS: push_lane(&p->runnable, l); return;
    case LANE_RETRIES: delay(r, p, l); return;
    case LANE_WAITS:
        atomic_fetch_add(&r->sleepers, 1);
        if (atomic_load(&r->wakes) == wakes && !atomic_load(&p->sink->gate.unwanted)) {
            push_lane(&p->parked, l);
            return;
        }
        atomic_fetch_sub(&r->sleepers, 1); /* woken meanwhile */
        push_lane(&p->runnable, l);
        return;
    default:
        rest(p, l); /* dropped at the end */
        run_fail(r, err.code, &err);
    }
}

/* Splits of a source that does not know how many it has come one after the other: `opening` is set. */
static void open_split(run *r, pipeline_state *p, lane *l) {
    bool counted = p->n_splits == UINT64_MAX;
    uint64_t wakes = atomic_load(&r->wakes);
    leave(r);
    tw_error err = {0};
    lane_outcome outcome = lane_open(l, &err);
    if (!counted && outcome == LANE_NO_SPLIT) {
        error_set(&err, TW_ERR_INTERNAL, "a source ended before its last split");
        outcome = LANE_FAILED;
    } else if (!counted && outcome == LANE_WAITS) {
        error_set(&err, TW_ERR_INTERNAL, "a source that knows its splits waits for one");
        outcome = LANE_FAILED;
    }
    pthread_mutex_lock(&r->lock);
    if (outcome == LANE_RETRIES) {
        delay(r, p, l);
        return;
    }
    p->opening = false;
    switch (outcome) {
    case LANE_OPENED:
        if (counted) p->next_split++;
        if (is_root(p)) l->order.epoch = l->reader->after.epoch = p->epoch;
        if (p->pipeline->endless) {
            tw_status status = frontier_open(&p->frontier, l->order.split, l->reader->after, &err);
            if (status != TW_OK) {
                rest(p, l);
                run_fail(r, status, &err);
                return;
            }
        }
        run_lane(r, p, l);
        return;
    case LANE_NO_SPLIT:
        rest(p, l);
        if (p->phase == PHASE_RUNNING) p->phase = PHASE_DRAINING;
        epochs_moved(r);
        return;
    case LANE_WAITS:
        rest(p, l);
        p->dry_at = wakes;
        return;
    default:
        rest(p, l);
        run_fail(r, err.code, &err);
    }
}

static void begin_split(run *r, pipeline_state *p) {
    lane *l;
    if (p->idle) {
        l = pop_lane(&p->idle);
    } else {
        tw_error err = {0};
        tw_status status = lane_new(p->pipeline, &r->context, &p->sink->gate, &l, &err);
        if (status != TW_OK) {
            run_fail(r, status, &err);
            return;
        }
        p->lanes++;
    }
    p->busy++;
    if (p->n_splits == UINT64_MAX) {
        p->opening = true;
        l->order.split = p->next_split;
    } else {
        uint64_t turn = p->next_split++;
        l->order.split = p->multiplier == 1 ? turn : (uint64_t)((__uint128_t)turn * p->multiplier % p->n_splits);
        if (p->next_split == p->n_splits) p->phase = PHASE_DRAINING;
    }
    open_split(r, p, l);
}

static void resume(run *r, pipeline_state *p) {
    lane *l = NULL;
    if (p->runnable) {
        l = pop_lane(&p->runnable);
    } else {
        lane **first = &p->delayed;
        for (lane **at = first; *at; at = &(*at)->next)
            if ((*at)->resume_ns < (*first)->resume_ns) first = at;
        l = *first;
        *first = l->next;
        r->n_delayed--;
    }
    if (l->opened) run_lane(r, p, l);
    else open_split(r, p, l);
}

/* Does one piece of work of a pipeline, if there is one. */
static bool work_on(run *r, pipeline_state *p) {
    piece found = piece_of(r, p);
    r->working += found != NOTHING && !p->absorbed;
    switch (found) {
    case NOTHING: return false;
    case START: start_pipeline(r, p); break;
    case CUT: cut_source(r, p); break;
    case RESUME: resume(r, p); break;
    case OPEN: begin_split(r, p); break;
    case CLOSE: close_lane(r, p); break;
    case SKIP:
    case END: end_pipeline(r, p); break;
    }
    r->working -= !p->absorbed;
    return true;
}

/* A piece of the pipeline furthest downstream that has one. Sources of endless flows come last, and in turn: one that
 * always has something would leave another unread. */
static bool work(run *r) {
    uint32_t n = r->plan->n_pipelines;
    for (uint32_t i = n; i-- > 0;)
        if (!is_root(&r->pipelines[i]) && work_on(r, &r->pipelines[i])) return true;
    for (uint32_t i = n; i-- > 0;) {
        uint32_t at = (i + r->turn) % n;
        if (!is_root(&r->pipelines[at]) || !work_on(r, &r->pipelines[at])) continue;
        r->turn = at; /* is the last to be asked the next time */
        return true;
    }
    return false;
}

/* ---- workers ---- */

/* Until something changes, or a lane is to be tried again. */
static void sleep_on(run *r) {
    uint64_t until = UINT64_MAX;
    for (uint32_t i = 0; r->n_delayed && i < r->plan->n_pipelines; i++)
        for (const lane *l = has_turn(r, &r->pipelines[i]) ? r->pipelines[i].delayed : NULL; l; l = l->next)
            if (l->resume_ns < until) until = l->resume_ns;
    r->asleep++;
    pthread_mutex_unlock(&r->lock);
    bool woken = poller_wait(r->context.poller, until ? until : 1);
    pthread_mutex_lock(&r->lock);
    r->asleep--;
    r->woken -= woken;
}

/* What is ready elsewhere is seen though the worker never sleeps. */
static void look_around(run *r) {
    pthread_mutex_unlock(&r->lock);
    poller_wait(r->context.poller, 0);
    pthread_mutex_lock(&r->lock);
}

static void count_lanes(const lane *l, step_statistics **steps) {
    for (; l; l = l->next) lane_count(l, steps);
}

/* The last worker leaves: what lanes have counted that could not be closed is told, too. */
static void end_run(run *r) {
    for (uint32_t i = 0; i < r->plan->n_pipelines; i++) {
        pipeline_state *p = &r->pipelines[i];
        count_lanes(p->idle, r->plan->steps);
        count_lanes(p->runnable, r->plan->steps);
        count_lanes(p->parked, r->plan->steps);
        count_lanes(p->delayed, r->plan->steps);
    }
    r->end_ns = clock_ns();
    r->end_cpu_ns = clock_process_cpu_ns();
    pthread_cond_broadcast(&r->done);
    epochs_moved(r);
}

void *run_worker(void *argument) {
    run *r = argument;
    uint32_t n = r->plan->n_pipelines, pieces = 0;
    pthread_mutex_lock(&r->lock);
    while (!atomic_load(&r->stop) && r->ended < n) {
        uint64_t wakes = atomic_load(&r->wakes);
        if (work(r)) {
            if (r->plan->endless && ++pieces % PIECES_PER_POLL == 0) look_around(r);
            continue;
        }
        atomic_fetch_add(&r->sleepers, 1);
        if (atomic_load(&r->wakes) == wakes) sleep_on(r);
        atomic_fetch_sub(&r->sleepers, 1);
    }
    run_rouse(r, UINT32_MAX);
    if (--r->threads_left == 0) end_run(r);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}
