/* window: which windows a row belongs to, as columns. In an endless flow rows pass a queue in the order they came,
 * where watermarks are made: per partition the greatest time so far less the lateness, the least of them for
 * all. A row is late when the watermark that stood before it has passed the last of its windows, so what is late
 * depends neither on batches nor on parallelism. */
#include <stdio.h>
#include <stdlib.h>

#include "data/time_text.h"
#include "engine/bad_records.h"
#include "engine/checkpoint.h"
#include "engine/dead_letters.h"
#include "engine/queue.h"
#include "step/event_clock.h"
#include "step/steps.h"

#define WINDOWS_OF_A_ROW_MAX 10000

typedef struct window_shape {
    int64_t size, every, lateness, idle; /* microseconds; size of a session: its gap */
    bool session;                  /* a window of its own for each row, for sessions to be made of */
} window_shape;

/* ---- the operator ---- */

typedef struct window_plan {
    operator_plan plan;
    window_shape shape;
    uint32_t time;
    bool live;
    bool start_needed, end_needed, watermark_needed;
} window_plan;

typedef struct window_state {
    operator operator;
    run_context *run;
    int64_t own, others, after; /* watermarks of the split */
    uint32_t row;               /* of `kept`, the next to be given, */
    int64_t back;               /* in the window so many before its last */
    batch *kept;                /* the input without rows that are late or have no time */
    buffer *watermarks;         /* int64[kept->rows] that stood before them; NULL: none has passed a window */
    bool prepared;
} window_state;

static tw_status window_open(operator_plan *plan, run_context *run, operator **out, tw_error *err) {
    window_state *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, TW_ERR_MEMORY, "out of memory for window");
    s->operator = (operator){.class = plan->class, .plan = plan};
    s->run = run;
    *out = &s->operator;
    return TW_OK;
}

/* How many windows before its last one a row may be in. */
static int64_t windows_before(const window_shape *w) { return (w->size - 1) / w->every; }

static void forget_batch(window_state *s) {
    batch_unref(s->kept);
    buffer_unref(s->watermarks);
    s->kept = NULL;
    s->watermarks = NULL;
    s->prepared = false;
    s->row = 0;
    s->back = windows_before(&((const window_plan *)s->operator.plan)->shape);
}

static void window_close(operator *self) {
    forget_batch((window_state *)self);
    free(self);
}

static void window_begin_split(operator *self, const reader *split) {
    window_state *s = (window_state *)self;
    forget_batch(s);
    s->own = split->own;
    s->others = split->others;
    s->after = split->after.watermark;
}

/* The start of the last window that holds the time. */
static int64_t last_start(const window_shape *w, int64_t time) {
    if (w->session) return time;
    int64_t over = time % w->every;
    return time - over - (over < 0 ? w->every : 0);
}

static bool is_late(const window_shape *w, int64_t time, int64_t watermark) {
    return last_start(w, time) + w->size <= watermark;
}

/* Rows that are to be kept, into `rows`, with the watermarks before them. */
static tw_status keep_rows(window_state *s, const batch *in, uint32_t *rows, int64_t *watermarks, uint32_t *n, tw_error *err) {
    const window_plan *p = (const window_plan *)s->operator.plan;
    const column *c = &in->columns[p->time];
    const int64_t *times = c->values;
    int64_t own = s->own;
    uint64_t late = 0;
    *n = 0;
    for (uint32_t i = 0; i < in->rows; i++) {
        if (!column_is_valid(c, i)) {
            TRY(bad_row(s->run, in, i, "window", "the time is null", err));
            continue;
        }
        int64_t watermark = own < s->others ? own : s->others;
        if (p->live && is_late(&p->shape, times[i], watermark)) late++;
        else watermarks[*n] = watermark, rows[(*n)++] = i;
        int64_t after = event_clock_less(times[i], p->shape.lateness);
        if (after > own) own = after;
    }
    if (late) atomic_fetch_add_explicit(&s->run->late_records, late, memory_order_relaxed);
    return TW_OK;
}

/* Whether every row is kept for sure, in all its windows. */
static bool nothing_late(const window_state *s, const batch *in) {
    const window_plan *p = (const window_plan *)s->operator.plan;
    const column *c = &in->columns[p->time];
    const int64_t *times = c->values;
    if (c->valid) return false;
    if (!p->live || s->after == WATERMARK_NONE) return true;
    int64_t least = INT64_MAX;
    for (uint32_t i = 0; i < in->rows; i++)
        if (times[i] < least) least = times[i];
    if (p->shape.session) return least >= s->after; /* nor behind the watermark */
    int64_t first_start = last_start(&p->shape, least) - windows_before(&p->shape) * p->shape.every;
    return first_start + p->shape.size > s->after;
}

static tw_status prepare(window_state *s, batch *in, tw_error *err) {
    if (nothing_late(s, in)) {
        s->kept = batch_ref(in);
        s->prepared = true;
        return TW_OK;
    }
    buffer *rows = NULL;
    uint32_t n = 0;
    tw_status status = buffer_new(s->run->memory, MEMORY_FLOW, in->rows * sizeof(uint32_t), &rows, err);
    if (status == TW_OK)
        status = buffer_new(s->run->memory, MEMORY_FLOW, in->rows * sizeof(int64_t), &s->watermarks, err);
    if (status == TW_OK) {
        uint32_t *kept = (uint32_t *)(void *)rows->data;
        status = keep_rows(s, in, kept, (int64_t *)(void *)s->watermarks->data, &n, err);
        if (status == TW_OK && n == in->rows) s->kept = batch_ref(in);
        else if (status == TW_OK && n) status = batch_pick(s->run->memory, in, kept, rows, n, &s->kept, err);
        /* What was counted is not counted again: the engine repeats a call that memory was refused to. */
        if (status == TW_ERR_MEMORY && n < in->rows) status = TW_ERR_INTERNAL;
    }
    if (status != TW_OK) forget_batch(s);
    buffer_unref(rows);
    s->prepared = status == TW_OK;
    return status;
}

/* Rows and the starts of their windows, from s->row and s->back on until there are `capacity`; returns how many. A row's
 * copies stand side by side, the earliest window first, so that the order of rows does not depend on batches. */
static uint32_t windows_of(const window_state *s, uint32_t capacity, uint32_t *row, int64_t *back, int64_t *starts, uint32_t *rows) {
    const window_plan *p = (const window_plan *)s->operator.plan;
    const column *times = &s->kept->columns[p->time];
    const int64_t *t = times->values, *watermarks = s->watermarks ? (int64_t *)(void *)s->watermarks->data : NULL;
    int64_t every = p->shape.every, low = 0, high = 0;
    uint32_t n = 0;
    for (; *row < times->rows; ++*row, *back = windows_before(&p->shape)) {
        uint32_t i = *row;
        if (t[i] < low || t[i] >= high) { /* neighbours mostly share their window */
            low = last_start(&p->shape, t[i]);
            high = low + (p->shape.session ? 1 : every);
        }
        for (; *back >= 0; --*back) {
            if (n == capacity) return n;
            starts[n] = low - *back * every;
            rows[n] = i;
            int64_t end = starts[n] + p->shape.size;
            n += end > t[i] && (!watermarks || end > watermarks[i]);
        }
    }
    return n;
}

static tw_status add_times(window_state *s, batch *b, const int64_t *starts, int64_t add, uint32_t at, bool needed, tw_error *err) {
    column *c = &b->columns[at];
    if (!needed) {
        *c = (column){.type = type_of(TYPE_TIMESTAMP), .rows = b->rows};
        return TW_OK;
    }
    TRY(column_new(s->run->memory, type_of(TYPE_TIMESTAMP), b->rows, c, err));
    int64_t *to = c->values;
    for (uint32_t i = 0; i < b->rows; i++) to[i] = starts[i] + add;
    return TW_OK;
}

/* The watermarks of rows that were behind them. */
static tw_status add_watermarks(window_state *s, const batch *from, column *out, tw_error *err) {
    const window_plan *p = (const window_plan *)s->operator.plan;
    const int64_t *times = from->columns[p->time].values;
    const int64_t *watermarks = s->watermarks ? (int64_t *)(void *)s->watermarks->data : NULL;
    TRY(column_new(s->run->memory, type_of(TYPE_TIMESTAMP), from->rows, out, err));
    for (uint32_t i = 0; i < from->rows; i++)
        ((int64_t *)out->values)[i] = watermarks && watermarks[i] > times[i] ? watermarks[i] : WATERMARK_NONE;
    return TW_OK;
}

static tw_status widen(window_state *s, const batch *from, const int64_t *starts, batch **out, tw_error *err) {
    const window_plan *p = (const window_plan *)s->operator.plan;
    uint32_t n = from->schema->n;
    batch *b;
    TRY(batch_new(p->plan.out, from->rows, &b, err));
    for (uint32_t i = 0; i < n; i++) column_share(&from->columns[i], &b->columns[i]);
    tw_status status = add_times(s, b, starts, 0, n, p->start_needed, err);
    if (status == TW_OK) status = add_times(s, b, starts, p->shape.size, n + 1, p->end_needed, err);
    if (status == TW_OK && p->shape.session && p->live) {
        if (p->watermark_needed) status = add_watermarks(s, from, &b->columns[n + 2], err);
        else b->columns[n + 2] = (column){.type = type_of(TYPE_TIMESTAMP), .rows = b->rows};
    }
    if (status == TW_OK) status = batch_inherit_origin(s->run->memory, from, NULL, NULL, b, err);
    if (status != TW_OK) batch_unref(b);
    else *out = b;
    return status;
}

/* The next batch; NULL when no window is left. */
static tw_status give(window_state *s, batch **out, tw_error *err) {
    bool one_each = windows_before(&((const window_plan *)s->operator.plan)->shape) == 0; /* none is left out then */
    buffer *starts = NULL, *rows = NULL;
    batch *picked = NULL;
    uint32_t n = one_each ? s->kept->rows : s->run->batch_rows, row = s->row;
    int64_t back = s->back;
    tw_status status = buffer_new(s->run->memory, MEMORY_FLOW, n * sizeof(int64_t), &starts, err);
    if (status == TW_OK) status = buffer_new(s->run->memory, MEMORY_FLOW, n * sizeof(uint32_t), &rows, err);
    if (status == TW_OK) {
        uint32_t *picks = (uint32_t *)(void *)rows->data;
        n = windows_of(s, n, &row, &back, (int64_t *)(void *)starts->data, picks);
        if (one_each) picked = batch_ref(s->kept);
        else if (n) status = batch_pick(s->run->memory, s->kept, picks, rows, n, &picked, err);
    }
    if (status == TW_OK && picked) status = widen(s, picked, (int64_t *)(void *)starts->data, out, err);
    if (status == TW_OK) s->row = row, s->back = back;
    batch_unref(picked);
    buffer_unref(starts);
    buffer_unref(rows);
    return status;
}

static tw_status window_process(operator *self, batch *in, batch **out, bool *more, tw_error *err) {
    window_state *s = (window_state *)self;
    if (!s->prepared) TRY(prepare(s, in, err));
    if (s->kept) TRY(give(s, out, err));
    *more = s->kept && s->row < s->kept->rows;
    if (*more) return TW_OK;
    /* Rows behind this batch in its split: what it promised holds before them. */
    forget_batch(s);
    if (s->after > s->own) s->own = s->after;
    return TW_OK;
}

static void window_needs(operator_plan *plan, const bool *needed_out, bool *needed_in) {
    window_plan *p = (window_plan *)plan;
    uint32_t n = plan->in->n;
    for (uint32_t i = 0; i < n; i++) needed_in[i] = needed_out[i];
    needed_in[p->time] = true;
    p->start_needed = needed_out[n];
    p->end_needed = needed_out[n + 1];
    p->watermark_needed = p->shape.session && p->live && needed_out[n + 2];
}

static void window_describe(const operator_plan *plan, char *out, size_t capacity) {
    const window_plan *p = (const window_plan *)plan;
    if (p->shape.session) snprintf(out, capacity, "sessions with a gap of %.6g s", (double)p->shape.size * 1e-6);
    else if (p->shape.every == p->shape.size) snprintf(out, capacity, "of %.6g s", (double)p->shape.size * 1e-6);
    else snprintf(out, capacity, "of %.6g s every %.6g s", (double)p->shape.size * 1e-6, (double)p->shape.every * 1e-6);
}

static void window_free(operator_plan *plan) { free(plan); }

static const operator_class window_class = {
    .open = window_open,
    .process = window_process,
    .begin_split = window_begin_split,
    .close = window_close,
    .needs = window_needs,
    .describe = window_describe,
    .free = window_free,
};

/* ---- planning ---- */

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for the plan"); }

static const option sliding_options[] = {
    {"size", OPTION_DURATION, OPTION_REQUIRED, "how long a window is", .min = 1, .max = INT64_MAX / 4},
    {"every", OPTION_DURATION, OPTION_REQUIRED, "from the start of one to that of the next", .min = 1, .max = INT64_MAX / 4},
};
static const descriptor sliding_section = {"window.sliding", "windows that overlap", sliding_options, COUNT_OF(sliding_options)};

static const option session_options[] = {
    {"gap", OPTION_DURATION, OPTION_REQUIRED, "rows that are as far apart are in two sessions", .min = 1, .max = INT64_MAX / 4},
};
static const descriptor session_section = {"window.session", "windows that last as long as rows come", session_options,
                                           COUNT_OF(session_options)};

static tw_status read_shape(stream *s, const args *a, window_shape *w) {
    error_list *errors = plan_errors(s->builder);
    unsigned given = args_given(a, "tumbling") + args_given(a, "sliding") + args_given(a, "session");
    if (given != 1) return args_error(a, given ? args_given(a, "session") ? "session" : "sliding" : "time", errors,
                                      "one of tumbling, sliding and session says how long windows are");
    w->lateness = args_int(a, "lateness");
    w->idle = args_int(a, "idle");
    if (args_given(a, "tumbling")) {
        w->size = w->every = args_int(a, "tumbling");
        return TW_OK;
    }
    if (args_given(a, "session")) {
        w->size = w->every = args_int(args_section(a, "session"), "gap");
        w->session = true;
        return TW_OK;
    }
    const args *sliding = args_section(a, "sliding");
    w->size = args_int(sliding, "size");
    w->every = args_int(sliding, "every");
    if (w->every > w->size) return args_error(a, "sliding", errors, "rows between windows would get lost: every is more than size");
    if (w->size / w->every > WINDOWS_OF_A_ROW_MAX)
        return args_error(a, "sliding", errors, "a row would be in more than %d windows", WINDOWS_OF_A_ROW_MAX);
    return TW_OK;
}

static const char *const added_names[] = {"window_start", "window_end", WINDOW_WATERMARK};

static tw_status widened_schema(const schema *in, uint32_t n_added, schema **out, tw_error *err) {
    const char **names = malloc((in->n + n_added) * sizeof *names);
    const type **types = malloc((in->n + n_added) * sizeof *types);
    tw_status status = names && types ? TW_OK : no_memory(err);
    for (uint32_t i = 0; i < in->n && status == TW_OK; i++) names[i] = in->fields[i].name, types[i] = in->fields[i].type;
    if (status == TW_OK) {
        for (uint32_t i = 0; i < n_added; i++) {
            names[in->n + i] = added_names[i];
            types[in->n + i] = type_of(TYPE_TIMESTAMP);
        }
        status = schema_new(names, types, in->n + n_added, out, err);
    }
    free(names);
    free(types);
    return status;
}

/* ---- the clock: watermarks are made where rows pass in order, and late ones kept there if they are wanted ---- */

typedef struct window_clock {
    event_clock *clock;
    window_shape shape;
    uint32_t time;
    char *path;          /* of late rows; NULL: they are dropped, further on */
    dead_letters *late;
} window_clock;

static void clock_free(void *context) {
    window_clock *c = context;
    dead_letters_free(c->late);
    if (c->clock) event_clock_free(c->clock);
    free(c->path);
    free(c);
}

static int64_t clock_stamp(void *context, const batch *b, uint32_t partition, int64_t *own, int64_t *others) {
    return event_clock_stamp(((window_clock *)context)->clock, b, partition, own, others);
}

static int64_t clock_tick(void *context, uint64_t now_ns) { return event_clock_tick(((window_clock *)context)->clock, now_ns); }

static tw_status put_late(window_clock *c, run_context *run, const batch *b, uint32_t row, int64_t watermark, tw_error *err) {
    char reason[64] = "window: late for the watermark ";
    size_t n = strlen(reason);
    reason[n + format_timestamp(watermark, reason + n)] = 0;
    atomic_fetch_add_explicit(&run->late_records, 1, memory_order_relaxed);
    return dead_letters_put_row(c->late, b, row, reason, err);
}

/* All but late ones. Rows without a time are left to the operator. */
static tw_status clock_pick(void *context, run_context *run, const batch *b, const queue_times *at, uint32_t *rows, uint32_t *n,
                            tw_error *err) {
    window_clock *c = context;
    const column *times = &b->columns[c->time];
    const int64_t *t = times->values;
    int64_t own = at->own;
    *n = 0;
    for (uint32_t i = 0; i < b->rows; i++) {
        int64_t watermark = own < at->others ? own : at->others;
        bool timed = column_is_valid(times, i);
        if (timed && is_late(&c->shape, t[i], watermark)) TRY(put_late(c, run, b, i, watermark, err));
        else rows[(*n)++] = i;
        if (timed) own = event_clock_advance(c->clock, own, t[i]);
    }
    return TW_OK;
}

static tw_status clock_start(void *context, run_context *run, tw_error *err) {
    window_clock *c = context;
    return dead_letters_open(c->path, &c->late, err);
}

static tw_status clock_finish(void *context, tw_error *err) {
    int64_t bytes;
    return dead_letters_append(((window_clock *)context)->late, &bytes, err);
}

static tw_status clock_save(void *context, saved_part *to, tw_error *err) {
    const window_clock *c = context;
    int64_t bytes;
    TRY(event_clock_save(c->clock, to, err));
    if (!c->late) return TW_OK;
    TRY(dead_letters_append(c->late, &bytes, err));
    return part_put_int(to, "dead_letter_bytes", bytes, err);
}

static tw_status clock_load(void *context, run_context *run, const saved_part *from, int64_t *watermark, tw_error *err) {
    const window_clock *c = context;
    if (c->late) dead_letters_resume(c->late, part_get_int(from, "dead_letter_bytes", 0));
    return event_clock_load(c->clock, run, from, watermark, err);
}

static void clock_shape(const void *context, char *out, size_t capacity) {
    event_clock_shape(((const window_clock *)context)->clock, out, capacity);
}

static void clock_needs(void *context, bool *needed) { needed[((window_clock *)context)->time] = true; }

static tw_status put_clock(stream *s, uint32_t time, const window_shape *shape, const char *late, tw_error *err) {
    window_clock *c = calloc(1, sizeof *c);
    if (!c) return no_memory(err);
    *c = (window_clock){.shape = *shape, .time = time, .path = late ? strdup(late) : NULL};
    tw_status status = !late || c->path ? event_clock_new(time, shape->lateness, shape->idle, &c->clock, err) : no_memory(err);
    if (status != TW_OK) {
        clock_free(c);
        return status;
    }
    queue_options options = {.name = "window", .rows_max = UINT64_MAX, .stamp = clock_stamp, .tick = clock_tick,
                             .tick_ns = event_clock_tick_ns(shape->idle), .context = c, .free = clock_free,
                             .save = clock_save, .load = clock_load, .shape = clock_shape, .needs = clock_needs};
    if (late) {
        plan_keep_raw(s->builder);
        options.pick = clock_pick;
        options.start = clock_start;
        options.finish = clock_finish;
    }
    return stream_queue(s, options, err);
}

static tw_status window_build(stream *s, const args *a, tw_error *err) {
    window_shape shape = {0};
    tw_status status = read_shape(s, a, &shape);
    int time = plan_column(s, a, "time", NULL, args_string(a, "time"));
    if (time >= 0 && s->schema->fields[time].type->kind != TYPE_TIMESTAMP)
        status = args_error(a, "time", plan_errors(s->builder), "'%s' is no timestamp", s->schema->fields[time].name);
    if (s->window_us) status = args_error(a, "time", plan_errors(s->builder), "there is a window already, and no group since");
    bool live = stream_endless(s);
    uint32_t n_added = shape.session && live ? 3 : 2;
    for (uint32_t i = 0; i < n_added; i++)
        if (schema_find(s->schema, added_names[i]) >= 0)
            status = args_error(a, "time", plan_errors(s->builder), "there is a column '%s' already", added_names[i]);
    if (time < 0 || status != TW_OK) return TW_ERR_JOB;
    const args *late = args_section(a, "late");
    if (live) TRY(put_clock(s, (uint32_t)time, &shape, late ? args_string(late, "dead_letter") : NULL, err));
    window_plan *p = calloc(1, sizeof *p);
    schema *out = NULL;
    status = p ? widened_schema(s->schema, n_added, &out, err) : no_memory(err);
    if (status != TW_OK) {
        free(p);
        return status;
    }
    p->plan = (operator_plan){.class = &window_class, .name = "window", .rejects = true};
    p->shape = shape;
    p->time = (uint32_t)time;
    p->live = live;
    p->start_needed = p->end_needed = true;
    p->watermark_needed = true;
    s->window_us = shape.size;
    s->window_sessions = shape.session;
    status = stream_add_operator(s, &p->plan, out, err);
    schema_unref(out);
    return status;
}

static const char *const late_names[] = {"drop", NULL};
static const option late_options[] = {
    {"dead_letter", OPTION_PATH, OPTION_REQUIRED, "the file that gets the late rows, as that of bad records"},
};
static const descriptor late_section = {"window.late", "where late rows go", late_options, COUNT_OF(late_options)};

static const option window_options[] = {
    {"time", OPTION_COLUMN, OPTION_REQUIRED, "the column of the time, a timestamp"},
    {"tumbling", OPTION_DURATION, 0, "windows of this length, one after the other", .min = 1, .max = INT64_MAX / 4},
    {"sliding", OPTION_SECTION, 0, "windows that overlap", .section = &sliding_section},
    {"session", OPTION_SECTION, 0, "windows that last as long as rows come, for each of the other keys of the group that follows",
     .section = &session_section},
    {"lateness", OPTION_DURATION, 0, "how far the watermark stays behind the greatest time", .default_text = "0s", .min = 0,
     .max = INT64_MAX / 4},
    {"idle", OPTION_DURATION, 0, "a partition (connection, topic's partition) that is silent for so long holds the watermark back no more",
     .default_text = "1m", .min = 1000, .max = INT64_MAX / 4000},
    {"late", OPTION_ENUM, 0, "what becomes of late rows, besides being counted", .default_text = "drop", .values = late_names,
     .section = &late_section},
};
const step_descriptor step_window = {
    .descriptor = {.name = "window",
                   .summary = "gives each row the windows of time that it is in",
                   .options = window_options,
                   .n_options = COUNT_OF(window_options),
                   .details =
                       "Adds window_start and window_end; a window holds the times from its start on, up to but not at its "
                       "end, and windows are aligned to 1970-01-01. The group that follows keys by the window, and in an "
                       "endless flow gives its rows once the watermark has passed it. The watermark is the greatest time "
                       "so far less the lateness, the least over the source's partitions; a row whose windows it has "
                       "passed is late, counted and dropped, or kept as it came in a file of dead letters: with checkpoints "
                       "it grows with each, and once the run is done without. In a bounded flow nothing is late.\n\n"
                       "A session is made by the group or distinct that follows, for each of its other keys: it begins "
                       "with its first row and ends a gap after its last; a row as far from the others or farther is in "
                       "another one. A row is late when the watermark is a gap or more ahead of it, and in no session "
                       "that the watermark has passed.",
                   .example = "- window: {time: ts, tumbling: 10s, lateness: 2s}"},
    .build = window_build,
};
