/* group and distinct. */
#include <stdlib.h>

#include "step/group_state.h"
#include "step/panes.h"
#include "step/projection.h"
#include "step/sessions.h"

#define UPDATE "update" /* the column that tells running results apart */

/* A group step being planned: the columns of its input (keys, then arguments) and of its output. */
typedef struct group_plan {
    projection input;
    const char **names; /* of the output */
    const type **types;
    uint32_t n_keys, n;
    aggregate *aggregates;
    uint32_t n_aggregates;
    bool live;                /* a state for each window, which keys are constants in, */
    bool sessions;            /* or sessions, which make them */
    bool running;             /* live too: results as they change, end_at is their number */
    int start_at, end_at;     /* where the output has them; -1: it does not (yet) */
} group_plan;

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for the plan"); }

static void group_plan_free(group_plan *g) {
    projection_free(&g->input);
    free(g->names);
    free(g->types);
    free(g->aggregates);
}

static tw_status group_plan_new(const char *step, uint32_t columns_max, group_plan *g, tw_error *err) {
    *g = (group_plan){.start_at = -1, .end_at = -1};
    TRY(projection_new(step, columns_max, &g->input, err));
    g->names = calloc(columns_max + 1, sizeof *g->names);
    g->types = calloc(columns_max + 1, sizeof *g->types);
    g->aggregates = calloc(columns_max + 1, sizeof *g->aggregates);
    if (g->names && g->types && g->aggregates) return TW_OK;
    group_plan_free(g);
    return no_memory(err);
}

static void add_key(group_plan *g, const stream *s, uint32_t from) {
    const field *f = &s->schema->fields[from];
    for (uint32_t i = 0; i < g->n; i++)
        if (strcmp(g->names[i], f->name) == 0) return; /* named twice */
    g->names[g->n] = f->name;
    g->types[g->n++] = f->type;
    bool made = (g->live && !g->running) || g->sessions;
    if (made && strcmp(f->name, "window_start") == 0) {
        g->start_at = (int)g->n - 1;
    } else if (made && strcmp(f->name, "window_end") == 0) {
        g->end_at = (int)g->n - 1;
    } else {
        projection_column(&g->input, s->schema, from);
        g->n_keys++;
    }
}

/* The window's columns are keys whether or not they are named. */
static tw_status add_window_keys(group_plan *g, const stream *s, const args *a, const char *option) {
    for (unsigned i = 0; i < 2 && s->window_us > 0; i++) {
        const char *name = i ? "window_end" : "window_start";
        int at = schema_find(s->schema, name);
        if (at < 0) return args_error(a, option, plan_errors(s->builder), "the window's column %s is gone", name);
        add_key(g, s, (uint32_t)at);
    }
    if (!g->sessions) return TW_OK;
    /* What is at hand of a session: the time, and the watermark that had passed it. */
    const char *name = g->live ? WINDOW_WATERMARK : "window_start";
    int watermark = schema_find(s->schema, name);
    if (watermark < 0) return args_error(a, option, plan_errors(s->builder), "the window's column %s is gone", name);
    projection_column(&g->input, s->schema, (uint32_t)schema_find(s->schema, "window_start"));
    projection_column(&g->input, s->schema, (uint32_t)watermark);
    g->n_keys += SESSION_KEYS;
    return TW_OK;
}

/* Appends the argument of an aggregate to the input; takes over `e`. */
static void add_aggregate(group_plan *g, const char *name, const aggregate *a, int from, expr *e, const schema *s) {
    g->aggregates[g->n_aggregates] = *a;
    aggregate *kept = &g->aggregates[g->n_aggregates++];
    kept->name = name;
    if (a->input) kept->column = from >= 0 ? projection_column(&g->input, s, (uint32_t)from) : projection_expression(&g->input, e);
    g->names[g->n] = name;
    g->types[g->n++] = a->output;
}

static struct place place_in_item(const arg_item *item, uint64_t byte) {
    return item->value ? node_place_within(item->value, byte) : item->at;
}

static tw_status parse_aggregate(group_plan *g, stream *s, const arg_item *item, tw_error *err) {
    error_list *errors = plan_errors(s->builder);
    for (uint32_t i = 0; i < g->n; i++)
        if (strcmp(g->names[i], item->name) == 0)
            return error_list_add(errors, item->name_at, "there is a column '%s' already", item->name);
    aggregate a = {0};
    aggregate_kind kind;
    char *argument;
    uint32_t argument_at;
    tw_error wrong = {0};
    tw_status status = aggregate_parse(item->text, &kind, &argument, &argument_at, &a.fraction, &wrong);
    if (status != TW_OK) {
        if (status != TW_ERR_JOB) return error_set(err, status, "%s", wrong.message);
        return error_list_add(errors, place_in_item(item, wrong.column ? wrong.column : 1), "%s", wrong.message);
    }
    expr *e = NULL;
    int from = -1;
    if (kind != AGGREGATE_COUNT_ROWS) {
        bool unknown = plan_mentions_unknown(s, argument);
        status = unknown ? TW_ERR_JOB : expr_compile(argument, s->schema, &e, &wrong);
        if (status == TW_ERR_JOB && !unknown)
            error_list_add(errors, place_in_item(item, argument_at + (wrong.column ? wrong.column : 1)), "%s", wrong.message);
    }
    free(argument);
    if (status != TW_OK) return status;
    if ((g->sessions || g->running) && kind == AGGREGATE_COUNT_DISTINCT) kind = AGGREGATE_COUNT_SET;
    status = aggregate_init(&a, kind, e ? expr_type(e) : NULL, &wrong);
    if (status != TW_OK) {
        expr_free(e);
        return error_list_add(errors, item->at, "%s", wrong.message);
    }
    if (e && (from = expr_is_column(e)) >= 0) {
        expr_free(e);
        e = NULL;
    }
    add_aggregate(g, item->name, &a, from, e, s->schema);
    return TW_OK;
}

static void free_ends(group_ends *e) {
    if (e->sink) e->sink->class->free(e->sink);
    if (e->pair_source) e->pair_source->class->free(e->pair_source);
    if (e->pair_sink) e->pair_sink->class->free(e->pair_sink);
    if (e->source) e->source->class->free(e->source);
}

static tw_status break_stream(stream *s, group_ends *e, schema *out, tw_error *err) {
    if (e->pair_sink) {
        sink *k = e->sink;
        source *from = e->pair_source;
        e->sink = NULL;
        e->pair_source = NULL;
        TRY(stream_break(s, k, from, e->pairs, err));
    }
    sink *k = e->pair_sink ? e->pair_sink : e->sink;
    source *from = e->source;
    e->sink = e->pair_sink = NULL;
    e->source = NULL;
    return stream_break(s, k, from, out, err);
}

/* ---- a state for each window ---- */

typedef struct instance_plan {
    const char *step;
    uint32_t n_keys;
    aggregate *aggregates;
    uint32_t n_aggregates;
    bool running;
    schema *out;           /* without the window's columns, unless they are sessions: */
    session_rule sessions; /* gap_us 0: they are not */
} instance_plan;

static void instance_plan_free(void *context) {
    instance_plan *p = context;
    free(p->aggregates);
    schema_unref(p->out);
    free(p);
}

static tw_status make_instance(void *context, group_ends *out, tw_error *err) {
    const instance_plan *p = context;
    aggregate *copy = malloc((p->n_aggregates + 1) * sizeof *copy);
    if (!copy) return error_set(err, TW_ERR_MEMORY, "out of memory for %s", p->step);
    memcpy(copy, p->aggregates, p->n_aggregates * sizeof *copy);
    const session_rule *sessions = p->sessions.gap_us ? &p->sessions : NULL;
    TRY(group_state_create(p->step, p->n_keys, copy, p->n_aggregates, sessions, p->out, out, err));
    if (p->running) group_state_keep(out->sink);
    return TW_OK;
}

/* Takes over the aggregates. */
static tw_status instance_plan_new(group_plan *g, const char *step, instance_plan **out, tw_error *err) {
    instance_plan *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    *p = (instance_plan){.step = step, .n_keys = g->n_keys, .aggregates = g->aggregates, .n_aggregates = g->n_aggregates};
    g->aggregates = NULL;
    uint32_t n = 0;
    const char **names = calloc(g->n + 1, sizeof *names);
    const type **types = calloc(g->n + 1, sizeof *types);
    tw_status status = names && types ? TW_OK : no_memory(err);
    for (int i = 0; i < (int)g->n && status == TW_OK; i++) {
        if (!g->sessions && (i == g->start_at || i == g->end_at)) continue;
        names[n] = g->names[i];
        types[n++] = g->types[i];
    }
    if (status == TW_OK) status = schema_new(names, types, n, &p->out, err);
    free(names);
    free(types);
    if (status == TW_OK) *out = p;
    else instance_plan_free(p);
    return status;
}

static session_rule session_rule_of(const group_plan *g, int64_t gap_us) {
    return (session_rule){g->n_keys - SESSION_KEYS, gap_us, (uint32_t)g->start_at, (uint32_t)g->end_at};
}

/* The first and the last time of a fragment, behind all other columns. */
static tw_status add_session_times(group_plan *g, tw_error *err) {
    for (unsigned i = 0; i < SESSION_AGGREGATES; i++) {
        aggregate *a = &g->aggregates[g->n_aggregates++];
        TRY(aggregate_init(a, i ? AGGREGATE_MAX : AGGREGATE_MIN, type_of(TYPE_TIMESTAMP), err));
        a->column = projection_columns(&g->input);
    }
    return TW_OK;
}

/* "by key int64; n count, s sum(float64)". */
static char *shape_text(const group_plan *g) {
    struct text t = {0};
    uint32_t n_keys = g->n_keys - (g->sessions ? SESSION_KEYS : 0);
    text_append_string(&t, "by");
    for (int i = 0, k = 0; i < (int)g->n && k < (int)n_keys; i++) {
        if (i == g->start_at || i == g->end_at) continue;
        char type[64];
        text_printf(&t, "%s %s %s", k++ ? "," : "", g->names[i], type_name(g->types[i], type, sizeof type));
    }
    for (uint32_t i = 0; i < g->n_aggregates - (g->sessions ? SESSION_AGGREGATES : 0); i++) {
        const aggregate *a = &g->aggregates[i];
        char type[64] = "";
        if (a->input) type_name(a->input, type, sizeof type);
        text_printf(&t, "%s %s %s(%s)", i ? "," : ";", a->name, aggregate_name(a->kind), type);
        if (a->kind == AGGREGATE_QUANTILE) text_printf(&t, " %.17g", a->fraction);
    }
    return text_take(&t);
}

static tw_status break_into_panes(group_plan *g, stream *s, const char *step, uint32_t end_column, int64_t size_us, schema *out,
                                  tw_error *err) {
    instance_plan *p = NULL;
    sink *k;
    source *from;
    char *shape = shape_text(g);
    if (!shape) return no_memory(err);
    tw_status status = instance_plan_new(g, step, &p, err);
    if (status != TW_OK) {
        free(shape);
        return status;
    }
    if (g->sessions) p->sessions = session_rule_of(g, size_us);
    p->running = g->running;
    panes_options options = {.name = step, .end_column = end_column, .start_at = (uint32_t)g->start_at,
                             .end_at = (uint32_t)g->end_at, .size_us = size_us, .sessions = g->sessions, .running = g->running, .out = out, .shape = shape,
                             .make = make_instance, .context = p, .free = instance_plan_free};
    TRY(panes_create(&options, &k, &from, err));
    return stream_break(s, k, from, out, err);
}

/* Puts projection, sinks and sources in place; `g` is used up. */
static tw_status group_plan_finish(group_plan *g, stream *s, const char *step, int64_t window_us, tw_error *err) {
    schema *out = NULL;
    group_ends ends = {0};
    uint32_t end_column = g->live && !g->sessions && !g->running ? projection_column(&g->input, s->schema, (uint32_t)schema_find(s->schema, "window_end")) : NO_END_COLUMN;
    session_rule sessions = session_rule_of(g, window_us);
    tw_status status = g->sessions ? add_session_times(g, err) : TW_OK;
    if (status == TW_OK) status = projection_finish_inner(&g->input, s, err);
    if (status == TW_OK) status = schema_new(g->names, g->types, g->n, &out, err);
    if (status == TW_OK && g->live) {
        status = break_into_panes(g, s, step, end_column, window_us, out, err);
    } else if (status == TW_OK) {
        aggregate *aggregates = g->aggregates;
        g->aggregates = NULL;
        status = group_state_create(step, g->n_keys, aggregates, g->n_aggregates, g->sessions ? &sessions : NULL, out, &ends, err);
    }
    if (status == TW_OK && !g->live) status = break_stream(s, &ends, out, err);
    free_ends(&ends);
    schema_unref(ends.pairs);
    schema_unref(out);
    group_plan_free(g);
    return status;
}

static tw_status check_updates(const stream *s, const args *a) {
    bool given = args_given(a, "updates"), open = stream_endless(s) && !s->window_us;
    if (given && !open)
        return args_error(a, "updates", plan_errors(s->builder), "running results are of an endless flow without a window");
    if (given || !open) return TW_OK;
    return error_list_add(plan_errors(s->builder), args_place(a, "by"),
                          "group needs all rows, and what comes before it never ends: it takes a window before it, or 'updates: 1s' for running results");
}

static tw_status add_update_number(group_plan *g, stream *s, const args *a) {
    for (uint32_t i = 0; i < g->n; i++)
        if (strcmp(g->names[i], UPDATE) == 0) return args_error(a, "updates", plan_errors(s->builder), "there is a column '%s' already", UPDATE);
    g->end_at = (int)g->n;
    g->names[g->n] = UPDATE;
    g->types[g->n++] = type_of(TYPE_INT64);
    return TW_OK;
}

/* Names in the schema outlive the aggregates that point to them: the state holds the schema. */
static tw_status group_build(stream *s, const args *a, tw_error *err) {
    size_t n_keys, n_aggregates;
    const arg_item *keys = args_items(a, "by", &n_keys), *aggregates = args_items(a, "aggregate", &n_aggregates);
    if (n_keys + n_aggregates == 0 && !s->window_us) return args_error(a, "by", plan_errors(s->builder), "no column would be left");
    TRY(check_updates(s, a));
    group_plan g;
    TRY(group_plan_new("group", (uint32_t)(n_keys + n_aggregates) + 3, &g, err));
    g.running = args_given(a, "updates");
    g.live = (s->window_us > 0 && stream_endless(s)) || g.running;
    g.sessions = s->window_us > 0 && s->window_sessions;
    tw_status status = TW_OK;
    for (size_t i = 0; i < n_keys; i++) {
        int from = plan_column(s, a, "by", &keys[i], keys[i].text);
        if (from < 0) status = TW_ERR_JOB;
        else add_key(&g, s, (uint32_t)from);
    }
    if (add_window_keys(&g, s, a, "by") != TW_OK) status = TW_ERR_JOB;
    for (size_t i = 0; i < n_aggregates; i++) {
        tw_status one = parse_aggregate(&g, s, &aggregates[i], err);
        if (one != TW_OK) status = one;
        if (one != TW_OK && one != TW_ERR_JOB) break;
    }
    if (g.running && status == TW_OK) status = add_update_number(&g, s, a);
    if (status != TW_OK) {
        group_plan_free(&g);
        return status;
    }
    schema *before = schema_ref(s->schema); /* holds the keys' names */
    status = group_plan_finish(&g, s, "group", g.running ? args_int(a, "updates") : s->window_us, err);
    stream_end_window(s);
    schema_unref(before);
    return status;
}

/* Without what is of no use behind the sessions. */
static tw_status without_watermark(const schema *s, schema **out, tw_error *err) {
    const char **names = calloc(s->n + 1, sizeof *names);
    const type **types = calloc(s->n + 1, sizeof *types);
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n && names && types; i++) {
        if (strcmp(s->fields[i].name, WINDOW_WATERMARK) == 0) continue;
        names[n] = s->fields[i].name;
        types[n++] = s->fields[i].type;
    }
    tw_status status = names && types ? schema_new(names, types, n, out, err) : no_memory(err);
    free(names);
    free(types);
    return status;
}

static bool is_key(const group_plan *g, uint32_t n_keys, const char *name) {
    for (uint32_t i = 0; i < n_keys; i++)
        if (strcmp(g->names[i], name) == 0) return true;
    return false;
}

/* Keys, and of every other column its value in the first row with that key. The window goes on behind it; sessions do not. */
static tw_status distinct_build(stream *s, const args *a, tw_error *err) {
    size_t n_keys;
    const arg_item *keys = args_items(a, "on", &n_keys);
    group_plan g;
    TRY(group_plan_new("distinct", s->schema->n + (uint32_t)n_keys + 3, &g, err));
    g.live = s->window_us > 0 && stream_endless(s);
    g.sessions = s->window_us > 0 && s->window_sessions;
    schema *before = schema_ref(s->schema), *after = NULL;
    tw_status status = g.sessions ? without_watermark(before, &after, err) : TW_OK;
    if (!after) after = schema_ref(before);
    for (uint32_t i = 0; i < (n_keys ? n_keys : after->n); i++) {
        const arg_item *item = n_keys ? &keys[i] : NULL;
        int from = item ? plan_column(s, a, "on", item, item->text) : schema_find(before, after->fields[i].name);
        if (from < 0) status = TW_ERR_JOB;
        else add_key(&g, s, (uint32_t)from);
    }
    if (add_window_keys(&g, s, a, "on") != TW_OK) status = TW_ERR_JOB;
    uint32_t keys_end = g.n;
    for (uint32_t i = 0; i < after->n && status == TW_OK; i++) {
        const field *f = &after->fields[i];
        if (is_key(&g, keys_end, f->name)) continue;
        aggregate first = {0};
        status = aggregate_init(&first, AGGREGATE_FIRST_ROW, f->type, err);
        if (status == TW_OK) add_aggregate(&g, f->name, &first, schema_find(before, f->name), NULL, before);
    }
    bool sessions = g.sessions;
    if (status == TW_OK) status = group_plan_finish(&g, s, "distinct", s->window_us, err);
    else group_plan_free(&g);
    if (sessions) stream_end_window(s);
    if (status == TW_OK) status = stream_convert(s, after, err); /* the order of columns as it was */
    schema_unref(before);
    schema_unref(after);
    return status;
}

static const option group_options[] = {
    {"by", OPTION_COLUMNS, OPTION_OR_ONE, "the columns that make a group; [] gives one row"},
    {"aggregate", OPTION_EXPRESSION_MAP, 0, "{name: aggregate, ...}"},
    {"updates", OPTION_DURATION, 0, "in an endless flow without a window: how often groups that have changed are given",
     .min = 1000, .max = INT64_MAX / 1000},
};
const step_descriptor step_group = {
    .descriptor = {.name = "group",
                   .summary = "one row for each group of equal keys",
                   .options = group_options,
                   .n_options = COUNT_OF(group_options),
                   .details =
                       "Aggregates: count, count(x), count_distinct(x), sum(x), min(x), max(x), mean(x), stddev(x), "
                       "variance(x), first(x), last(x), quantile(x, 0.99), collect(x), where x is a column or an "
                       "expression. They skip nulls; count alone counts rows. No values give null for sum, mean, min "
                       "and max, fewer than two for stddev and variance, which divide by n - 1. An integer sum that "
                       "does not fit int64 is an error. quantile is exact up to 65536 values in a group, within 1 % in "
                       "rank beyond. first, last and collect follow row order.\n\n"
                       "Null is a key of its own. The rows of the result have no order.\n\n"
                       "An endless flow takes a window before the group. Or, with updates, the group gives running "
                       "results: a row for each group that has changed, at most so often and with each checkpoint; the column "
                       "update counts up, and the row with the greatest one is the result of a group so far. All groups "
                       "must fit in half of run.memory.",
                   .example = "- group: {by: [carrier], aggregate: {n: count, delay: mean(dep_delay)}}"},
    .build = group_build,
    .by_name = true,
};

static const option distinct_options[] = {
    {"on", OPTION_COLUMNS, OPTION_OR_ONE, "the columns that must differ", .default_note = "all columns"},
};
const step_descriptor step_distinct = {
    .descriptor = {.name = "distinct",
                   .summary = "the first row of each group of equal rows",
                   .options = distinct_options,
                   .n_options = COUNT_OF(distinct_options),
                   .shorthand = "on",
                   .details = "Null equals null here. The rows of the result have no order. After a window step rows are "
                              "told apart within their window; an endless flow needs one (or the step dedupe).",
                   .example = "- distinct: [user_id]"},
    .build = distinct_build,
    .columns = COLUMNS_KEPT,
    .by_name = true,
};
