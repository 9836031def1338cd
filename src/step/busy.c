/* busy: burns processor time for each row, for measuring how an engine spreads work. */
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "engine/bad_records.h"
#include "step/steps.h"

#define CHECK_NS 2000000u /* how often it looks whether the run was cancelled */

typedef struct busy_plan {
    operator_plan plan;
    uint64_t for_ns;
    int header; /* the column whose value begins with HASTE's header; -1: for_ns for each row */
} busy_plan;

typedef struct busy_state {
    operator operator;
    run_context *run;
} busy_state;

static tw_status busy_open(operator_plan *plan, run_context *run, operator **out, tw_error *err) {
    busy_state *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, TW_ERR_MEMORY, "out of memory for busy");
    s->operator = (operator){.class = plan->class, .plan = plan};
    s->run = run;
    *out = &s->operator;
    return TW_OK;
}

static void busy_close(operator *self) { free(self); }

/* Time of this thread's own, so that sharing a processor makes it last longer, as real work does. */
static void burn(const run_context *run, uint64_t ns) {
    uint64_t end = clock_of(CLOCK_THREAD_CPUTIME_ID) + ns;
    while (!run_cancelled(run)) {
        uint64_t now = clock_of(CLOCK_THREAD_CPUTIME_ID);
        if (now >= end) return;
        uint64_t turn = end - now < CHECK_NS ? end : now + CHECK_NS;
        volatile uint64_t sum = 0;
        while (clock_of(CLOCK_THREAD_CPUTIME_ID) < turn)
            for (int i = 0; i < 200; i++) sum = sum * 31 + (uint64_t)i;
    }
}

/* `C` and six digits of milliseconds; false if there is no such header. */
static bool header_ns(const view *v, uint64_t *out_ns) {
    const uint8_t *p = view_data(v);
    if (v->size < 7 || p[0] != 'C') return false;
    uint64_t ms = 0;
    for (int i = 1; i <= 6; i++) {
        if (p[i] < '0' || p[i] > '9') return false;
        ms = ms * 10 + (uint64_t)(p[i] - '0');
    }
    *out_ns = ms * 1000000u;
    return true;
}

static tw_status busy_process(operator *self, batch *in, batch **out, bool *more, tw_error *err) {
    busy_state *s = (busy_state *)self;
    const busy_plan *p = (const busy_plan *)self->plan;
    if (p->header < 0) {
        burn(s->run, p->for_ns * in->rows);
        *out = batch_ref(in);
        return TW_OK;
    }
    const column *c = &in->columns[p->header];
    buffer *rows;
    TRY(buffer_new(s->run->memory, MEMORY_FLOW, in->rows * sizeof(uint32_t), &rows, err));
    uint32_t *kept = (uint32_t *)(void *)rows->data, n = 0;
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < in->rows && status == TW_OK; i++) {
        uint64_t ns;
        if (column_is_valid(c, i) && header_ns((const view *)c->values + i, &ns)) {
            burn(s->run, ns);
            kept[n++] = i;
        } else {
            status = bad_row(s->run, in, i, "busy", "the message does not begin with C and six digits", err);
        }
    }
    if (status == TW_OK && n == in->rows) *out = batch_ref(in);
    else if (status == TW_OK && n) status = batch_pick(s->run->memory, in, kept, rows, n, out, err);
    buffer_unref(rows);
    return status;
}

static void busy_needs(operator_plan *plan, const bool *needed_out, bool *needed_in) {
    for (uint32_t i = 0; i < plan->out->n; i++) needed_in[i] = needed_out[i];
    if (((busy_plan *)plan)->header >= 0) needed_in[((busy_plan *)plan)->header] = true;
}

static void busy_free(operator_plan *plan) { free(plan); }

static const operator_class busy_class = {
    .open = busy_open,
    .process = busy_process,
    .close = busy_close,
    .needs = busy_needs,
    .free = busy_free,
};

/* The column that holds messages: `content`, `line`, or the only text there is. */
static int message_column(const schema *s) {
    int found = schema_find(s, "content");
    if (found < 0) found = schema_find(s, "line");
    for (uint32_t i = 0; i < s->n && found < 0; i++)
        if (type_is_view(s->fields[i].type)) found = (int)i;
    return found >= 0 && type_is_view(s->fields[found].type) ? found : -1;
}

static tw_status busy_build(stream *s, const args *a, tw_error *err) {
    error_list *errors = plan_errors(s->builder);
    if (args_given(a, "for") == args_given(a, "from"))
        return args_error(a, "for", errors, "give either 'for' or 'from'");
    int header = -1;
    if (args_given(a, "from")) {
        header = message_column(s->schema);
        if (header < 0) return args_error(a, "from", errors, "there is no string or binary column with a header");
    }
    busy_plan *p = calloc(1, sizeof *p);
    if (!p) return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    p->plan = (operator_plan){.class = &busy_class, .name = "busy", .costly = true, .rows_max = 1, .rejects = header >= 0};
    p->header = header;
    p->for_ns = (uint64_t)args_int(a, "for") * 1000u;
    /* About a millisecond of work is worth a hand-over. */
    if (header < 0 && p->for_ns && p->for_ns < 1000000u) p->plan.rows_max = (uint32_t)(1000000u / p->for_ns);
    if (header < 0 && p->for_ns == 0) p->plan.costly = false;
    return stream_add_operator(s, &p->plan, s->schema, err);
}

static const char *const busy_from[] = {"header", NULL};
static const option busy_options[] = {
    {"for", OPTION_DURATION, 0, "processor time for each row", .max = 3600000000ll},
    {"from", OPTION_ENUM, 0, "take it from the message: milliseconds in characters 1 to 6", .values = busy_from},
};
const step_descriptor step_busy = {
    .descriptor = {.name = "busy",
                   .summary = "burns processor time for each row, for measuring",
                   .options = busy_options,
                   .n_options = COUNT_OF(busy_options),
                   .shorthand = "for",
                   .details = "Idle workers take single rows, so one split of costly rows keeps all of them busy.",
                   .example = "- busy: {for: 20ms}"},
    .build = busy_build,
    .columns = COLUMNS_KEPT,
};
