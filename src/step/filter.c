/* filter: keeps the rows for which an expression is true. */
#include <stdlib.h>

#include "step/rows_kept.h"

typedef struct filter_plan {
    operator_plan plan;
    expr *condition;
    bool *needed; /* columns read downstream; the others are not picked */
    bool asked;
} filter_plan;

typedef struct filter_state {
    operator operator;
    run_context *run;
    expr_scratch *scratch;
} filter_state;

static void filter_close(operator *self) {
    expr_scratch_free(((filter_state *)self)->scratch);
    free(self);
}

static tw_status filter_open(operator_plan *plan, run_context *run, operator **out, tw_error *err) {
    filter_state *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, TW_ERR_MEMORY, "out of memory for filter");
    s->operator = (operator){.class = plan->class, .plan = plan};
    s->run = run;
    tw_status status = expr_scratch_new(((filter_plan *)plan)->condition, run->memory, &s->scratch, err);
    if (status != TW_OK) filter_close(&s->operator);
    else *out = &s->operator;
    return status;
}

/* A batch with the columns nobody reads left absent. */
static tw_status narrow(const filter_plan *p, batch *in, batch **out, tw_error *err) {
    batch *b;
    TRY(batch_new(in->schema, in->rows, &b, err));
    for (uint32_t i = 0; i < in->schema->n; i++) {
        if (!p->asked || p->needed[i]) column_share(&in->columns[i], &b->columns[i]);
        else b->columns[i] = (column){.type = in->columns[i].type, .rows = in->rows};
    }
    b->position = in->position;
    b->origin = origin_ref(in->origin);
    b->origin_rows = buffer_ref(in->origin_rows);
    *out = b;
    return TW_OK;
}

static tw_status filter_process(operator *self, batch *in, batch **out, bool *more, tw_error *err) {
    filter_state *s = (filter_state *)self;
    const filter_plan *p = (const filter_plan *)self->plan;
    memory *m = s->run->memory;
    buffer *rows;
    TRY(buffer_new(m, MEMORY_FLOW, (size_t)in->rows * sizeof(uint32_t) + 64, &rows, err));
    uint32_t *kept = (uint32_t *)(void *)rows->data, n = 0;
    expr_bad bad = {0};
    tw_status status = expr_select(p->condition, s->scratch, in, kept, &n, &bad, err);
    if (status == TW_OK && bad.n) {
        uint64_t bad_bits[BATCH_ROWS_MAX / 64] = {0};
        uint32_t n_bad = 0;
        status = report_bad_rows(s->run, in, &bad, "filter", bad_bits, &n_bad, err);
    }
    if (status == TW_OK && n == in->rows) {
        *out = batch_ref(in);
    } else if (status == TW_OK && n) {
        batch *narrowed;
        status = narrow(p, in, &narrowed, err);
        if (status == TW_OK) {
            status = batch_pick(m, narrowed, kept, rows, n, out, err);
            batch_unref(narrowed);
        }
    }
    buffer_unref(rows);
    return status;
}

static void need_column(void *context, uint32_t index) { ((bool *)context)[index] = true; }

static void filter_needs(operator_plan *plan, const bool *needed_out, bool *needed_in) {
    filter_plan *p = (filter_plan *)plan;
    p->asked = true;
    for (uint32_t i = 0; i < plan->out->n; i++) {
        p->needed[i] |= needed_out[i];
        needed_in[i] = needed_out[i];
    }
    expr_columns(p->condition, need_column, needed_in);
}

static void filter_free(operator_plan *plan) {
    filter_plan *p = (filter_plan *)plan;
    expr_free(p->condition);
    free(p->needed);
    free(p);
}

static const operator_class filter_class = {
    .open = filter_open,
    .process = filter_process,
    .close = filter_close,
    .needs = filter_needs,
    .free = filter_free,
};

static tw_status filter_build(stream *s, const args *a, tw_error *err) {
    expr *condition;
    TRY(plan_expression(s, a, "condition", NULL, &condition));
    if (expr_type(condition)->kind != TYPE_BOOL) {
        char name[64];
        type_name(expr_type(condition), name, sizeof name);
        expr_free(condition);
        return args_error(a, "condition", plan_errors(s->builder), "a condition must be bool, this is %s", name);
    }
    filter_plan *p = calloc(1, sizeof *p);
    bool *needed = calloc(s->schema->n + 1, sizeof *needed);
    if (!p || !needed) {
        free(p);
        free(needed);
        expr_free(condition);
        return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    }
    p->plan = (operator_plan){.class = &filter_class, .name = "filter", .rejects = expr_may_fail(condition)};
    p->condition = condition;
    p->needed = needed;
    return stream_add_operator(s, &p->plan, s->schema, err);
}

static const option filter_options[] = {
    {"condition", OPTION_EXPRESSION, OPTION_REQUIRED, "rows for which it is true are kept"},
};
const step_descriptor step_filter = {
    .descriptor = {.name = "filter",
                   .summary = "keeps the rows for which an expression is true",
                   .options = filter_options,
                   .n_options = COUNT_OF(filter_options),
                   .shorthand = "condition",
                   .example = "- filter: \"n > 10 and word like 'th%'\""},
    .build = filter_build,
    .columns = COLUMNS_KEPT,
    .by_name = true,
};
