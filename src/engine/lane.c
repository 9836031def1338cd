#include "engine/lane.h"

#include <stdlib.h>

#include "base/clock.h"

#define IO_RETRIES_MAX 3
#define MEMORY_RETRIES_MAX 200
#define RETRY_NS 1000000ull
/* The share of a goal for latency that a piece may take, and what it may always take so that calls stay cheap. */
#define GOAL_PARTS 4
#define PIECE_NS_MIN 50000u

tw_status lane_new(pipeline *p, run_context *run, const sink_gate *gate, lane **out, tw_error *err) {
    uint32_t n = p->n_operators;
    lane *l = calloc(1, sizeof *l);
    if (!l) return error_set(err, TW_ERR_MEMORY, "out of memory for a lane");
    l->pipeline = p;
    l->run = run;
    l->gate = gate;
    l->operators = calloc(n + 1, sizeof *l->operators);
    l->pending = calloc((n + 1) * 2, sizeof *l->pending);
    l->rows_in = calloc((n + 2) * 3, sizeof *l->rows_in);
    l->taken = calloc(n + 1, sizeof *l->taken);
    if (l->pending) l->whole = l->pending + n + 1;
    if (!l->operators || !l->pending || !l->rows_in || !l->taken) {
        lane_drop(l);
        return error_set(err, TW_ERR_MEMORY, "out of memory for a lane");
    }
    l->rows_out = l->rows_in + n + 2;
    l->busy_ns = l->rows_out + n + 2;
    *out = l;
    return TW_OK;
}

static void forget_work(lane *l) {
    if (l->reader) l->reader->class->free(l->reader);
    l->reader = NULL;
    l->opened = false;
    batch_unref(l->ready);
    l->ready = NULL;
    for (uint32_t i = 0; i < l->pipeline->n_operators; i++) {
        batch_unref(l->pending[i]);
        batch_unref(l->whole[i]);
        l->pending[i] = l->whole[i] = NULL;
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
    free(l->taken);
    free(l->rows_in);
    free(l);
}

static void add(step_statistics *s, uint64_t rows_in, uint64_t rows_out, uint64_t busy_ns) {
    atomic_fetch_add(&s->rows_in, rows_in);
    atomic_fetch_add(&s->rows_out, rows_out);
    atomic_fetch_add(&s->busy_ns, busy_ns);
}

void lane_count(const lane *l, step_statistics **steps) {
    const pipeline *p = l->pipeline;
    uint32_t n = p->n_operators;
    if (p->source_step >= 0) add(steps[p->source_step], 0, p->source->inner ? 0 : l->rows_out[0], l->busy_ns[0]);
    for (uint32_t i = 0; i < n; i++)
        if (p->operators[i]->step >= 0)
            add(steps[p->operators[i]->step], p->operators[i]->inner ? 0 : l->rows_in[i + 1],
                p->operators[i]->inner ? 0 : l->rows_out[i + 1], l->busy_ns[i + 1]);
    if (p->sink->step < 0) return;
    add(steps[p->sink->step], p->sink->inner ? 0 : l->rows_in[n + 1], 0, l->busy_ns[n + 1]);
    atomic_fetch_add(&steps[p->sink->step]->blocked_ns, l->blocked_ns);
}

tw_status lane_close(lane *l, step_statistics **steps, tw_error *err) {
    tw_status status = TW_OK;
    sink_writer *w = l->writer;
    if (w && !atomic_load(&l->gate->unwanted)) {
        uint64_t begin = clock_ns();
        status = w->sink->class->close(w, err);
        if (status == TW_OK) l->writer = NULL;
        l->busy_ns[l->pipeline->n_operators + 1] += clock_ns() - begin;
    }
    lane_count(l, steps);
    lane_drop(l);
    return status;
}

static void begin(lane *l) {
    reader *r = l->reader;
    pipeline *p = l->pipeline;
    l->order.input = p->input;
    l->order.epoch = r->after.epoch;
    l->order.partition = r->partition;
    l->order.arrived_ns = r->arrived_ns;
    /* Inputs of a union stand one after the other. */
    l->order.position = (r->position << r->spread) + ((uint64_t)p->input << p->input_shift);
    for (uint32_t i = 0; i < p->n_operators; i++)
        if (l->operators[i]->class->begin_split) l->operators[i]->class->begin_split(l->operators[i], r);
}

/* What becomes of a lane whose call gave `status`, which is not TW_OK. Passing trouble of a disk is
 * given RETRIES_MAX chances; memory is awaited as long as other lanes may let go of theirs. */
static lane_outcome outcome_of(lane *l, tw_status status, bool io, tw_error *err) {
    if (status == STATUS_WAIT) return LANE_WAITS;
    if (!run_cancelled(l->run)) {
        if (status == TW_ERR_IO && io && l->tries < IO_RETRIES_MAX) {
            l->resume_ns = clock_ns() + (RETRY_NS << 3 * l->tries++);
            return LANE_RETRIES;
        }
        if (status == TW_ERR_MEMORY && l->tries < MEMORY_RETRIES_MAX) {
            l->tries++;
            l->resume_ns = clock_ns() + RETRY_NS;
            return LANE_RETRIES;
        }
    }
    if (status == TW_END) error_set(err, TW_ERR_INTERNAL, "a step ended before its input did");
    else if (!err->code) error_set(err, status, "a part of the run failed and does not say why");
    return LANE_FAILED;
}

/* Goes on where it failed before. */
static tw_status prepare(lane *l, tw_error *err) {
    pipeline *p = l->pipeline;
    for (uint32_t i = 0; i < p->n_operators; i++) {
        operator_plan *o = p->operators[i];
        if (!l->operators[i]) TRY(o->class->open(o, l->run, &l->operators[i], err));
    }
    if (!l->writer) TRY(p->sink->class->open(p->sink, &l->writer, err));
    l->prepared = true;
    return TW_OK;
}

/* The split comes first: where rows are, all that the operators rest on has been there before. */
lane_outcome lane_open(lane *l, tw_error *err) {
    source *s = l->pipeline->source;
    tw_status status = l->reader ? TW_OK : s->class->open(s, l->order.split, &l->reader, err);
    if (status == TW_END) return LANE_NO_SPLIT;
    if (status != TW_OK) {
        l->reader = NULL;
        return outcome_of(l, status, true, err);
    }
    if (!l->prepared) status = prepare(l, err);
    if (status != TW_OK) return outcome_of(l, status == STATUS_WAIT ? TW_ERR_INTERNAL : status, false, err);
    l->tries = 0;
    begin(l);
    l->opened = true;
    return LANE_OPENED;
}

/* Each step_* does one call: TW_OK, or what it failed with, having taken nothing. */

static tw_status step_push(lane *l, uint64_t *now, tw_error *err) {
    sink *k = l->writer->sink;
    uint32_t n = l->pipeline->n_operators;
    bool early = l->order.epoch > atomic_load_explicit(&l->gate->epoch, memory_order_acquire);
    if (early || (k->class->ready && !k->class->ready(k, &l->order))) {
        if (!l->parked_ns) l->parked_ns = *now;
        return STATUS_WAIT;
    }
    if (l->parked_ns) {
        l->blocked_ns += *now - l->parked_ns;
        l->parked_ns = 0;
    }
    tw_status status = k->class->push(l->writer, &l->order, l->ready, err);
    uint64_t then = clock_ns();
    l->busy_ns[n + 1] += then - *now;
    l->piece_ns += then - *now;
    *now = then;
    if (status != TW_OK) return status;
    if (l->run->latency_ns && k->class->commit && l->order.arrived_ns)
        l->run->arrived(l->run->engine, l->ready->rows, then - l->order.arrived_ns);
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

/* A new piece begins. How many rows it should have by what those of the last one took; more only step by step. */
static void begin_piece(lane *l) {
    uint64_t goal = l->run->latency_ns / GOAL_PARTS, most = (uint64_t)l->piece_rows * 4;
    if (goal < PIECE_NS_MIN) goal = PIECE_NS_MIN;
    uint64_t rows = l->piece ? goal / (l->piece_ns / l->piece + 1) : 1;
    if (l->piece && rows > most) rows = most;
    if (rows > l->run->batch_rows) rows = l->run->batch_rows;
    l->piece_rows = rows ? (uint32_t)rows : 1;
    l->piece = 0;
    l->piece_ns = 0;
}

static tw_status next_piece(lane *l, uint32_t i, tw_error *err) {
    batch *whole = l->whole[i];
    uint32_t n = whole->rows - l->taken[i];
    if (i == 0 && l->run->latency_ns) {
        if (!l->piece || l->piece_ns) begin_piece(l); /* else there was no memory to cut this one */
        if (n > l->piece_rows) n = l->piece_rows;
        l->piece = n;
    }
    if (n < whole->rows) return batch_slice(l->run->memory, whole, l->taken[i], n, &l->pending[i], err);
    l->pending[i] = batch_ref(whole);
    return TW_OK;
}

static tw_status step_operator(lane *l, uint32_t i, uint64_t *now, tw_error *err) {
    operator *o = l->operators[i];
    batch *whole = l->whole[i], *out = NULL;
    if (!l->pending[i]) TRY(next_piece(l, i, err));
    batch *in = l->pending[i];
    bool more = false;
    tw_status status = o->class->process(o, in, &out, &more, err);
    uint64_t then = clock_ns();
    l->busy_ns[i + 1] += then - *now;
    l->piece_ns += then - *now;
    *now = then;
    if (status != TW_OK) return status;
    if (!more) {
        l->rows_in[i + 1] += in->rows;
        l->taken[i] += in->rows;
        l->pending[i] = NULL;
        batch_unref(in);
        if (whole && l->taken[i] == whole->rows) {
            batch_unref(whole);
            l->whole[i] = NULL;
        }
    }
    if (out) {
        l->rows_out[i + 1] += out->rows;
        hand_on(l, i + 1, out);
    }
    return TW_OK;
}

static tw_status step_read(lane *l, uint64_t *now, tw_error *err) {
    batch *b = NULL;
    tw_status status = l->reader->class->next(l->reader, &b, err);
    uint64_t then = clock_ns();
    l->busy_ns[0] += then - *now;
    uint64_t came = *now;
    *now = then;
    if (status != TW_OK) return status;
    l->rows_out[0] += b->rows;
    bool aims = l->run->latency_ns, told = l->reader->arrived_ns || l->pipeline->feeder;
    if (aims) l->order.arrived_ns = told ? l->reader->arrived_ns : came;
    if (aims && l->pipeline->n_operators) l->whole[0] = b, l->taken[0] = 0; /* taken in pieces */
    else hand_on(l, 0, b);
    return TW_OK;
}

static lane_outcome end_split(lane *l, tw_error *err) {
    sink *k = l->writer->sink;
    forget_work(l);
    l->parked_ns = 0;
    if (!k->class->end_split || atomic_load_explicit(&l->gate->unwanted, memory_order_relaxed)) return LANE_SPLIT_END;
    tw_status status = k->class->end_split(l->writer, &l->order, err);
    if (status == TW_OK) return LANE_SPLIT_END;
    if (!err->code) error_set(err, status, "a sink failed and does not say why");
    return LANE_FAILED;
}

/* Some row of the batch cannot be computed: its first half is tried alone. false: it is one row. */
static bool halve(lane *l, uint32_t i) {
    batch *in = l->pending[i], *half;
    if (!l->pipeline->operators[i]->rejects || in->rows == 1) return false;
    if (batch_slice(l->run->memory, in, 0, in->rows / 2, &half, NULL) != TW_OK) return false;
    if (l->whole[i]) batch_unref(in);
    else l->whole[i] = in, l->taken[i] = 0;
    l->pending[i] = half;
    return true;
}

/* The failure takes its place in row order, where the sink keeps that. */
static lane_outcome fail(lane *l, tw_error *err) {
    sink *k = l->writer->sink;
    if (!k->class->push_failure || k->class->push_failure(l->writer, &l->order, err) != TW_OK) return LANE_FAILED;
    *err = (tw_error){0};
    return end_split(l, err);
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
        if (atomic_load_explicit(&l->gate->unwanted, memory_order_relaxed)) return end_split(l, err);
        if (k->class->satisfied && k->class->satisfied(k)) return end_split(l, err);
        tw_status status;
        bool reads = false, pushes = l->ready;
        uint32_t i = l->pipeline->n_operators;
        if (pushes) {
            status = step_push(l, &now, err);
        } else {
            while (i > 0 && !l->pending[i - 1] && !l->whole[i - 1]) i--;
            reads = i == 0;
            status = reads ? step_read(l, &now, err) : step_operator(l, i - 1, &now, err);
        }
        if (reads && status == TW_END) return end_split(l, err);
        if (status == TW_ERR_DATA && !pushes && !reads && k->class->push_failure && halve(l, i - 1)) {
            *err = (tw_error){0};
            continue;
        }
        if (status != TW_OK) {
            lane_outcome outcome = outcome_of(l, status, reads, err);
            bool in_order = !pushes && (status == TW_ERR_DATA || status == TW_ERR_IO);
            return outcome == LANE_FAILED && in_order ? fail(l, err) : outcome;
        }
        l->tries = 0;
    }
}
