/* join: rows of this flow with those of another that have the same keys. */
#include <stdlib.h>

#include "step/event_clock.h"
#include "step/join_internal.h"
#include "step/steps.h"
#include "step/timed_rows.h"

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for the plan"); }

/* ---- keys ---- */

/* A column of the other flow, or -1 after adding an error. */
static int right_column(stream *s, const args *a, const stream *other, const arg_item *item) {
    int index = schema_find(other->schema, item->text);
    if (index >= 0) return index;
    error_list *errors = plan_errors(s->builder);
    const char *flow = args_string(a, "with");
    struct nearest n = {item->text};
    for (uint32_t i = 0; i < other->schema->n; i++) nearest_try(&n, other->schema->fields[i].name);
    if (n.best)
        error_list_add(errors, item->at, "unknown column '%s' of flow '%s'; did you mean '%s'?", item->text, flow, n.best);
    else error_list_add(errors, item->at, "unknown column '%s' of flow '%s'", item->text, flow);
    return -1;
}

/* Names of fixed columns and the types that a side's keys are to have: NULL elsewhere. */
typedef struct key_types {
    const type **left, **right;
} key_types;

static tw_status bind_key(join *j, stream *s, const args *a, stream *other, const arg_item *item, key_types *types) {
    error_list *errors = plan_errors(s->builder);
    arg_item named = *item; /* the name of a map's entry stands for the left */
    named.at = item->name_at;
    int l = plan_column(s, a, "on", &named, item->name), r = right_column(s, a, other, item);
    if (l < 0 || r < 0) return TW_ERR_JOB;
    const field *left = &s->schema->fields[l], *right = &other->schema->fields[r];
    const type *t = type_meeting(left->type, right->type);
    char mine[64], theirs[64];
    type_name(left->type, mine, sizeof mine);
    type_name(right->type, theirs, sizeof theirs);
    if (!t)
        return error_list_add(errors, item->at, "column '%s' is %s, but '%s' of flow '%s' is %s", left->name, mine,
                              right->name, args_string(a, "with"), theirs);
    if (type_is_nested(t)) return error_list_add(errors, item->at, "column '%s' is %s, which cannot be a key", left->name, mine);
    if (types->left[l]) return error_list_add(errors, named.at, "column '%s' is a key already", left->name);
    if (types->right[r] && types->right[r] != t)
        return error_list_add(errors, item->at, "column '%s' of flow '%s' is matched with columns of different types",
                              right->name, args_string(a, "with"));
    types->left[l] = types->right[r] = t;
    j->sides[LEFT].keys[j->n_keys] = (uint32_t)l;
    j->sides[RIGHT].keys[j->n_keys++] = (uint32_t)r;
    return TW_OK;
}

/* Casts the keys of a side to their types. */
static tw_status convert_keys(stream *s, const type *const *key_of, tw_error *err) {
    uint32_t n = s->schema->n;
    const char **names = calloc(n + 1, sizeof *names);
    const type **types = calloc(n + 1, sizeof *types);
    schema *to = NULL;
    tw_status status = names && types ? TW_OK : no_memory(err);
    for (uint32_t i = 0; i < n && status == TW_OK; i++) {
        names[i] = s->schema->fields[i].name;
        types[i] = key_of[i] ? key_of[i] : s->schema->fields[i].type;
    }
    if (status == TW_OK) status = schema_new(names, types, n, &to, err);
    if (status == TW_OK) status = stream_convert(s, to, err);
    schema_unref(to);
    free(names);
    free(types);
    return status;
}

static tw_status bind_keys(join *j, stream *s, const args *a, stream *other, tw_error *err) {
    size_t n;
    const arg_item *items = args_items(a, "on", &n);
    if (n == 0) return args_error(a, "on", plan_errors(s->builder), "no column to match by");
    key_types types = {calloc(s->schema->n + 1, sizeof *types.left), calloc(other->schema->n + 1, sizeof *types.right)};
    for (unsigned side = 0; side < 2; side++) j->sides[side].keys = calloc(n, sizeof *j->sides[side].keys);
    tw_status status =
        types.left && types.right && j->sides[LEFT].keys && j->sides[RIGHT].keys ? TW_OK : no_memory(err);
    for (size_t i = 0; i < n && (status == TW_OK || status == TW_ERR_JOB); i++) {
        tw_status one = bind_key(j, s, a, other, &items[i], &types);
        if (one != TW_OK) status = one;
    }
    if (status == TW_OK) status = convert_keys(s, types.left, err);
    if (status == TW_OK) status = convert_keys(other, types.right, err);
    free(types.left);
    free(types.right);
    return status;
}

/* ---- the columns of the output ---- */

typedef struct output {
    const char **names;
    char **made; /* names that are ours to free */
    const type **types;
    uint32_t n;
} output;

static void output_free(output *o) {
    for (uint32_t i = 0; o->made && i < o->n; i++) free(o->made[i]);
    free(o->made);
    free(o->names);
    free(o->types);
}

static bool is_taken(const output *o, const char *name) {
    for (uint32_t i = 0; i < o->n; i++)
        if (strcmp(o->names[i], name) == 0) return true;
    return false;
}

static void put(join *j, output *o, unsigned side, uint32_t from, const char *name) {
    o->names[o->n] = name;
    o->types[o->n] = j->sides[side].schema->fields[from].type;
    j->columns[o->n++] = (join_column){.side = (uint8_t)side, .from = from};
}

/* Under its own name, with "_right" behind it for as long as that is taken. */
static tw_status put_right(join *j, output *o, uint32_t from, tw_error *err) {
    const char *name = j->sides[RIGHT].schema->fields[from].name;
    struct text t = {0};
    text_append_string(&t, name);
    while (!t.failed && is_taken(o, text_string(&t))) text_append_string(&t, "_right");
    char *made = t.failed ? NULL : strdup(text_string(&t));
    text_free(&t);
    if (!made) return no_memory(err);
    o->made[o->n] = made;
    put(j, o, RIGHT, from, made);
    return TW_OK;
}

static bool is_key(const join *j, unsigned side, uint32_t index, uint32_t *which) {
    for (uint32_t k = 0; k < j->n_keys; k++) {
        if (j->sides[side].keys[k] != index) continue;
        *which = k;
        return true;
    }
    return false;
}

/* The keys, the left's other columns, the right's, unless only rows of the left are asked for. */
static tw_status put_columns(join *j, output *o, tw_error *err) {
    const schema *left = j->sides[LEFT].schema, *right = j->sides[RIGHT].schema;
    bool filters = join_filters(j);
    uint32_t which;
    for (uint32_t k = 0; k < j->n_keys; k++) {
        uint32_t from = j->sides[LEFT].keys[k];
        put(j, o, LEFT, from, left->fields[from].name);
    }
    for (uint32_t i = 0; i < left->n; i++)
        if (!is_key(j, LEFT, i, &which)) put(j, o, LEFT, i, left->fields[i].name);
    for (uint32_t i = 0; i < right->n && !filters; i++)
        if (!is_key(j, RIGHT, i, &which)) TRY(put_right(j, o, i, err));
    for (uint32_t i = 0; i < o->n; i++) {
        join_column *c = &j->columns[i];
        c->is_key = c->side == LEFT && is_key(j, LEFT, c->from, &c->field);
    }
    return TW_OK;
}

static tw_status make_output(join *j, tw_error *err) {
    uint32_t most = j->sides[LEFT].schema->n + j->sides[RIGHT].schema->n + 1;
    output o = {calloc(most, sizeof *o.names), calloc(most, sizeof *o.made), calloc(most, sizeof *o.types), 0};
    j->columns = calloc(most, sizeof *j->columns);
    tw_status status = o.names && o.made && o.types && j->columns ? put_columns(j, &o, err) : no_memory(err);
    if (status == TW_OK) status = schema_new(o.names, o.types, o.n, &j->out, err);
    output_free(&o);
    return status;
}

/* ---- the plan ---- */

static const char *const kinds[] = {"inner", "left", "right", "full", "semi", "anti", NULL};

static tw_status describe(join *j, const char *flow, const join_range *range, tw_error *err) {
    struct text t = {0};
    text_printf(&t, "%s, with %s on ", kinds[j->kind], flow);
    for (uint32_t k = 0; k < j->n_keys; k++)
        text_printf(&t, "%s%s", k ? ", " : "", j->sides[LEFT].schema->fields[j->sides[LEFT].keys[k]].name);
    if (range) {
        text_printf(&t, ", from %.6g s before to %.6g s after", (double)range->before * 1e-6, (double)range->after * 1e-6);
        text_printf(&t, ", lateness %.6g s", (double)range->lateness * 1e-6);
    }
    j->words = t.failed ? NULL : strdup(text_string(&t));
    text_free(&t);
    return j->words ? TW_OK : no_memory(err);
}

/* Puts the three parts in place; each of them owns the join. */
static tw_status connect(join *j, stream *s, stream *other, tw_error *err) {
    j->sink = (sink){.class = &join_sink_class, .name = "join", .may_spill = true};
    j->plan = (operator_plan){.class = &join_probe_class, .name = "join"};
    j->source = (source){.class = &join_rest_class, .name = "join"};
    j->owners = j->live ? 3 : 4;
    tw_status status = stream_after(s, other, &j->sink, err);
    if (status == TW_OK) status = stream_add_operator(s, &j->plan, j->out, err);
    else join_release(j);
    if (j->live) return status;
    if (status == TW_OK) status = stream_also(s, &j->source, err);
    else join_release(j);
    return status;
}

/* ---- within a time range ---- */

static tw_status read_range(stream *s, const args *a, join_range *out) {
    error_list *errors = plan_errors(s->builder);
    const args *within = args_section(a, "within");
    out->lateness = args_int(a, "lateness");
    out->before = args_int(within, args_given(within, "both") ? "both" : "before");
    out->after = args_int(within, args_given(within, "both") ? "both" : "after");
    bool one_way = args_given(within, "before") || args_given(within, "after");
    if (args_given(within, "both") == one_way)
        return args_error(a, "within", errors, "it is a time both ways, such as 10s, or {before: 5s, after: 10s}");
    return TW_OK;
}

/* The columns of the times: one name for both sides, or {left: right}. */
static tw_status bind_times(stream *s, const args *a, stream *other, uint32_t times[2]) {
    size_t n;
    error_list *errors = plan_errors(s->builder);
    const arg_item *items = args_items(a, "time", &n);
    if (n != 1) return args_error(a, "time", errors, "with 'within' it names the column of the time, or {left: right}");
    arg_item named = *items;
    named.at = items->name_at;
    int found[2] = {plan_column(s, a, "time", &named, items->name), right_column(s, a, other, items)};
    for (unsigned side = 0; side < 2; side++) {
        if (found[side] < 0) return TW_ERR_JOB;
        const field *f = &(side == LEFT ? s : other)->schema->fields[found[side]];
        if (f->type->kind != TYPE_TIMESTAMP) return args_error(a, "time", errors, "'%s' is no timestamp", f->name);
        times[side] = (uint32_t)found[side];
    }
    return TW_OK;
}

/* What a side passes before it comes to the join: in an endless flow a clock, by which rows are late. */
static tw_status time_side(stream *s, uint32_t time, int64_t lateness, tw_error *err) {
    if (!stream_endless(s)) return stream_timed_rows(s, "join", time, NOTHING_LATE, err);
    TRY(stream_clock(s, "join", time, lateness, err));
    return stream_timed_rows(s, "join", time, lateness, err);
}

static tw_status refuse_range(const stream *s, const stream *other, const join *j, const args *a) {
    error_list *errors = plan_errors(s->builder);
    if (stream_endless(s) != stream_endless(other))
        return args_error(a, "within", errors, "one of the flows ends: the one that does is the right side, joined without 'within', or both never end");
    if (s->window_sessions || other->window_sessions)
        return args_error(a, "with", errors, "a session is not known before the group that makes it: put the window behind the join");
    if (stream_endless(s) && s->window_us && join_keeps_right(j))
        return args_error(a, "how", errors, "rows without a partner on this side have no window: put the window behind the join");
    return TW_OK;
}

static tw_status build_range(join *j, stream *s, stream *other, const args *a, tw_error *err) {
    join_range range;
    uint32_t times[2];
    TRY(read_range(s, a, &range));
    TRY(bind_times(s, a, other, times));
    TRY(refuse_range(s, other, j, a));
    TRY(time_side(s, times[LEFT], range.lateness, err));
    TRY(time_side(other, times[RIGHT], range.lateness, err));
    j->sides[LEFT].schema = schema_ref(s->schema);
    j->sides[RIGHT].schema = schema_ref(other->schema);
    TRY(make_output(j, err));
    TRY(describe(j, args_string(a, "with"), &range, err));
    TRY(range_join_new(j, &range, times, s->n_open, err));
    j->owners += 2;
    return stream_meet(s, other, &j->sink, &j->source, j->out, err);
}

static tw_status build_with(join *j, stream *s, stream *other, const args *a, tw_error *err) {
    TRY(bind_keys(j, s, a, other, err));
    if (args_given(a, "within")) return build_range(j, s, other, a, err);
    if (args_given(a, "time") || args_given(a, "lateness"))
        return args_error(a, args_given(a, "time") ? "time" : "lateness", plan_errors(s->builder), "it needs 'within'");
    if (stream_endless(other))
        return args_error(a, "with", plan_errors(s->builder), "flow '%s' never ends: it can be joined in a range of time, which 'within' and 'time' give",
                          args_string(a, "with"));
    j->live = stream_endless(s);
    if (j->live && (j->kind == JOIN_RIGHT || j->kind == JOIN_FULL))
        return args_error(a, "how", plan_errors(s->builder), "rows without a partner are known at the end only, and this flow never ends");
    j->sides[LEFT].schema = schema_ref(s->schema);
    j->sides[RIGHT].schema = schema_ref(other->schema);
    TRY(make_output(j, err));
    TRY(describe(j, args_string(a, "with"), NULL, err));
    return connect(j, s, other, err);
}

static tw_status join_build(stream *s, const args *a, tw_error *err) {
    stream *other;
    TRY(stream_of_flow(s, a, "with", args_string(a, "with"), &other, err));
    join *j = calloc(1, sizeof *j);
    if (!j) {
        stream_free(other);
        return no_memory(err);
    }
    j->owners = 1;
    j->kind = (join_kind)args_enum(a, "how");
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->changed, NULL);
    tw_status status = build_with(j, s, other, a, err);
    join_release(j);
    stream_free(other);
    return status;
}

static const option within_options[] = {
    {"both", OPTION_DURATION, 0, "the right row's time is at most so far from the left row's, before or after it", .min = 0, .max = INT64_MAX / 8},
    {"before", OPTION_DURATION, 0, "at most so far before it", .min = 0, .max = INT64_MAX / 8},
    {"after", OPTION_DURATION, 0, "at most so far after it", .min = 0, .max = INT64_MAX / 8},
};
static const descriptor within_section = {"join.within", "a range of time", within_options, COUNT_OF(within_options), .shorthand = "both"};

static const option join_options[] = {
    {"with", OPTION_FLOW, OPTION_REQUIRED, "the flow on the right side, which is collected"},
    {"on", OPTION_STRING_MAP, OPTION_REQUIRED | OPTION_OR_LIST, "the columns that must be equal: a list, or {left: right, ...}"},
    {"how", OPTION_ENUM, 0, "which rows come out", .default_text = "inner", .values = kinds},
    {"within", OPTION_SECTION, 0, "how far apart the times of partners may be: 10s, or {before: 5s, after: 10s} of the left row's", .section = &within_section},
    {"time", OPTION_STRING_MAP, OPTION_OR_ONE, "with within: the column of the time, a timestamp; {left: right} if it has two names"},
    {"lateness", OPTION_DURATION, 0, "with within: how far the watermark stays behind the greatest time", .default_text = "0s", .min = 0,
     .max = INT64_MAX / 8},
};
const step_descriptor step_join = {
    .descriptor = {.name = "join",
                   .summary = "puts rows together that have the same keys in two flows",
                   .options = join_options,
                   .n_options = COUNT_OF(join_options),
                   .details =
                       "inner gives every pair of rows with equal keys; left, right and full also the rows of that "
                       "side, or of both, that have no partner, with nulls in its place; semi and anti the rows of "
                       "this flow that have a partner, or none, once each. A null key matches nothing.\n\n"
                       "The keys stand first, under their names in this flow, then its other columns, then those of "
                       "the other flow, with _right behind a name that is taken. Integers of different sizes are "
                       "compared as int64, an integer and a float as float64. Output has no order.\n\n"
                       "The smaller side should be the right one. What does not fit in memory goes to disk; in an endless flow "
                       "the right side must end, and fit.\n\n"
                       "With 'within' and 'time' only rows whose times are so near to each other are partners, and both "
                       "flows may be endless. Pairs, and rows of semi, come out at once; a row without a partner when the "
                       "watermark, the least of both sides', says that none can come any more. A row from before its own "
                       "side's watermark is late, counted and dropped. Rows are kept as long as a partner may come, in "
                       "run.memory, and in checkpoints. Behind such a join rows are out of order by the range: a window "
                       "there needs that as its lateness.",
                   .example = "- join: {with: airlines, on: [carrier], how: left}\n"
                              "- join: {with: payments, on: [order_id], within: 10m, time: {ordered_at: paid_at}, how: left}"},
    .build = join_build,
};
