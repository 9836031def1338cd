/* project.c: select, derive, rename, drop: each output column is an input column or an expression. */
#include <stdio.h>
#include <stdlib.h>

#include "step/projection.h"
#include "step/rows_kept.h"

typedef struct project_plan {
    operator_plan plan;
    expr **exprs;     /* NULL where `from` tells the column */
    uint32_t *from;
    bool *needed;     /* by whoever comes after; set by project_needs */
    bool asked;
    uint32_t n;
} project_plan;

typedef struct project_state {
    operator operator;
    run_context *run;
    expr_scratch *scratch[];
} project_state;

static bool is_needed(const project_plan *p, uint32_t i) { return !p->asked || p->needed[i]; }

static void project_close(operator *self) {
    project_state *s = (project_state *)self;
    for (uint32_t i = 0; i < ((project_plan *)self->plan)->n; i++) expr_scratch_free(s->scratch[i]);
    free(s);
}

static tw_status project_open(operator_plan *plan, run_context *run, operator **out, tw_error *err) {
    const project_plan *p = (const project_plan *)plan;
    project_state *s = calloc(1, sizeof *s + p->n * sizeof *s->scratch);
    if (!s) return error_set(err, TW_ERR_MEMORY, "out of memory for %s", plan->name);
    s->operator = (operator){.class = plan->class, .plan = plan};
    s->run = run;
    for (uint32_t i = 0; i < p->n; i++) {
        if (!p->exprs[i]) continue;
        tw_status status = expr_scratch_new(p->exprs[i], run->memory, &s->scratch[i], err);
        if (status == TW_OK) continue;
        project_close(&s->operator);
        return status;
    }
    *out = &s->operator;
    return TW_OK;
}

static tw_status project_process(operator *self, batch *in, batch **out, bool *more, tw_error *err) {
    project_state *s = (project_state *)self;
    const project_plan *p = (const project_plan *)self->plan;
    memory *m = s->run->memory;
    uint64_t bad_bits[BATCH_ROWS_MAX / 64];
    uint32_t n_bad = 0;
    memset(bad_bits, 0, (in->rows + 63) / 64 * sizeof *bad_bits);
    batch *b;
    TRY(batch_new(p->plan.out, in->rows, &b, err));
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < p->n && status == TW_OK; i++) {
        if (!p->exprs[i]) {
            column_share(&in->columns[p->from[i]], &b->columns[i]);
        } else if (!is_needed(p, i)) {
            b->columns[i] = (column){.type = p->plan.out->fields[i].type, .rows = in->rows};
        } else {
            expr_bad bad = {0};
            status = expr_evaluate(p->exprs[i], s->scratch[i], in, &b->columns[i], &bad, err);
            if (status == TW_OK && bad.n)
                status = report_bad_rows(s->run, in, &bad, p->plan.name, bad_bits, &n_bad, err);
        }
    }
    b->position = in->position;
    if (status == TW_OK) status = batch_inherit_origin(m, in, NULL, NULL, b, err);
    if (status == TW_OK && n_bad == 0) {
        *out = b;
        return TW_OK;
    }
    if (status == TW_OK) return drop_bad_rows(m, b, bad_bits, n_bad, out, err);
    batch_unref(b);
    return status;
}

typedef struct need_context {
    bool *needed;
} need_context;
static void need_column(void *context, uint32_t index) { ((need_context *)context)->needed[index] = true; }

/* An expression that can fail is computed even if nobody reads it: its bad rows count. */
static void project_needs(operator_plan *plan, const bool *needed_out, bool *needed_in) {
    project_plan *p = (project_plan *)plan;
    p->asked = true;
    for (uint32_t i = 0; i < p->n; i++) {
        p->needed[i] |= needed_out[i] || (p->exprs[i] && expr_may_fail(p->exprs[i]));
        if (!p->needed[i]) continue;
        if (p->exprs[i]) expr_columns(p->exprs[i], need_column, &(need_context){needed_in});
        else needed_in[p->from[i]] = true;
    }
}

static void project_free(operator_plan *plan) {
    project_plan *p = (project_plan *)plan;
    for (uint32_t i = 0; p->exprs && i < p->n; i++) expr_free(p->exprs[i]);
    free(p->exprs);
    free(p->from);
    free(p->needed);
    free(p);
}

static const operator_class project_class = {
    .open = project_open,
    .process = project_process,
    .close = project_close,
    .needs = project_needs,
    .free = project_free,
};

/* ---- planning ---- */

void projection_free(projection *o) {
    if (o->plan) project_free(&o->plan->plan);
    free(o->names);
    free(o->types);
    *o = (projection){0};
}

tw_status projection_new(const char *step, uint32_t columns_max, projection *o, tw_error *err) {
    *o = (projection){.capacity = columns_max};
    o->plan = calloc(1, sizeof *o->plan);
    o->names = calloc(columns_max + 1, sizeof *o->names);
    o->types = calloc(columns_max + 1, sizeof *o->types);
    if (o->plan && o->names && o->types) {
        o->plan->plan = (operator_plan){.class = &project_class, .name = step};
        o->plan->exprs = calloc(columns_max + 1, sizeof *o->plan->exprs);
        o->plan->from = calloc(columns_max + 1, sizeof *o->plan->from);
        o->plan->needed = calloc(columns_max + 1, sizeof *o->plan->needed);
        if (o->plan->exprs && o->plan->from && o->plan->needed) return TW_OK;
    }
    projection_free(o);
    return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
}

uint32_t projection_columns(const projection *o) { return o->plan->n; }

void projection_put(projection *o, const char *name, const type *t, uint32_t from, expr *e) {
    project_plan *p = o->plan;
    uint32_t at = 0;
    while (at < p->n && (!name[0] || strcmp(o->names[at], name) != 0)) at++;
    if (at == p->n) p->n++;
    else expr_free(p->exprs[at]);
    o->names[at] = name;
    o->types[at] = t;
    p->from[at] = from;
    p->exprs[at] = e;
    p->plan.rejects |= e && expr_may_fail(e);
}

uint32_t projection_column(projection *o, const schema *s, uint32_t from) {
    projection_put(o, "", s->fields[from].type, from, NULL);
    return o->plan->n - 1;
}

uint32_t projection_expression(projection *o, expr *e) {
    projection_put(o, "", expr_type(e), 0, e);
    return o->plan->n - 1;
}

static bool changes_nothing(const projection *o, const schema *s) {
    if (o->plan->n != s->n) return false;
    for (uint32_t i = 0; i < s->n; i++)
        if (o->plan->exprs[i] || o->plan->from[i] != i || strcmp(o->names[i], s->fields[i].name) != 0) return false;
    return true;
}

tw_status projection_finish(projection *o, stream *s, tw_error *err) {
    tw_status status = TW_OK;
    if (!changes_nothing(o, s->schema)) {
        schema *out;
        status = schema_new(o->names, o->types, o->plan->n, &out, err);
        if (status == TW_OK) {
            operator_plan *p = &o->plan->plan;
            o->plan = NULL;
            status = stream_add_operator(s, p, out, err);
            schema_unref(out);
        }
    }
    projection_free(o);
    return status;
}

tw_status projection_finish_inner(projection *o, stream *s, tw_error *err) {
    o->plan->plan.inner = true;
    return projection_finish(o, s, err);
}

static void output_copy(projection *o, const schema *s, uint32_t index, const char *name) {
    projection_put(o, name, s->fields[index].type, index, NULL);
}

static tw_status output_finish(projection *o, stream *s, const args *a, const char *key, tw_error *err) {
    if (projection_columns(o)) return projection_finish(o, s, err);
    projection_free(o);
    return args_error(a, key, plan_errors(s->builder), "no column would be left");
}

static tw_status put_expression(projection *o, stream *s, const args *a, const char *key, const arg_item *item,
                                tw_error *err) {
    expr *e;
    TRY(plan_expression(s, a, key, item, &e));
    int same = expr_is_column(e);
    if (same >= 0) {
        expr_free(e);
        output_copy(o, s->schema, (uint32_t)same, item->name);
    } else {
        projection_put(o, item->name, expr_type(e), 0, e);
    }
    return TW_OK;
}

/* The columns as they would be without the errors, for the steps that follow: those with one are of unknown type. */
static tw_status go_on(projection *o, stream *s, const char *const *wrong, size_t n, tw_error *err) {
    tw_status status = TW_OK;
    if (projection_columns(o)) status = projection_finish(o, s, err);
    else projection_free(o);
    for (size_t i = 0; i < n && status == TW_OK; i++) status = plan_add_unknown(s, wrong[i], err);
    s->goes_on = status == TW_OK;
    return status == TW_OK ? TW_ERR_JOB : status;
}

/* select and derive: expressions see the columns of the step's input, not each other. */
static tw_status build_expressions(stream *s, const args *a, bool keep, const char *step, tw_error *err) {
    size_t n;
    const arg_item *items = args_items(a, "columns", &n);
    projection o;
    TRY(projection_new(step, (uint32_t)n + s->schema->n, &o, err));
    for (uint32_t i = 0; keep && i < s->schema->n; i++) output_copy(&o, s->schema, i, s->schema->fields[i].name);
    tw_status status = TW_OK;
    bool is_list = args_node(a, "columns") && args_node(a, "columns")->kind == NODE_LIST;
    const char **wrong = calloc(n + 1, sizeof *wrong);
    size_t n_wrong = 0;
    if (!wrong) status = error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    for (size_t i = 0; i < n && wrong; i++) {
        tw_status one = TW_OK;
        if (is_list) {
            int from = plan_column(s, a, "columns", &items[i], items[i].text);
            if (from < 0) one = TW_ERR_JOB;
            else output_copy(&o, s->schema, (uint32_t)from, items[i].text);
        } else {
            one = put_expression(&o, s, a, "columns", &items[i], err);
        }
        if (one == TW_OK) continue;
        status = one;
        if (one != TW_ERR_JOB) break;
        wrong[n_wrong++] = is_list ? items[i].text : items[i].name;
    }
    if (status == TW_ERR_JOB) status = go_on(&o, s, wrong, n_wrong, err);
    else if (status != TW_OK) projection_free(&o);
    else status = output_finish(&o, s, a, "columns", err);
    free(wrong);
    return status;
}

static tw_status select_build(stream *s, const args *a, tw_error *err) {
    return build_expressions(s, a, false, "select", err);
}
static tw_status derive_build(stream *s, const args *a, tw_error *err) {
    return build_expressions(s, a, true, "derive", err);
}

static tw_status rename_build(stream *s, const args *a, tw_error *err) {
    size_t n;
    const arg_item *items = args_items(a, "columns", &n);
    projection o;
    TRY(projection_new("rename", s->schema->n, &o, err));
    tw_status status = TW_OK;
    for (size_t i = 0; i < n; i++)
        if (plan_column(s, a, "columns", &items[i], items[i].name) < 0) status = TW_ERR_JOB;
    for (uint32_t c = 0; c < s->schema->n && status == TW_OK; c++) {
        const char *name = s->schema->fields[c].name;
        for (size_t i = 0; i < n; i++)
            if (strcmp(items[i].name, s->schema->fields[c].name) == 0) name = items[i].text;
        uint32_t before = o.plan->n;
        output_copy(&o, s->schema, c, name);
        if (o.plan->n == before)
            status = args_error(a, "columns", plan_errors(s->builder), "two columns would be called '%s'", name);
    }
    if (status != TW_OK) {
        projection_free(&o);
        return status;
    }
    return output_finish(&o, s, a, "columns", err);
}

static tw_status drop_build(stream *s, const args *a, tw_error *err) {
    size_t n;
    const arg_item *items = args_items(a, "columns", &n);
    projection o;
    TRY(projection_new("drop", s->schema->n, &o, err));
    tw_status status = TW_OK;
    for (size_t i = 0; i < n; i++)
        if (plan_column(s, a, "columns", &items[i], items[i].text) < 0) status = TW_ERR_JOB;
    for (uint32_t c = 0; c < s->schema->n; c++) {
        bool dropped = false;
        for (size_t i = 0; i < n; i++) dropped |= strcmp(items[i].text, s->schema->fields[c].name) == 0;
        if (!dropped) output_copy(&o, s->schema, c, s->schema->fields[c].name);
    }
    if (status != TW_OK) {
        projection_free(&o);
        return status;
    }
    return output_finish(&o, s, a, "columns", err);
}

tw_status stream_convert(stream *s, schema *to, tw_error *err) {
    if (schema_equal(s->schema, to)) return TW_OK;
    projection o;
    TRY(projection_new("convert", to->n, &o, err));
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < to->n && status == TW_OK; i++) {
        const field *f = &to->fields[i];
        int from = schema_find(s->schema, f->name);
        if (from < 0) {
            status = error_set(err, TW_ERR_INTERNAL, "no column '%s' to convert", f->name);
        } else if (s->schema->fields[from].type == f->type) {
            output_copy(&o, s->schema, (uint32_t)from, f->name);
        } else {
            char name[64];
            struct text t = {0};
            text_printf(&t, "%s(`%s`)", type_name(f->type, name, sizeof name), f->name);
            expr *e = NULL;
            status = expr_compile(text_string(&t), s->schema, &e, err);
            text_free(&t);
            if (status == TW_OK) projection_put(&o, f->name, f->type, 0, e);
        }
    }
    if (status == TW_OK) return projection_finish_inner(&o, s, err);
    projection_free(&o);
    return status;
}

static const option select_options[] = {
    {"columns", OPTION_EXPRESSION_MAP, OPTION_REQUIRED | OPTION_OR_LIST,
     "{new: expression, ...}, or a list of columns"},
};
const step_descriptor step_select = {
    .descriptor = {.name = "select",
                   .summary = "makes the columns that the rows will have",
                   .options = select_options,
                   .n_options = COUNT_OF(select_options),
                   .shorthand = "columns",
                   .free_map = true,
                   .example = "- select: {word: lower(word), n: n}"},
    .build = select_build,
    .by_name = true,
};

static const option derive_options[] = {
    {"columns", OPTION_EXPRESSION_MAP, OPTION_REQUIRED, "{new: expression, ...}"},
};
const step_descriptor step_derive = {
    .descriptor = {.name = "derive",
                   .summary = "adds columns to those there are, or replaces them",
                   .options = derive_options,
                   .n_options = COUNT_OF(derive_options),
                   .shorthand = "columns",
                   .free_map = true,
                   .details = "The expressions see the columns of the step's input, not each other.",
                   .example = "- derive: {speed: distance / air_time * 60}"},
    .build = derive_build,
    .columns = COLUMNS_ADDED,
    .by_name = true,
};

static const option rename_options[] = {
    {"columns", OPTION_STRING_MAP, OPTION_REQUIRED, "{old: new, ...}"},
};
const step_descriptor step_rename = {
    .descriptor = {.name = "rename",
                   .summary = "gives columns other names",
                   .options = rename_options,
                   .n_options = COUNT_OF(rename_options),
                   .shorthand = "columns",
                   .free_map = true,
                   .example = "- rename: {dep_delay: delay}"},
    .build = rename_build,
};

static const option drop_options[] = {
    {"columns", OPTION_COLUMNS, OPTION_REQUIRED | OPTION_OR_ONE, "the columns to leave out"},
};
const step_descriptor step_drop = {
    .descriptor = {.name = "drop",
                   .summary = "leaves columns out",
                   .options = drop_options,
                   .n_options = COUNT_OF(drop_options),
                   .shorthand = "columns",
                   .example = "- drop: [tailnum, year]"},
    .build = drop_build,
};
