/* plan.h: from a checked job to pipelines. Steps, connectors and formats register by one descriptor and
 * build their part of the plan through the calls below. One thread builds a plan. */
#ifndef ENGINE_PLAN_H
#define ENGINE_PLAN_H

#include "engine/descriptor.h"
#include "engine/job.h"
#include "expr/expr.h"
#include "engine/pipeline.h"

typedef struct plan plan;
typedef struct plan_builder plan_builder;

/* A flow under construction: the pipelines that are open at its end. All of them give `schema`. */
typedef struct stream {
    plan_builder *builder;
    schema *schema;
    struct pipeline **open;
    uint32_t n_open;
    int64_t window_us;    /* how long the windows are of the window step since the last group; 0: there is none */
    bool window_sessions; /* they are sessions, window_us their gap: what follows must make them */
    /* After errors: names of columns that are there, or may be, of a type that nobody knows. What mentions one is
     * not looked at: what is wrong with it may follow from an error that was told. */
    char **unknown;
    uint32_t n_unknown;
    bool goes_on; /* a build function that failed has left schema and `unknown` as they would be */
} stream;

/* What becomes of the columns before a step. */
typedef enum step_columns { COLUMNS_REPLACED, COLUMNS_ADDED, COLUMNS_KEPT } step_columns;

/* A step: the descriptor of its options, and how it extends a stream. Errors in options and
 * expressions are added to the builder's list with their place (plan_error); the function then
 * returns TW_ERR_JOB, and the rest of the job is still checked. */
typedef struct step_descriptor {
    descriptor descriptor; /* must be first */
    tw_status (*build)(stream *s, const args *a, tw_error *err);
    step_columns columns;
    bool by_name; /* it knows columns by plan_column and plan_expression alone: so it can be checked after errors */
} step_descriptor;

typedef struct source_descriptor {
    descriptor descriptor;
    /* Makes the source and its schema. May look at files (the first rows, for types). */
    tw_status (*build)(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err);
} source_descriptor;

typedef struct sink_descriptor {
    descriptor descriptor;
    tw_status (*build)(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err);
} sink_descriptor;

/* ---- for build functions ---- */

/* Where errors go. With args_error (engine/descriptor.h) for an option as a whole. */
error_list *plan_errors(plan_builder *b);
/* Compiles the expression in `item` (one of an option's items) or, with item NULL, in option `option`;
 * an error is added at its place within the text. TW_ERR_JOB. */
tw_status plan_expression(stream *s, const args *a, const char *option, const arg_item *item, expr **out);
/* The column's index in the stream's schema, or -1 after adding an error at the item (or, with item
 * NULL, the option) that names the nearest column. A leading '-' is not part of `name`. */
int plan_column(stream *s, const args *a, const char *option, const arg_item *item, const char *name);
/* A column of that name is there, of unknown type. */
tw_status plan_add_unknown(stream *s, const char *name, tw_error *err);
/* Whether a text (an expression, a name) mentions such a column. */
bool plan_mentions_unknown(const stream *s, const char *text);
/* For what is made while planning (rows looked at for their types): outside the run's budget, small. */
memory *plan_memory(plan_builder *b);
/* The name of the step, source or sink being built; owned by the plan. */
const char *plan_step_name(const plan_builder *b);
/* The flow that is being built, and the job it is of. */
const char *plan_flow_name(const plan_builder *b);
const job *plan_job(const plan_builder *b);
/* Rows must carry the record as it came, for dead letters of the step that is being built. */
void plan_keep_raw(plan_builder *b);

/* Appends a stateless operator; takes over `p` (frees it on failure) and references `out`. */
tw_status stream_add_operator(stream *s, operator_plan *p, schema *out, tw_error *err);
/* Ends all open pipelines in `k` and goes on from `from`, which starts when `k` has finished. Takes
 * over both. */
tw_status stream_break(stream *s, sink *k, source *from, schema *out, tw_error *err);
/* The same with the pipelines of another stream as the inputs behind those of `s`; it is used up, and may have another
 * schema, which the sink then prunes by needs_of. */
tw_status stream_meet(stream *s, stream *other, sink *k, source *from, schema *out, tw_error *err);
/* Ends another stream in `k` (the build side of a join) and makes the open pipelines of `s` wait for
 * it. Takes over `k`; `other` is used up. */
tw_status stream_after(stream *s, stream *other, sink *k, tw_error *err);
/* Adds an open pipeline that starts from `from` when all that are open now have come to their end (the
 * rows that a join held back). Takes over `from`. It must give the schema of `s`. */
tw_status stream_also(stream *s, source *from, tw_error *err);
/* Moves the open pipelines of `other` behind those of `s` (union). Schemas must be equal by now. */
tw_status stream_append(stream *s, stream *other, tw_error *err);
/* The window step's windows are over. */
static inline void stream_end_window(stream *s) {
    s->window_us = 0;
    s->window_sessions = false;
}
/* Whether it may go on forever: steps that need all rows can't follow. */
bool stream_endless(const stream *s);
/* The rows of another flow, for `with`. Unknown names and cycles add an error at the option. */
tw_status stream_of_flow(stream *s, const args *a, const char *option, const char *flow, stream **out,
                         tw_error *err);
void stream_free(stream *s);

/* The options of all endless sources, which the planner reads: which of their rows must not overtake each other, and what
 * becomes of those that no worker has time for. */
extern const char *const row_order_names[], *const overflow_names[];
#define ENDLESS_OPTIONS                                                                                \
    {"ordered", OPTION_ENUM, .values = row_order_names, .default_text = "none",                        \
     .help = "which rows of an endless flow must not overtake each other: none, those of one key (connection, partition), all"}, \
    {"overflow", OPTION_ENUM, .values = overflow_names, .default_text = "block",                       \
     .help = "rows of an endless flow that no worker has time for slow down the source (block), or wait in a log on disk (disk)"}
#define ENDLESS_OPTION_NAMES "ordered", "overflow"

/* ---- for the library ---- */

/* All steps and connectors there are. NULL-terminated arrays. */
typedef struct registry {
    const step_descriptor *const *steps;
    const source_descriptor *const *sources;
    const sink_descriptor *const *sinks;
} registry;

/* TW_ERR_JOB: what is wrong is in `errors`. */
tw_status plan_build(const job *j, const registry *r, error_list *errors, plan **out, tw_error *err);
void plan_free(plan *p);
/* The plan as text: stages, what is fused, where rows move, the worst memory. */
tw_status plan_explain(const plan *p, uint32_t parallelism, size_t memory_bytes, struct text *out);

#endif
