/* dedupe: the first row of each key, and again after a while: rows pass a queue in order (engine/queue.h), beside what
 * was let through. By event time a repeat is a row less than `within` away from one of its key that was let through, and
 * one that is as far behind the watermark is late: so the result depends on the order of rows alone, and what the
 * watermark has passed twice over can be forgotten. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "step/event_clock.h"
#include "step/seen_rows.h"
#include "step/steps.h"
#include "step/timed_rows.h"

typedef enum dedupe_time {
    TIME_COLUMN,  /* event time */
    TIME_ARRIVAL, /* the system's clock */
    TIME_NONE,    /* a bounded flow has arrived at once */
} dedupe_time;

typedef struct dedupe {
    dedupe_time of;
    bool live;
    uint32_t time;      /* TIME_COLUMN: the column */
    int64_t within;     /* microseconds */
    event_clock *clock; /* TIME_COLUMN in endless flows */
    int64_t now;        /* TIME_ARRIVAL: never falls */
    seen_rows *seen;
    uint32_t n_keys;
    uint32_t *keys;     /* columns */
    column *columns;    /* n_keys, those of a batch */
    uint64_t *hashes;   /* BATCH_ROWS_MAX */
    char *shape;
} dedupe;

static void dedupe_free(void *context) {
    dedupe *d = context;
    if (d->clock) event_clock_free(d->clock);
    seen_rows_free(d->seen);
    free(d->keys);
    free(d->columns);
    free(d->hashes);
    free(d->shape);
    free(d);
}

/* ---- rows pass ---- */

/* Those that are not late. */
static uint32_t in_time(dedupe *d, run_context *run, const batch *b, uint32_t partition, uint32_t *rows) {
    int64_t own, others;
    const int64_t *times = b->columns[d->time].values;
    event_clock_stamp(d->clock, b, partition, &own, &others);
    seen_rows_forget(d->seen, event_clock_less(event_clock_less(own < others ? own : others, d->within), d->within));
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->rows; i++) {
        int64_t watermark = own < others ? own : others;
        rows[n] = i;
        n += times[i] > event_clock_less(watermark, d->within);
        own = event_clock_advance(d->clock, own, times[i]);
    }
    if (n < b->rows) atomic_fetch_add_explicit(&run->late_records, b->rows - n, memory_order_relaxed);
    return n;
}

static uint32_t all_rows(const batch *b, uint32_t *rows) {
    for (uint32_t i = 0; i < b->rows; i++) rows[i] = i;
    return b->rows;
}

static void look_at_clock(dedupe *d) {
    int64_t now = (int64_t)(clock_of(CLOCK_REALTIME) / 1000);
    if (now > d->now) d->now = now;
    seen_rows_forget(d->seen, event_clock_less(d->now, d->within));
}

static tw_status dedupe_pick(void *context, run_context *run, const batch *b, const queue_times *at, uint32_t *rows, uint32_t *n,
                             tw_error *err) {
    dedupe *d = context;
    seen_rows_start(d->seen, run->memory);
    *n = d->clock ? in_time(d, run, b, at->partition, rows) : all_rows(b, rows);
    if (d->of == TIME_ARRIVAL) look_at_clock(d);
    for (uint32_t i = 0; i < d->n_keys; i++) d->columns[i] = b->columns[d->keys[i]];
    hash_columns(d->columns, d->n_keys, b->rows, d->hashes);
    const int64_t *times = d->of == TIME_COLUMN ? b->columns[d->time].values : NULL;
    return seen_rows_keep(d->seen, d->columns, d->hashes, times, d->now, rows, n, err);
}

static void dedupe_needs(void *context, bool *needed) {
    const dedupe *d = context;
    for (uint32_t i = 0; i < d->n_keys; i++) needed[d->keys[i]] = true;
    if (d->of == TIME_COLUMN) needed[d->time] = true;
}

static void dedupe_describe(const void *context, char *out, size_t capacity) {
    const dedupe *d = context;
    snprintf(out, capacity, "in row order, remembers keys for %.6g s%s", (double)d->within * 1e-6,
             d->of == TIME_COLUMN ? " of event time" : "");
}

/* ---- going on after a stop ---- */

static tw_status dedupe_save(void *context, saved_part *to, tw_error *err) {
    dedupe *d = context;
    TRY(part_put_int(to, "now", d->now, err));
    if (d->clock) TRY(event_clock_save(d->clock, to, err));
    return seen_rows_save(d->seen, to, err);
}

static tw_status dedupe_load(void *context, run_context *run, const saved_part *from, int64_t *watermark, tw_error *err) {
    dedupe *d = context;
    int64_t own; /* the flow's watermark is not of this clock */
    d->now = part_get_int(from, "now", 0);
    seen_rows_start(d->seen, run->memory);
    if (d->clock) TRY(event_clock_load(d->clock, run, from, &own, err));
    return seen_rows_load(d->seen, from, err);
}

static void dedupe_shape(const void *context, char *out, size_t capacity) {
    snprintf(out, capacity, "%s", ((const dedupe *)context)->shape);
}

/* ---- planning ---- */

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for the plan"); }

/* "on key int64; within 600 s of ts, lateness 2 s". */
static char *shape_text(const dedupe *d, const schema *s, int64_t lateness) {
    struct text t = {0};
    text_append_string(&t, "on");
    for (uint32_t i = 0; i < d->n_keys; i++) {
        const field *f = &s->fields[d->keys[i]];
        char type[64];
        text_printf(&t, "%s %s %s", i ? "," : "", f->name, type_name(f->type, type, sizeof type));
    }
    text_printf(&t, "; within %.6g s", (double)d->within * 1e-6);
    if (d->of == TIME_COLUMN) text_printf(&t, " of %s, lateness %.6g s", s->fields[d->time].name, (double)lateness * 1e-6);
    return text_take(&t);
}

static tw_status dedupe_new(const schema *s, const dedupe *read, int64_t lateness, dedupe **out, tw_error *err) {
    dedupe *d = malloc(sizeof *d);
    const type **types = calloc(read->n_keys, sizeof *types);
    if (!d || !types) {
        free(d);
        free(types);
        free(read->keys);
        return no_memory(err);
    }
    *d = *read;
    for (uint32_t i = 0; i < d->n_keys; i++) types[i] = s->fields[d->keys[i]].type;
    d->columns = calloc(d->n_keys, sizeof *d->columns);
    d->hashes = malloc(BATCH_ROWS_MAX * sizeof *d->hashes);
    d->shape = shape_text(d, s, lateness);
    tw_status status = d->columns && d->hashes && d->shape ? TW_OK : no_memory(err);
    if (status == TW_OK) status = seen_rows_new(types, d->n_keys, d->of == TIME_NONE ? SEEN_FOREVER : d->within, &d->seen, err);
    if (status == TW_OK && d->of == TIME_COLUMN && d->live) status = event_clock_new(d->time, lateness, EVENT_CLOCK_IDLE_US, &d->clock, err);
    free(types);
    if (status == TW_OK) *out = d;
    else dedupe_free(d);
    return status;
}

static tw_status read_keys(stream *s, const args *a, dedupe *d, tw_error *err) {
    size_t n;
    const arg_item *items = args_items(a, "on", &n);
    tw_status status = TW_OK;
    d->n_keys = n ? (uint32_t)n : s->schema->n;
    d->keys = calloc(d->n_keys + 1, sizeof *d->keys);
    if (!d->keys) return no_memory(err);
    for (uint32_t i = 0; i < d->n_keys; i++) {
        int at = n ? plan_column(s, a, "on", &items[i], items[i].text) : (int)i;
        if (at < 0) status = TW_ERR_JOB;
        else d->keys[i] = (uint32_t)at;
    }
    return status;
}

static tw_status read_time(stream *s, const args *a, dedupe *d) {
    d->of = args_given(a, "time") ? TIME_COLUMN : d->live ? TIME_ARRIVAL : TIME_NONE;
    if (d->of != TIME_COLUMN)
        return args_given(a, "lateness") ? args_error(a, "lateness", plan_errors(s->builder), "lateness is of event time: it needs 'time'") : TW_OK;
    int time = plan_column(s, a, "time", NULL, args_string(a, "time"));
    if (time < 0) return TW_ERR_JOB;
    d->time = (uint32_t)time;
    if (s->schema->fields[time].type->kind != TYPE_TIMESTAMP)
        return args_error(a, "time", plan_errors(s->builder), "'%s' is no timestamp", s->schema->fields[time].name);
    return TW_OK;
}

static tw_status dedupe_build(stream *s, const args *a, tw_error *err) {
    dedupe read = {.within = args_int(a, "within"), .live = stream_endless(s)}, *d = NULL;
    tw_status status = read_keys(s, a, &read, err);
    tw_status timed = status == TW_OK || status == TW_ERR_JOB ? read_time(s, a, &read) : status;
    if (status != TW_OK || timed != TW_OK) {
        free(read.keys);
        return status != TW_OK ? status : timed;
    }
    TRY(dedupe_new(s->schema, &read, args_int(a, "lateness"), &d, err));
    if (d->of == TIME_COLUMN) {
        status = stream_timed_rows(s, "dedupe", d->time, NOTHING_LATE, err);
        if (status != TW_OK) {
            dedupe_free(d);
            return status;
        }
    }
    queue_options options = {.name = "dedupe", .is_step = true, .rows_max = UINT64_MAX, .pick = dedupe_pick, .keeps_state = true, .context = d,
                             .free = dedupe_free, .save = dedupe_save, .load = dedupe_load, .shape = dedupe_shape,
                             .needs = dedupe_needs, .describe = dedupe_describe};
    return stream_queue(s, options, err);
}

static const option dedupe_options[] = {
    {"on", OPTION_COLUMNS, OPTION_OR_ONE, "the columns that make a row a repeat", .default_note = "all columns"},
    {"within", OPTION_DURATION, OPTION_REQUIRED, "how far a repeat is from the row that was let through", .min = 1,
     .max = INT64_MAX / 4},
    {"time", OPTION_COLUMN, 0, "a timestamp to measure that by; without it the time of arrival counts"},
    {"lateness", OPTION_DURATION, 0, "with time: how far the watermark stays behind the greatest time", .default_text = "0s",
     .min = 0, .max = INT64_MAX / 4},
};
const step_descriptor step_dedupe = {
    .descriptor = {.name = "dedupe",
                   .summary = "drops rows that come again within a time",
                   .options = dedupe_options,
                   .n_options = COUNT_OF(dedupe_options),
                   .details =
                       "In row order: the first row of each key is let through, and a row is dropped that is less than "
                       "'within' away from one of its key that was let through, before or after it. Rows leave at once, in "
                       "their order. Null equals null.\n\n"
                       "With 'time' in an endless flow a row that is 'within' or more behind the watermark is late: it is "
                       "counted and dropped, for nobody knows any more whether it is a repeat. What was let through is "
                       "remembered until it is twice 'within' behind the watermark; in a bounded flow nothing is late and "
                       "all is remembered. Without 'time' the rows of a bounded flow have all arrived at once. What is "
                       "remembered is in run.memory, and in checkpoints.",
                   .example = "- dedupe: {on: [id], within: 10m, time: ts}"},
    .build = dedupe_build,
    .columns = COLUMNS_KEPT,
    .by_name = true,
};
