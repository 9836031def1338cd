#include "engine/plan_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/queue.h"
#include "engine/store.h"

#define PLAN_MEMORY_BYTES ((size_t)1 << 30)

/* A flow of the job while its stream is built. */
typedef struct flow_state {
    const job_flow *flow;
    uint32_t readers;  /* other flows that read it, plus its own sink */
    bool visited, building, failed;
    store *store;      /* once built, when several read it */
    schema *schema;
} flow_state;

struct plan_builder {
    const job *job;
    const registry *registry;
    error_list *errors;
    plan *plan;
    flow_state *flows;
    uint32_t n_flows;
    flow_state *flow;    /* being built */
    int step;            /* index into plan->steps of what is being built; -1 */
    struct place at;     /* of its name in the job */
    bool wrong_before;   /* there were errors before we began */
};

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for the plan"); }

/* Grows a pointer array by one. */
static tw_status push_pointer(void *array, uint32_t *n, void *item, tw_error *err) {
    void ***a = array;
    if ((*n & (*n - 1)) == 0) {
        void **bigger = realloc(*a, (*n ? (size_t)*n * 2 : 1) * sizeof *bigger);
        if (!bigger) return no_memory(err);
        *a = bigger;
    }
    (*a)[(*n)++] = item;
    return TW_OK;
}

/* ---- for build functions ---- */

error_list *plan_errors(plan_builder *b) { return b->errors; }
memory *plan_memory(plan_builder *b) { return b->plan->memory; }
const char *plan_step_name(const plan_builder *b) { return b->plan->steps[b->step]->step; }
const char *plan_flow_name(const plan_builder *b) { return b->plan->steps[b->step]->flow; }
const job *plan_job(const plan_builder *b) { return b->job; }
void plan_keep_raw(plan_builder *b) { b->plan->keeps_raw = true; }

tw_status plan_add_unknown(stream *s, const char *name, tw_error *err) {
    char *copy = strdup(name);
    tw_status status = copy ? push_pointer(&s->unknown, &s->n_unknown, copy, err) : no_memory(err);
    if (status != TW_OK) free(copy);
    return status;
}

static void forget_unknown(stream *s) {
    for (uint32_t i = 0; i < s->n_unknown; i++) free(s->unknown[i]);
    free(s->unknown);
    s->unknown = NULL;
    s->n_unknown = 0;
}

static bool is_word_byte(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || (c & 0x80);
}

/* As a word of its own, in a literal too: rather one look too few than an error that is none. */
bool plan_mentions_unknown(const stream *s, const char *text) {
    for (uint32_t i = 0; i < s->n_unknown; i++) {
        size_t n = strlen(s->unknown[i]);
        for (const char *at = text; n && (at = strstr(at, s->unknown[i])); at++)
            if ((at == text || !is_word_byte(at[-1])) && !is_word_byte(at[n])) return true;
    }
    return false;
}

tw_status plan_expression(stream *s, const args *a, const char *name, const arg_item *item, expr **out) {
    plan_builder *b = s->builder;
    const node *n = item ? item->value : args_node(a, name);
    const char *text = item ? item->text : args_string(a, name);
    if (plan_mentions_unknown(s, text)) return TW_ERR_JOB;
    tw_error err = {0};
    tw_status status = expr_compile(text, s->schema, out, &err);
    if (status != TW_ERR_JOB) return status;
    struct place at = n ? node_place_within(n, err.column ? err.column : 1) : args_place(a, name);
    return error_list_add(b->errors, at, "%s", err.message);
}

int plan_column(stream *s, const args *a, const char *option_name, const arg_item *item, const char *name) {
    for (uint32_t i = 0; i < s->n_unknown; i++)
        if (strcmp(s->unknown[i], name) == 0) return -1;
    int index = schema_find(s->schema, name);
    if (index >= 0) return index;
    struct nearest n = {name};
    for (uint32_t i = 0; i < s->schema->n; i++) nearest_try(&n, s->schema->fields[i].name);
    struct place at = item ? item->at : args_place(a, option_name);
    if (n.best) error_list_add(s->builder->errors, at, "unknown column '%s'; did you mean '%s'?", name, n.best);
    else error_list_add(s->builder->errors, at, "unknown column '%s'", name);
    return -1;
}

/* ---- pipelines ---- */

static void operator_release(operator_plan *o) {
    if (--o->references) return;
    schema_unref(o->in);
    schema_unref(o->out);
    o->class->free(o);
}

static void pipeline_free_parts(pipeline *p) {
    if (p->source) p->source->class->free(p->source);
    p->source = NULL;
    for (uint32_t i = 0; i < p->n_operators; i++) operator_release(p->operators[i]);
    p->n_operators = 0;
}

static void pipeline_free(pipeline *p) {
    pipeline_free_parts(p);
    free(p->operators);
    free(p->after);
    free(p->also_after);
    schema_unref(p->first_schema);
    free(p);
}

/* A new pipeline at the end of the plan; takes over the source, also on failure. */
static tw_status pipeline_new(plan_builder *b, source *from, schema *s, pipeline **out, tw_error *err) {
    pipeline *p = calloc(1, sizeof *p);
    if (!p) {
        from->class->free(from);
        return no_memory(err);
    }
    p->id = b->plan->n_pipelines;
    p->source = from;
    from->step = p->source_step = b->step;
    p->endless = from->endless;
    p->order = !from->endless ? ROW_ORDER_ALL : from->ordered ? ROW_ORDER_INPUTS : ROW_ORDER_NONE;
    b->plan->endless |= from->endless;
    p->first_schema = schema_ref(s);
    tw_status status = push_pointer(&b->plan->pipelines, &b->plan->n_pipelines, p, err);
    if (status != TW_OK) {
        pipeline_free(p);
        return status;
    }
    if (b->step >= 0) p->lanes_max = b->plan->steps[b->step]->lanes_max;
    *out = p;
    return TW_OK;
}

static void stream_set_schema(stream *s, schema *to) {
    schema_ref(to);
    schema_unref(s->schema);
    s->schema = to;
}

/* Makes the sink known to the plan; takes it over, also on failure. */
static tw_status add_sink(plan_builder *b, sink *k, tw_error *err) {
    k->step = b->step;
    tw_status status = push_pointer(&b->plan->sinks, &b->plan->n_sinks, k, err);
    if (status != TW_OK) k->class->free(k);
    return status;
}

/* Leads all open pipelines into `k`, as its inputs in order. */
static void close_into(stream *s, sink *k) {
    for (uint32_t i = 0; i < s->n_open; i++) {
        s->open[i]->sink = k;
        s->open[i]->input = i;
        k->endless |= s->open[i]->endless;
        if (i == 0 || s->open[i]->order < k->order) k->order = s->open[i]->order;
    }
    if (k->endless && k->order == ROW_ORDER_ALL) k->order = ROW_ORDER_INPUTS; /* none of them ever comes to an end */
    s->n_open = 0;
}

bool stream_endless(const stream *s) {
    for (uint32_t i = 0; i < s->n_open; i++)
        if (s->open[i]->endless) return true;
    return false;
}

/* What needs all of its input can't follow a source that never ends. */
static tw_status refuse_endless(plan_builder *b, const char *what) {
    return error_list_add(b->errors, b->at, "%s needs all rows, and what comes before it never ends", what);
}

tw_status stream_queue(stream *s, queue_options options, tw_error *err) {
    bool overtaken = false;
    for (uint32_t i = 0; i < s->n_open; i++) overtaken |= s->open[i]->overtaken;
    if (overtaken && options.stamp) {
        if (options.free) options.free(options.context);
        return error_list_add(s->builder->errors, s->builder->at, "with overflow: disk rows overtake each other, and many would be late "
                              "here: say ordered: key at the source");
    }
    sink *k;
    source *from;
    TRY(queue_create(options, s->schema->n, &k, &from, err));
    schema *same = schema_ref(s->schema);
    plan_builder *b = s->builder;
    int step = b->step;
    if (!options.is_step) b->step = -1;
    tw_status status = stream_break(s, k, from, same, err);
    b->step = step;
    schema_unref(same);
    return status;
}

/* Hands batches over to idle workers from here on. */
static tw_status cut_with_queue(stream *s, uint32_t piece_rows, tw_error *err) {
    return stream_queue(s, (queue_options){.name = "queue", .rows_max = UINT64_MAX, .piece_rows = piece_rows}, err);
}

static uint32_t bound_of_step(const plan_builder *b) {
    return b->step >= 0 ? b->plan->steps[b->step]->lanes_max : 0;
}

static void bound_open(stream *s) {
    uint32_t most = bound_of_step(s->builder);
    for (uint32_t i = 0; most && i < s->n_open; i++) s->open[i]->lanes_max = most;
}

tw_status stream_add_operator(stream *s, operator_plan *p, schema *out, tw_error *err) {
    plan_builder *b = s->builder;
    bool bounded = bound_of_step(b) > 0;
    p->step = b->step;
    p->references = 1; /* ours, while it is handed out */
    p->in = schema_ref(s->schema);
    p->out = schema_ref(out);
    tw_status status = p->costly || bounded ? cut_with_queue(s, p->rows_max, err) : TW_OK;
    if (status == TW_OK) bound_open(s);
    for (uint32_t i = 0; i < s->n_open && status == TW_OK; i++) {
        pipeline *line = s->open[i];
        status = push_pointer(&line->operators, &line->n_operators, p, err);
        if (status == TW_OK) p->references++;
    }
    operator_release(p);
    TRY(status);
    stream_set_schema(s, out);
    return bounded ? cut_with_queue(s, 0, err) : TW_OK;
}

/* Before what a bounded step does itself. */
static tw_status bound_step(stream *s, tw_error *err) {
    if (bound_of_step(s->builder) == 0) return TW_OK;
    TRY(cut_with_queue(s, 0, err));
    bound_open(s);
    return TW_OK;
}

tw_status stream_break(stream *s, sink *k, source *from, schema *out, tw_error *err) {
    return stream_meet(s, NULL, k, from, out, err);
}

tw_status stream_meet(stream *s, stream *other, sink *k, source *from, schema *out, tw_error *err) {
    plan_builder *b = s->builder;
    tw_status status = bound_step(s, err);
    if (status == TW_OK && other) status = bound_step(other, err);
    if (status == TW_OK && other) status = stream_append(s, other, err);
    if (status != TW_OK) k->class->free(k);
    else status = add_sink(b, k, err);
    if (status != TW_OK) {
        from->class->free(from);
        return status;
    }
    bool overtaken = false;
    for (uint32_t i = 0; i < s->n_open; i++) overtaken |= s->open[i]->overtaken;
    close_into(s, k);
    pipeline *p;
    TRY(pipeline_new(b, from, out, &p, err));
    p->feeder = k;
    p->overtaken = overtaken;
    p->endless = k->endless && !from->ends;
    if (from->live) p->order = k->order;
    if (k->endless && !from->live) return refuse_endless(b, from->name);
    if (!from->live) TRY(push_pointer(&p->after, &p->n_after, k, err));
    stream_set_schema(s, out);
    TRY(push_pointer(&s->open, &s->n_open, p, err));
    return bound_of_step(b) > 0 ? cut_with_queue(s, 0, err) : TW_OK; /* what follows is not bound */
}

tw_status stream_after(stream *s, stream *other, sink *k, tw_error *err) {
    TRY(add_sink(s->builder, k, err));
    close_into(other, k);
    if (k->endless) return refuse_endless(s->builder, k->name);
    for (uint32_t i = 0; i < s->n_open; i++)
        TRY(push_pointer(&s->open[i]->after, &s->open[i]->n_after, k, err));
    return TW_OK;
}

tw_status stream_also(stream *s, source *from, tw_error *err) {
    pipeline *p;
    TRY(pipeline_new(s->builder, from, s->schema, &p, err));
    for (uint32_t i = 0; i < s->n_open; i++)
        TRY(push_pointer(&p->also_after, &p->n_also_after, s->open[i], err));
    return push_pointer(&s->open, &s->n_open, p, err);
}

tw_status stream_append(stream *s, stream *other, tw_error *err) {
    for (uint32_t i = 0; i < other->n_open; i++)
        TRY(push_pointer(&s->open, &s->n_open, other->open[i], err));
    other->n_open = 0;
    return TW_OK;
}

void stream_free(stream *s) {
    if (!s) return;
    schema_unref(s->schema);
    forget_unknown(s);
    free(s->open);
    free(s);
}

uint32_t pipeline_lanes_max(const pipeline *p, uint32_t parallelism, size_t memory_bytes) {
    size_t n = memory_bytes / ((size_t)16 << 20);
    if (n < 1) n = 1;
    if (n > parallelism) n = parallelism;
    return p->lanes_max && p->lanes_max < n ? p->lanes_max : (uint32_t)n;
}

/* ---- descriptors by name ---- */

/* Embedding structs begin with their descriptor, so an array of any of them is one of descriptors. */
static const void *find(plan_builder *b, const void *array, const job_part *part, const char *what) {
    const descriptor *const *d = array;
    struct nearest n = {part->name};
    for (size_t i = 0; d[i]; i++) {
        if (strcmp(d[i]->name, part->name) == 0) return d[i];
        nearest_try(&n, d[i]->name);
    }
    if (n.best) error_list_add(b->errors, part->at, "unknown %s '%s'; did you mean '%s'?", what, part->name, n.best);
    else error_list_add(b->errors, part->at, "unknown %s '%s'", what, part->name);
    return NULL;
}

/* ---- flows ---- */

static flow_state *flow_named(plan_builder *b, const char *name) {
    int i = job_flow_index(b->job, name);
    return i < 0 ? NULL : &b->flows[i];
}

/* Adds an error that names the nearest one. */
static tw_status unknown_flow(plan_builder *b, struct place at, const char *name) {
    struct nearest n = {name};
    for (uint32_t i = 0; i < b->n_flows; i++) nearest_try(&n, b->flows[i].flow->name);
    if (n.best) return error_list_add(b->errors, at, "unknown flow '%s'; did you mean '%s'?", name, n.best);
    return error_list_add(b->errors, at, "unknown flow '%s'", name);
}

/* Where the name stands: in a list its item. */
static struct place place_of_flow(const args *a, const char *option_name, const char *flow) {
    size_t n;
    const arg_item *items = args_items(a, option_name, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(items[i].text, flow) == 0) return items[i].at;
    return args_place(a, option_name);
}

/* Counts who reads which flow, by the options of type OPTION_FLOW. */
static void count_readers_of_part(plan_builder *b, const descriptor *d, const job_part *part) {
    for (size_t i = 0; d && i < d->n_options; i++) {
        const option *o = &d->options[i];
        if (o->type != OPTION_FLOW && o->type != OPTION_FLOWS) continue;
        const node *v = node_get(part->arguments, o->name);
        if (!v && d->shorthand && strcmp(d->shorthand, o->name) == 0) v = part->arguments;
        for (uint32_t k = 0; v && k < (v->kind == NODE_LIST ? v->n : 1); k++) {
            const node *one = v->kind == NODE_LIST ? v->items[k] : v;
            flow_state *f = one->kind == NODE_SCALAR ? flow_named(b, one->text) : NULL;
            if (f) f->readers++;
        }
    }
}

static void count_readers(plan_builder *b) {
    for (uint32_t i = 0; i < b->n_flows; i++) {
        const job_flow *f = b->flows[i].flow;
        if (f->sink.name) b->flows[i].readers++;
        flow_state *from = f->source_flow ? flow_named(b, f->source_flow) : NULL;
        if (from) from->readers++;
        for (uint32_t k = 0; k < f->n_steps; k++)
            for (size_t d = 0; b->registry->steps[d]; d++)
                if (strcmp(b->registry->steps[d]->descriptor.name, f->steps[k].name) == 0)
                    count_readers_of_part(b, &b->registry->steps[d]->descriptor, &f->steps[k]);
    }
}

/* One more entry for the statistics, which becomes the one being built. */
static tw_status begin_part(plan_builder *b, const job_part *part, tw_error *err) {
    step_statistics *t = calloc(1, sizeof *t);
    if (!t) return no_memory(err);
    t->flow = strdup(b->flow->flow->name);
    t->step = strdup(part->name);
    tw_status status = t->flow && t->step ? push_pointer(&b->plan->steps, &b->plan->n_steps, t, err) : no_memory(err);
    if (status != TW_OK) {
        free(t->flow);
        free(t->step);
        free(t);
        return status;
    }
    b->step = (int)b->plan->n_steps - 1;
    b->at = part->at;
    for (uint32_t i = 0; i < b->job->run.n_workers; i++)
        if (strcmp(b->job->run.workers[i].step, part->name) == 0) t->lanes_max = b->job->run.workers[i].workers;
    return TW_OK;
}

static tw_status stream_from(plan_builder *b, source *from, schema *s, stream **out, tw_error *err) {
    stream *t = calloc(1, sizeof *t);
    if (!t) {
        from->class->free(from);
        return no_memory(err);
    }
    t->builder = b;
    t->schema = schema_ref(s);
    pipeline *p;
    tw_status status = pipeline_new(b, from, s, &p, err);
    if (status == TW_OK) status = push_pointer(&t->open, &t->n_open, p, err);
    if (status != TW_OK) {
        stream_free(t);
        return status;
    }
    *out = t;
    return TW_OK;
}

const char *const row_order_names[] = {"none", "key", "all", NULL};
const char *const overflow_names[] = {"block", "disk", NULL};

static bool has_option(const descriptor *d, const char *name) {
    for (size_t i = 0; i < d->n_options; i++)
        if (strcmp(d->options[i].name, name) == 0) return true;
    return false;
}

static tw_status build_source(plan_builder *b, const job_part *part, stream **out, tw_error *err) {
    const source_descriptor *d = find(b, b->registry->sources, part, "source");
    if (!d) return TW_ERR_JOB;
    TRY(begin_part(b, part, err));
    args *a;
    TRY(args_bind(&d->descriptor, part->arguments, part->at, b->errors, &a));
    source *from;
    schema *s;
    tw_status status = d->build(b, a, &from, &s, err), wrong = TW_OK;
    bool endless = status == TW_OK && from->endless && has_option(&d->descriptor, "ordered"), ordered = false, logs = false;
    if (endless) from->ordered = ordered = args_enum(a, "ordered") > 0, logs = args_enum(a, "overflow") > 0;
    else if (status == TW_OK && has_option(&d->descriptor, "overflow") && args_enum(a, "overflow") > 0)
        wrong = args_error(a, "overflow", b->errors, "this source comes to an end: what it has not given yet is not lost when it waits");
    args_free(a);
    TRY(status);
    if (wrong != TW_OK) {
        from->class->free(from);
        schema_unref(s);
        return wrong;
    }
    status = stream_from(b, from, s, out, err);
    schema_unref(s);
    if (status == TW_OK && logs)
        status = stream_queue(*out, (queue_options){.name = "overflow", .rows_max = UINT64_MAX, .logs = (*out)->schema}, err);
    TRY(status);
    if (logs) (*out)->open[0]->overtaken = !ordered;
    if (!bound_of_step(b)) return TW_OK;
    return cut_with_queue(*out, 0, err); /* the steps that follow are not bound */
}

static void check_part(plan_builder *b, const void *array, const job_part *part, const char *what);

/* TW_ERR_JOB: s->goes_on says whether the columns after it are known well enough for the steps that follow. */
static tw_status build_step(stream *s, const job_part *part, tw_error *err) {
    plan_builder *b = s->builder;
    s->goes_on = false;
    const step_descriptor *d = find(b, b->registry->steps, part, "step");
    if (!d) return TW_ERR_JOB;
    TRY(begin_part(b, part, err));
    int step = b->step;
    args *a;
    tw_status status = TW_ERR_JOB;
    if (s->n_unknown && !d->by_name) {
        check_part(b, b->registry->steps, part, "step");
    } else {
        status = args_bind(&d->descriptor, part->arguments, part->at, b->errors, &a);
        if (status == TW_OK) {
            status = d->build(s, a, err);
            args_free(a);
        }
        if (status == TW_OK && d->columns == COLUMNS_REPLACED) forget_unknown(s);
    }
    s->goes_on |= d->columns == COLUMNS_KEPT;
    b->step = step;
    return status;
}

static tw_status build_sink(stream *s, const job_part *part, tw_error *err) {
    plan_builder *b = s->builder;
    const sink_descriptor *d = find(b, b->registry->sinks, part, "sink");
    if (!d) return TW_ERR_JOB;
    TRY(begin_part(b, part, err));
    if (s->window_sessions) return error_list_add(b->errors, b->at, "sessions are made by a group or distinct behind their window: there is none");
    args *a;
    TRY(args_bind(&d->descriptor, part->arguments, part->at, b->errors, &a));
    sink *k;
    tw_status status = d->build(b, a, s->schema, &k, err);
    args_free(a);
    TRY(status);
    TRY(add_sink(b, k, err));
    close_into(s, k);
    if (k->endless && k->endless_wrong) return error_list_add(b->errors, b->at, "%s", k->endless_wrong);
    return TW_OK;
}

static tw_status read_flow(plan_builder *b, flow_state *f, stream **out, tw_error *err);

/* A part that can't be built, since what comes before it is wrong: name, options, flows. */
static void check_part(plan_builder *b, const void *array, const job_part *part, const char *what) {
    const descriptor *d = find(b, array, part, what);
    args *a;
    if (!d || args_bind(d, part->arguments, part->at, b->errors, &a) != TW_OK) return;
    for (size_t i = 0; i < d->n_options; i++) {
        const option *o = &d->options[i];
        size_t n = 0;
        const arg_item *items = o->type == OPTION_FLOWS ? args_items(a, o->name, &n) : NULL;
        for (size_t k = 0; k < n; k++)
            if (!flow_named(b, items[k].text)) unknown_flow(b, items[k].at, items[k].text);
        const char *one = o->type == OPTION_FLOW ? args_string(a, o->name) : NULL;
        if (one && !flow_named(b, one)) unknown_flow(b, args_place(a, o->name), one);
    }
    args_free(a);
}

/* Source and steps of a flow. After an error the steps that follow are built as far as their columns are
 * known, for the errors that are in them; of the others names and options are checked. */
static tw_status build_flow(plan_builder *b, flow_state *f, stream **out, tw_error *err) {
    const job_flow *flow = f->flow;
    flow_state *outer = b->flow;
    int outer_step = b->step;
    b->flow = f;
    b->step = -1;
    stream *s = NULL;
    tw_status status = TW_ERR_JOB;
    if (flow->source_flow) {
        flow_state *from = flow_named(b, flow->source_flow);
        if (from) status = read_flow(b, from, &s, err);
        else status = unknown_flow(b, flow->source_flow_at, flow->source_flow);
    } else if (flow->source.name) {
        status = build_source(b, &flow->source, &s, err);
    }
    uint32_t i = 0;
    bool wrong = false;
    for (bool known = status == TW_OK; i < flow->n_steps && known; i++) {
        status = build_step(s, &flow->steps[i], err);
        wrong |= status == TW_ERR_JOB;
        known = status == TW_OK || (status == TW_ERR_JOB && s->goes_on);
    }
    if (wrong && status == TW_OK) status = TW_ERR_JOB;
    for (; i < flow->n_steps && status == TW_ERR_JOB; i++) check_part(b, b->registry->steps, &flow->steps[i], "step");
    b->flow = outer;
    b->step = outer_step;
    if (status != TW_OK) {
        stream_free(s);
        return status;
    }
    *out = s;
    return TW_OK;
}

/* A flow that several read is collected once, in a store. */
static tw_status build_store(plan_builder *b, flow_state *f, tw_error *err) {
    stream *s;
    TRY(build_flow(b, f, &s, err));
    sink *k;
    f->schema = schema_ref(s->schema);
    int step = b->step;
    b->step = -1;
    tw_status status = store_create(s->schema, &k, &f->store, err);
    if (status == TW_OK) status = add_sink(b, k, err);
    if (status == TW_OK) close_into(s, k);
    if (status == TW_OK && k->endless) {
        b->at = f->flow->at;
        status = refuse_endless(b, "a flow that several others read");
    }
    b->step = step;
    stream_free(s);
    return status;
}

static tw_status read_store(plan_builder *b, flow_state *f, stream **out, tw_error *err) {
    source *from;
    TRY(store_source(f->store, &from, err));
    int step = b->step;
    b->step = -1;
    tw_status status = stream_from(b, from, f->schema, out, err);
    if (status == TW_OK) {
        pipeline *p = (*out)->open[0];
        p->feeder = store_sink(f->store);
        status = push_pointer(&p->after, &p->n_after, p->feeder, err);
        if (status != TW_OK) {
            stream_free(*out);
            *out = NULL;
        }
    }
    b->step = step;
    return status;
}

/* A stream of the flow's rows for one of its readers. */
static tw_status read_flow(plan_builder *b, flow_state *f, stream **out, tw_error *err) {
    if (f->failed) return TW_ERR_JOB; /* told already */
    if (f->building) {
        /* The check of the job's shape knows the rings of the steps that we have, and says more. */
        if (b->wrong_before) return TW_ERR_JOB;
        return error_list_add(b->errors, f->flow->at, "flow '%s' reads itself", f->flow->name);
    }
    f->building = f->visited = true;
    tw_status status = TW_OK;
    if (f->readers <= 1) status = build_flow(b, f, out, err);
    else if (!f->store) status = build_store(b, f, err);
    if (status == TW_OK && f->readers > 1) status = read_store(b, f, out, err);
    f->building = false;
    f->failed = status != TW_OK;
    return status;
}

tw_status stream_of_flow(stream *s, const args *a, const char *option_name, const char *flow, stream **out,
                         tw_error *err) {
    plan_builder *b = s->builder;
    flow_state *f = flow_named(b, flow);
    return f ? read_flow(b, f, out, err) : unknown_flow(b, place_of_flow(a, option_name, flow), flow);
}

/* ---- the whole plan ---- */

static tw_status build_all(plan_builder *b, tw_error *err) {
    for (uint32_t i = 0; i < b->n_flows; i++) {
        flow_state *f = &b->flows[i];
        if (!f->flow->sink.name) continue;
        stream *s;
        tw_status status = read_flow(b, f, &s, err);
        if (status == TW_OK) {
            b->flow = f;
            status = build_sink(s, &f->flow->sink, err);
            stream_free(s);
        } else if (status == TW_ERR_JOB) {
            check_part(b, b->registry->sinks, &f->flow->sink, "sink");
        }
        if (status != TW_OK && status != TW_ERR_JOB) return status;
    }
    /* Flows that only a wrong one reads have errors of their own. */
    for (uint32_t i = 0; i < b->n_flows && b->errors->total; i++) {
        stream *s = NULL;
        if (b->flows[i].visited) continue;
        tw_status status = read_flow(b, &b->flows[i], &s, err);
        stream_free(s);
        if (status != TW_OK && status != TW_ERR_JOB) return status;
    }
    return b->errors->total ? TW_ERR_JOB : TW_OK;
}

tw_status plan_build(const job *j, const registry *r, error_list *errors, plan **out, tw_error *err) {
    plan_builder b = {.job = j, .registry = r, .errors = errors, .n_flows = j->n_flows, .step = -1,
                      .wrong_before = errors->total > 0};
    b.plan = calloc(1, sizeof *b.plan);
    b.flows = calloc(j->n_flows, sizeof *b.flows);
    tw_status status = b.plan && b.flows ? TW_OK : no_memory(err);
    if (status == TW_OK) status = memory_create(PLAN_MEMORY_BYTES, &b.plan->memory, err);
    if (status == TW_OK && !(b.plan->name = strdup(j->name))) status = no_memory(err);
    if (status == TW_OK) {
        for (uint32_t i = 0; i < j->n_flows; i++) b.flows[i].flow = &j->flows[i];
        count_readers(&b);
        status = build_all(&b, err);
        error_list_sort(errors);
    }
    if (status == TW_OK && j->run.latency_us && !b.plan->endless)
        status = error_list_add(errors, j->run.latency_at, "run.latency is for flows that never end, and this job has none");
    if (status == TW_OK) status = plan_guarantee(b.plan, j, errors);
    if (status == TW_OK) status = plan_prune(b.plan, err);
    for (uint32_t i = 0; b.flows && i < j->n_flows; i++) schema_unref(b.flows[i].schema);
    free(b.flows);
    if (status != TW_OK) {
        plan_free(b.plan);
        return status;
    }
    *out = b.plan;
    return TW_OK;
}

void plan_drop_parts(plan *p) {
    for (uint32_t i = 0; i < p->n_pipelines; i++) pipeline_free_parts(p->pipelines[i]);
    for (uint32_t i = 0; i < p->n_sinks; i++) p->sinks[i]->class->free(p->sinks[i]);
    p->n_sinks = 0;
}

void plan_free(plan *p) {
    if (!p) return;
    plan_drop_parts(p);
    for (uint32_t i = 0; i < p->n_pipelines; i++) pipeline_free(p->pipelines[i]);
    for (uint32_t i = 0; i < p->n_steps; i++) {
        free(p->steps[i]->flow);
        free(p->steps[i]->step);
        free(p->steps[i]);
    }
    memory_destroy(p->memory);
    free(p->steps);
    free(p->pipelines);
    free(p->sinks);
    free(p->name);
    free(p);
}
