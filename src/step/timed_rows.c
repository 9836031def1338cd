#include "step/timed_rows.h"

#include <stdlib.h>

#include "engine/bad_records.h"
#include "step/event_clock.h"

typedef struct timed_plan {
    operator_plan plan;
    uint32_t time;
    int64_t lateness;
} timed_plan;

typedef struct timed_state {
    operator operator;
    run_context *run;
    int64_t own, others, after; /* watermarks: before the next row, of its partition and the others; after the split */
} timed_state;

static tw_status timed_open(operator_plan *plan, run_context *run, operator **out, tw_error *err) {
    timed_state *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, TW_ERR_MEMORY, "out of memory for %s", plan->name);
    s->operator = (operator){.class = plan->class, .plan = plan};
    s->run = run;
    *out = &s->operator;
    return TW_OK;
}
static void timed_close(operator *self) { free(self); }

static void timed_begin_split(operator *self, const reader *split) {
    timed_state *s = (timed_state *)self;
    s->own = split->own;
    s->others = split->others;
    s->after = split->after.watermark;
}

/* Those that stay, in `rows`; and the own watermark behind them. */
static uint32_t in_time(const timed_state *s, const column *c, uint32_t *rows, uint64_t *late, int64_t *own) {
    int64_t lateness = ((const timed_plan *)s->operator.plan)->lateness;
    const int64_t *times = c->values;
    uint32_t n = 0;
    *own = s->own;
    *late = 0;
    for (uint32_t i = 0; i < c->rows; i++) {
        if (!column_is_valid(c, i)) continue;
        bool is_late = lateness != NOTHING_LATE && times[i] < (*own < s->others ? *own : s->others);
        *late += is_late;
        rows[n] = i;
        n += !is_late;
        int64_t after = lateness == NOTHING_LATE ? *own : event_clock_less(times[i], lateness);
        if (after > *own) *own = after;
    }
    return n;
}

/* Whether every row stays, as most do. */
static bool all_in_time(timed_state *s, const column *c) {
    int64_t lateness = ((const timed_plan *)s->operator.plan)->lateness, least = INT64_MAX, most = INT64_MIN;
    const int64_t *times = c->values;
    if (c->valid) return false;
    if (lateness == NOTHING_LATE) return true;
    for (uint32_t i = 0; i < c->rows; i++) {
        if (times[i] < least) least = times[i];
        if (times[i] > most) most = times[i];
    }
    if (least < s->after) return false;
    int64_t after = event_clock_less(most, lateness);
    if (after > s->own) s->own = after;
    return true;
}

static tw_status report_nulls(const timed_state *s, const batch *in, const column *c, tw_error *err) {
    for (uint32_t i = 0; i < in->rows; i++)
        if (!column_is_valid(c, i)) TRY(bad_row(s->run, in, i, s->operator.plan->name, "the time is null", err));
    return TW_OK;
}

static tw_status timed_process(operator *self, batch *in, batch **out, bool *more, tw_error *err) {
    timed_state *s = (timed_state *)self;
    const column *c = &in->columns[((const timed_plan *)self->plan)->time];
    buffer *rows;
    uint64_t late;
    int64_t own;
    if (all_in_time(s, c)) {
        *out = batch_ref(in);
        return TW_OK;
    }
    TRY(buffer_new(s->run->memory, MEMORY_FLOW, in->rows * sizeof(uint32_t), &rows, err));
    uint32_t *kept = (uint32_t *)(void *)rows->data, n = in_time(s, c, kept, &late, &own);
    /* First what may be tried again. */
    tw_status status = TW_OK;
    if (n == in->rows) *out = batch_ref(in);
    else if (n) status = batch_pick(s->run->memory, in, kept, rows, n, out, err);
    buffer_unref(rows);
    TRY(status);
    status = report_nulls(s, in, c, err);
    if (status != TW_OK) {
        batch_unref(*out);
        *out = NULL;
        return status;
    }
    s->own = own;
    if (late) atomic_fetch_add_explicit(&s->run->late_records, late, memory_order_relaxed);
    return TW_OK;
}

static void timed_needs(operator_plan *plan, const bool *needed_out, bool *needed_in) {
    for (uint32_t i = 0; i < plan->out->n; i++) needed_in[i] = needed_out[i];
    needed_in[((timed_plan *)plan)->time] = true;
}
static void timed_free(operator_plan *plan) { free(plan); }

static const operator_class timed_class = {
    .open = timed_open,
    .process = timed_process,
    .begin_split = timed_begin_split,
    .close = timed_close,
    .needs = timed_needs,
    .free = timed_free,
};

tw_status stream_timed_rows(stream *s, const char *step, uint32_t time, int64_t lateness, tw_error *err) {
    timed_plan *p = calloc(1, sizeof *p);
    if (!p) return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    p->plan = (operator_plan){.class = &timed_class, .name = step, .rejects = true, .inner = true};
    p->time = time;
    p->lateness = lateness;
    schema *same = schema_ref(s->schema);
    tw_status status = stream_add_operator(s, &p->plan, same, err);
    schema_unref(same);
    return status;
}
