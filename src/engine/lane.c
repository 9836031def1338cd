#include "engine/lane.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

#define RETRIES_MAX 3
#define MEMORY_RETRIES_MAX 200

tw_status lane_open(pipeline *p, run_context *run, lane **out, tw_error *err) {
    uint32_t n = p->n_operators;
    lane *l = calloc(1, sizeof *l);
    if (!l) return error_set(err, TW_ERR_MEMORY, "out of memory for a lane");
    l->pipeline = p;
    l->run = run;
    l->operators = calloc(n + 1, sizeof *l->operators);
    l->pending = calloc(n + 1, sizeof *l->pending);
    l->rows_in = calloc((n + 2) * 3, sizeof *l->rows_in);
    if (!l->operators || !l->pending || !l->rows_in) {
        lane_drop(l);
        return error_set(err, TW_ERR_MEMORY, "out of memory for a lane");
    }
    l->rows_out = l->rows_in + n + 2;
    l->busy_ns = l->rows_out + n + 2;
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < n && status == TW_OK; i++) {
        operator_plan *o = p->operators[i];
        status = o->class->open(o, run, &l->operators[i], err);
    }
    if (status == TW_OK) status = p->sink->class->open(p->sink, &l->writer, err);
    if (status != TW_OK) {
        lane_drop(l);
        return status;
    }
    *out = l;
    return TW_OK;
}

static void forget_work(lane *l) {
    if (l->reader) l->reader->class->free(l->reader);
    l->reader = NULL;
    batch_unref(l->ready);
    l->ready = NULL;
    for (uint32_t i = 0; i < l->pipeline->n_operators; i++) {
        batch_unref(l->pending[i]);
        l->pending[i] = NULL;
    }
}

void lane_drop(lane *l) {
    if (!l) return;
    if (l->pending) forget_work(l);
    for (uint32_t i = 0; l->operators && i < l->pipeline->n_operators; i++)
        if (l->operators[i]) l->operators[i]->class->close(l->operators[i]);
    if (l->writer) l->writer->sink->class->drop(l->writer);
    free(l->operators);
    free(l->pending);
    free(l->rows_in);
    free(l);
}

static void count(step_statistics *s, uint64_t rows_in, uint64_t rows_out, uint64_t busy_ns) {
    atomic_fetch_add(&s->rows_in, rows_in);
    atomic_fetch_add(&s->rows_out, rows_out);
    atomic_fetch_add(&s->busy_ns, busy_ns);
}

tw_status lane_close(lane *l, step_statistics **steps, tw_error *err) {
    pipeline *p = l->pipeline;
    uint32_t n = p->n_operators;
    uint64_t begin = clock_ns();
    sink_writer *w = l->writer;
    tw_status status = w->sink->class->close(w, err);
    if (status == TW_OK) l->writer = NULL;
    l->busy_ns[n + 1] += clock_ns() - begin;
    if (p->source->step >= 0) count(steps[p->source->step], 0, l->rows_out[0], l->busy_ns[0]);
    for (uint32_t i = 0; i < n; i++)
        if (p->operators[i]->step >= 0)
            count(steps[p->operators[i]->step], l->rows_in[i + 1], l->rows_out[i + 1], l->busy_ns[i + 1]);
    if (p->sink->step >= 0) {
        count(steps[p->sink->step], l->rows_in[n + 1], 0, l->busy_ns[n + 1]);
        atomic_fetch_add(&steps[p->sink->step]->blocked_ns, l->blocked_ns);
    }
    lane_drop(l);
    return status;
}

void lane_begin(lane *l, reader *r, uint64_t split) {
    l->reader = r;
    l->order.split = split;
    l->order.input = l->pipeline->input;
    /* Inputs of a union stand one after the other. */
    l->order.position = r->position + ((uint64_t)l->pipeline->input << 56);
    for (uint32_t i = 0; i < l->pipeline->n_operators; i++)
        if (l->operators[i]->class->begin_split)
            l->operators[i]->class->begin_split(l->operators[i], r->position);
}

/* Whether a failed call should be repeated; waits a little first. Passing trouble of a disk is given
 * RETRIES_MAX chances; memory is awaited as long as other lanes may let go of theirs. */
static bool retry(lane *l, tw_status status, bool io, unsigned *tries) {
    struct timespec pause = {.tv_nsec = 1000000};
    if (run_cancelled(l->run)) return false;
    if (status == TW_ERR_IO && io && *tries < RETRIES_MAX) {
        for (unsigned i = 0; i < *tries; i++) pause.tv_nsec *= 8;
    } else if (status != TW_ERR_MEMORY || *tries >= MEMORY_RETRIES_MAX) {
        return false;
    }
    ++*tries;
    nanosleep(&pause, NULL);
    return true;
}

/* Each step_* does one call and says TW_OK, or another status that ends this turn. */

static tw_status step_push(lane *l, uint64_t *now, tw_error *err) {
    sink *k = l->writer->sink;
    uint32_t n = l->pipeline->n_operators;
    if (k->class->ready && !k->class->ready(k, &l->order)) {
        if (!l->parked_ns) l->parked_ns = *now;
        return STATUS_WAIT;
    }
    if (l->parked_ns) {
        l->blocked_ns += *now - l->parked_ns;
        l->parked_ns = 0;
    }
    tw_status status;
    unsigned tries = 0;
    do status = k->class->push(l->writer, &l->order, l->ready, err);
    while (status == TW_ERR_MEMORY && retry(l, status, false, &tries));
    uint64_t then = clock_ns();
    l->busy_ns[n + 1] += then - *now;
    *now = then;
    if (status != TW_OK) return status;
    l->order.position += l->ready->rows;
    l->rows_in[n + 1] += l->ready->rows;
    batch_unref(l->ready);
    l->ready = NULL;
    return TW_OK;
}

static void hand_on(lane *l, uint32_t from, batch *b) {
    if (from == l->pipeline->n_operators) l->ready = b;
    else l->pending[from] = b;
}

static tw_status step_operator(lane *l, uint32_t i, uint64_t *now, tw_error *err) {
    operator *o = l->operators[i];
    batch *in = l->pending[i], *out = NULL;
    bool more = false;
    tw_status status;
    unsigned tries = 0;
    do status = o->class->process(o, in, &out, &more, err);
    while (status != TW_OK && retry(l, status, false, &tries));
    uint64_t then = clock_ns();
    l->busy_ns[i + 1] += then - *now;
    *now = then;
    if (status != TW_OK) return status;
    if (!more) {
        l->rows_in[i + 1] += in->rows;
        l->pending[i] = NULL;
        batch_unref(in);
    }
    if (out) {
        l->rows_out[i + 1] += out->rows;
        hand_on(l, i + 1, out);
    }
    return TW_OK;
}

static tw_status step_read(lane *l, uint64_t *now, tw_error *err) {
    batch *b = NULL;
    tw_status status;
    unsigned tries = 0;
    do status = l->reader->class->next(l->reader, &b, err);
    while (status > TW_END && status != STATUS_WAIT && retry(l, status, true, &tries));
    uint64_t then = clock_ns();
    l->busy_ns[0] += then - *now;
    *now = then;
    if (status != TW_OK) return status;
    l->rows_out[0] += b->rows;
    hand_on(l, 0, b);
    return TW_OK;
}

static lane_outcome end_split(lane *l, tw_error *err) {
    sink *k = l->writer->sink;
    forget_work(l);
    if (k->class->end_split && k->class->end_split(l->writer, &l->order, err) != TW_OK)
        return LANE_FAILED;
    return LANE_SPLIT_END;
}

lane_outcome lane_run(lane *l, const atomic_bool *yield, tw_error *err) {
    sink *k = l->writer->sink;
    uint64_t now = clock_ns();
    for (bool first = true;; first = false) {
        if (run_cancelled(l->run)) {
            error_set(err, TW_ERR_CANCELLED, "interrupted");
            return LANE_FAILED;
        }
        if (!first && atomic_load_explicit(yield, memory_order_relaxed)) return LANE_YIELDS;
        if (k->class->satisfied && k->class->satisfied(k)) return end_split(l, err);
        tw_status status;
        if (l->ready) {
            status = step_push(l, &now, err);
        } else {
            uint32_t i = l->pipeline->n_operators;
            while (i > 0 && !l->pending[i - 1]) i--;
            status = i > 0 ? step_operator(l, i - 1, &now, err) : step_read(l, &now, err);
        }
        if (status == TW_END) return end_split(l, err);
        if (status == STATUS_WAIT) return LANE_WAITS;
        if (status != TW_OK) return LANE_FAILED;
    }
}
