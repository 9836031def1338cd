/* generate_source.c: made-up data as typed columns, without a file between. A split is some chunks of the
 * generator, which any lane can make; with a rate, the rows that are due when a lane asks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "data/generate.h"
#include "engine/checkpoint.h"
#include "engine/poller.h"
#include "io/block_reader.h"
#include "io/connectors.h"
#include "io/haste_control.h"

#define SPLIT_BYTES ((size_t)1 << 20) /* chunks of fewer bytes are put together */
#define SHOWN_MAX 200
#define MESSAGE_BYTES_MAX (1 << 30)

typedef struct generate_source {
    source source;
    run_context *run;
    schema *schema;
    generate *generate;
    bool *needed;
    bool in_bytes;            /* text, records, messages: rows lie in a chunk's bytes */
    uint32_t chunks_per_split;
    uint32_t batch_rows;
    double rate;              /* rows per second; 0: as fast as it goes */
    atomic_bool stopped;
    uint64_t start_ns;        /* the rest is for the rate */
    uint64_t released;        /* rows that have left */
    uint64_t resumed;         /* of them, before this run */
    uint64_t cut_released, cut_chunk, cut_taken; /* as of the last cut */
    int timer;                /* -1: none */
    watch_id watch;
    struct generate_reader *cursor; /* kinds of bytes: where the chunk at hand is cut */
    endpoint control_at;      /* messages: who asks for others meanwhile */
    haste_control *control;
    generate_options made;    /* what `generate` makes */
    char shown[SHOWN_MAX];    /* for explain */
    char *options;            /* kind and all of its options, as text */
} generate_source;

typedef struct generate_reader {
    reader reader;
    generate_source *from;
    uint64_t chunk, chunk_end;
    uint64_t row, row_end; /* columns: left of the chunks */
    buffer *bytes;         /* of a chunk; NULL: between chunks */
    size_t size;
    size_t position[2];    /* of each column's slices */
    uint64_t taken;        /* rows given of the chunk at hand */
    uint64_t record;       /* number of the next row, from 1; 0: not known */
    generate_slice *slices;
    batch *ready;          /* with a rate: the only batch of the split */
} generate_reader;

#define SLICED_COLUMNS_MAX 2

static generate_source *of(source *s) { return (generate_source *)s; }

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for generate"); }

static void count(generate_source *g, uint32_t rows, uint64_t bytes) {
    atomic_fetch_add_explicit(&g->run->rows_in, rows, memory_order_relaxed);
    atomic_fetch_add_explicit(&g->run->bytes_in, bytes, memory_order_relaxed);
}

static tw_status set_origin(const generate_reader *r, batch *b, uint64_t record, tw_error *err) {
    return record ? origin_new("generate", record, &b->origin, err) : TW_OK;
}

/* An empty column of the schema's type: absent. */
static void leave_out(batch *b, uint32_t column_index) {
    b->columns[column_index].type = b->schema->fields[column_index].type;
    b->columns[column_index].rows = b->rows;
}

/* ---- kinds of columns ---- */

static tw_status next_values(generate_reader *r, batch **out, tw_error *err) {
    generate_source *g = r->from;
    uint32_t n_columns = g->schema->n;
    if (r->row == r->row_end) return TW_END;
    uint64_t left = r->row_end - r->row;
    uint32_t n = left < g->batch_rows ? (uint32_t)left : g->batch_rows;
    void **wanted = calloc(n_columns, sizeof *wanted);
    batch *b = NULL;
    tw_status status = wanted ? batch_new(g->schema, n, &b, err) : no_memory(err);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n_columns && status == TW_OK; i++) {
        leave_out(b, i);
        if (!g->needed[i]) continue;
        status = column_new(g->run->memory, g->schema->fields[i].type, n, &b->columns[i], err);
        wanted[i] = b->columns[i].values;
        bytes += (uint64_t)n * type_bytes(g->schema->fields[i].type);
    }
    if (status == TW_OK) status = set_origin(r, b, r->row + 1, err);
    if (status == TW_OK) status = generate_values(g->generate, r->row, n, wanted, err);
    free(wanted);
    if (status != TW_OK) {
        batch_unref(b);
        return status;
    }
    r->row += n;
    count(g, n, bytes);
    *out = b;
    return TW_OK;
}

/* ---- kinds of bytes ---- */

static tw_status make_chunk(generate_reader *r, tw_error *err) {
    generate_source *g = r->from;
    TRY(buffer_new(g->run->memory, MEMORY_FLOW, generate_chunk_bytes_max(g->generate), &r->bytes, err));
    tw_status status = generate_chunk_bytes(g->generate, r->chunk, r->bytes->data, r->bytes->size, &r->size, err);
    if (status != TW_OK) {
        buffer_unref(r->bytes);
        r->bytes = NULL;
        return status;
    }
    uint64_t first;
    size_t rows;
    generate_chunk_range(g->generate, r->chunk, &first, &rows);
    r->record = rows ? first + 1 : 0;
    memset(r->position, 0, sizeof r->position);
    atomic_fetch_add_explicit(&g->run->bytes_in, r->size, memory_order_relaxed);
    return TW_OK;
}

static void end_chunk(generate_reader *r) {
    buffer_unref(r->bytes);
    r->bytes = NULL;
    r->taken = 0;
    r->chunk++;
}

/* The next slices of every column: all are looked for, so that positions stay together. */
static tw_status find_slices(generate_reader *r, uint32_t most, size_t *rows, tw_error *err) {
    generate_source *g = r->from;
    for (uint32_t i = 0; i < g->schema->n; i++)
        TRY(generate_slices(g->generate, i, r->bytes->data, r->size, &r->position[i], r->slices + i * g->batch_rows, most,
                            rows, err));
    return TW_OK;
}

static tw_status slice_column(const generate_reader *r, uint32_t i, uint32_t n, column *out, tw_error *err) {
    const generate_source *g = r->from;
    TRY(column_new(g->run->memory, g->schema->fields[i].type, n, out, err));
    const generate_slice *s = r->slices + i * g->batch_rows;
    view *v = out->values;
    for (uint32_t row = 0; row < n; row++) v[row] = view_make(r->bytes->data + s[row].offset, s[row].length);
    out->heap = buffer_ref(r->bytes);
    return TW_OK;
}

static tw_status slice_batch(generate_reader *r, uint32_t n, batch **out, tw_error *err) {
    generate_source *g = r->from;
    batch *b;
    TRY(batch_new(g->schema, n, &b, err));
    tw_status status = set_origin(r, b, r->record, err);
    for (uint32_t i = 0; i < g->schema->n && status == TW_OK; i++) {
        leave_out(b, i);
        if (g->needed[i]) status = slice_column(r, i, n, &b->columns[i], err);
    }
    if (status != TW_OK) {
        batch_unref(b);
        return status;
    }
    *out = b;
    return TW_OK;
}

/* At most `most` rows. */
static tw_status next_slices(generate_reader *r, uint32_t most, batch **out, tw_error *err) {
    for (;;) {
        if (!r->bytes) {
            if (r->chunk == r->chunk_end) return TW_END;
            TRY(make_chunk(r, err));
        }
        size_t rows = 0, before[SLICED_COLUMNS_MAX];
        memcpy(before, r->position, sizeof before);
        tw_status status = find_slices(r, most, &rows, err);
        if (status == TW_OK && rows) status = slice_batch(r, (uint32_t)rows, out, err);
        if (status != TW_OK) {
            memcpy(r->position, before, sizeof before); /* called again, it gives them then */
            return status;
        }
        if (rows) {
            if (r->record) r->record += rows;
            r->taken += rows;
            count(r->from, (uint32_t)rows, 0);
            return TW_OK;
        }
        end_chunk(r);
    }
}

/* ---- the reader ---- */

static tw_status generate_next(reader *self, batch **out, tw_error *err) {
    generate_reader *r = (generate_reader *)self;
    if (r->ready) {
        *out = r->ready;
        r->ready = NULL;
        return TW_OK;
    }
    return r->from->in_bytes ? next_slices(r, r->from->batch_rows, out, err) : next_values(r, out, err);
}

static void generate_reader_free(reader *self) {
    generate_reader *r = (generate_reader *)self;
    batch_unref(r->ready);
    buffer_unref(r->bytes);
    free(r->slices);
    free(r);
}

static const reader_class generate_reader_class = {.next = generate_next, .free = generate_reader_free};

static tw_status reader_new(generate_source *g, uint64_t position, bool cuts, generate_reader **out, tw_error *err) {
    generate_reader *r = calloc(1, sizeof *r);
    if (r && cuts) r->slices = malloc((size_t)g->schema->n * g->batch_rows * sizeof *r->slices);
    if (!r || (cuts && !r->slices)) {
        free(r);
        return no_memory(err);
    }
    r->reader = (reader){.class = &generate_reader_class, .position = position};
    r->from = g;
    *out = r;
    return TW_OK;
}

/* Chunks, as fast as it goes. */
static tw_status open_chunks(generate_source *g, uint64_t split, generate_reader **out, tw_error *err) {
    TRY(reader_new(g, split << 32, g->in_bytes, out, err));
    generate_reader *r = *out;
    uint64_t chunks = generate_chunks(g->generate);
    r->chunk = split * g->chunks_per_split;
    r->chunk_end = r->chunk + g->chunks_per_split < chunks ? r->chunk + g->chunks_per_split : chunks;
    uint64_t first;
    size_t n;
    generate_chunk_range(g->generate, r->chunk, &r->row, &n);
    generate_chunk_range(g->generate, r->chunk_end - 1, &first, &n);
    r->row_end = first + n;
    return TW_OK;
}

/* ---- the rate: one opening at a time ---- */

static void timer_came(void *context, uint32_t events) { run_wake(((generate_source *)context)->run); }

static tw_status wait_until(generate_source *g, uint64_t due_ns, tw_error *err) {
    struct itimerspec t = {.it_value = {(time_t)(due_ns / 1000000000u), (long)(due_ns % 1000000000u)}};
    if (timerfd_settime(g->timer, TFD_TIMER_ABSTIME, &t, NULL) != 0) return error_io(err, errno, "cannot set a timer");
    TRY(poller_rearm(g->run->poller, g->watch, EPOLLIN, err));
    return STATUS_WAIT;
}

/* How many rows may leave now; 0 with STATUS_WAIT, and a timer for the next. */
static tw_status rows_due(generate_source *g, uint64_t *out, tw_error *err) {
    uint64_t now = clock_ns();
    double due = (double)(now - g->start_ns) * 1e-9 * g->rate + 1 + (double)g->resumed;
    *out = due > (double)g->released ? (uint64_t)due - g->released : 0;
    if (*out > g->batch_rows) *out = g->batch_rows;
    if (*out) return TW_OK;
    return wait_until(g, g->start_ns + (uint64_t)((double)(g->released - g->resumed) / g->rate * 1e9) + 1, err);
}

/* Kinds of bytes: the cursor moves behind `taken` rows of a chunk. */
static tw_status seek(generate_source *g, uint64_t chunk, uint64_t taken, tw_error *err) {
    generate_reader *r = g->cursor;
    buffer_unref(r->bytes);
    r->bytes = NULL;
    r->taken = 0;
    r->chunk = chunk;
    r->chunk_end = generate_chunks(g->generate);
    for (uint64_t skipped = 0; skipped < taken;) {
        batch *b;
        uint64_t left = taken - skipped;
        TRY(next_slices(r, left < g->batch_rows ? (uint32_t)left : g->batch_rows, &b, err));
        skipped += b->rows;
        atomic_fetch_sub(&g->run->rows_in, b->rows);
        batch_unref(b);
    }
    return TW_OK;
}

/* Other messages from here on, and another rate; their numbers go on. */
static tw_status apply(generate_source *g, const haste_settings *s, tw_error *err) {
    generate_options o = g->made;
    if (s->has_bytes) TRY(generate_options_set_value(&o, "size", (generate_value){.integer = (int64_t)s->bytes}, err));
    if (s->has_cpu) TRY(generate_options_set_value(&o, "cpu", (generate_value){.integer = s->cpu_ms * 1000}, err));
    TRY(generate_options_endless(&o, err));
    generate *made;
    TRY(generate_create(&o, &made, err));
    generate_free(g->generate); /* batches hold bytes, nobody else asks it: one opening at a time */
    g->generate = made;
    g->made = o;
    if (s->has_period) g->rate = 1 / s->period_s;
    g->start_ns = clock_ns();
    g->resumed = g->released;
    uint64_t first;
    size_t in_chunk;
    generate_chunk_range(made, 0, &first, &in_chunk);
    return seek(g, g->released / in_chunk, g->released % in_chunk, err);
}

/* The rows that are due, as a split of their own. */
static tw_status open_due(generate_source *g, generate_reader **out, tw_error *err) {
    haste_settings asked;
    if (g->control && haste_control_take(g->control, &asked)) TRY(apply(g, &asked, err));
    uint64_t n, rows = generate_rows_total(g->generate);
    if (g->released >= rows) return TW_END;
    TRY(rows_due(g, &n, err));
    if (n > rows - g->released) n = rows - g->released;
    generate_reader *r = NULL;
    TRY(reader_new(g, g->released, false, &r, err));
    r->reader.spread = POSITION_SPREAD;
    tw_status status = TW_OK;
    if (g->in_bytes) {
        status = next_slices(g->cursor, (uint32_t)n, &r->ready, err);
        if (status == TW_OK) n = r->ready->rows;
    } else {
        r->row = g->released;
        r->row_end = r->row + n;
    }
    if (status != TW_OK) {
        generate_reader_free(&r->reader);
        return status;
    }
    g->released += n;
    *out = r;
    return TW_OK;
}

static tw_status generate_open(source *self, uint64_t split, reader **out, tw_error *err) {
    generate_source *g = of(self);
    generate_reader *r = NULL;
    if (atomic_load(&g->stopped)) return TW_END;
    TRY(g->rate > 0 ? open_due(g, &r, err) : open_chunks(g, split, &r, err));
    *out = &r->reader;
    return TW_OK;
}

/* ---- going on after a stop: made with a rate, row by row ---- */

static tw_status generate_cut(source *self, uint64_t epoch, tw_error *err) {
    generate_source *g = of(self);
    g->cut_released = g->released;
    if (!g->cursor) return TW_OK;
    g->cut_chunk = g->cursor->chunk;
    g->cut_taken = g->cursor->taken;
    return TW_OK;
}

static tw_status generate_save(source *self, uint64_t epoch, saved_part *to, tw_error *err) {
    generate_source *g = of(self);
    TRY(part_put_int(to, "rows", (int64_t)g->cut_released, err));
    TRY(part_put_int(to, "chunk", (int64_t)g->cut_chunk, err));
    return part_put_int(to, "chunk_rows", (int64_t)g->cut_taken, err);
}

static tw_status generate_load(source *self, const saved_part *from, tw_error *err) {
    generate_source *g = of(self);
    g->released = g->resumed = (uint64_t)part_get_int(from, "rows", 0);
    g->cut_chunk = (uint64_t)part_get_int(from, "chunk", 0);
    g->cut_taken = (uint64_t)part_get_int(from, "chunk_rows", 0);
    return TW_OK;
}

static void generate_shape(const source *self, char *out, size_t capacity) {
    const generate_source *g = (const generate_source *)self;
    snprintf(out, capacity, "generate %s", g->options);
}

static void generate_stop(source *self) { atomic_store(&of(self)->stopped, true); }

/* ---- the source ---- */

/* Rows of a batch: as the run wants them, fewer of wide ones. */
static uint32_t choose_batch_rows(const generate_source *g) {
    size_t row_bytes = 0, rows = g->run->batch_rows;
    for (uint32_t i = 0; i < g->schema->n; i++)
        if (g->needed[i]) row_bytes += type_bytes(g->schema->fields[i].type);
    if (row_bytes && rows > g->run->batch_bytes / row_bytes) rows = g->run->batch_bytes / row_bytes;
    return rows < 1 ? 1 : (uint32_t)rows;
}

static tw_status start_clock(generate_source *g, tw_error *err) {
    g->start_ns = clock_ns();
    g->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (g->timer < 0) return error_io(err, errno, "cannot make a timer");
    TRY(poller_add(g->run->poller, g->timer, 0, timer_came, g, &g->watch, err));
    if (!g->in_bytes) return TW_OK;
    TRY(reader_new(g, 0, true, &g->cursor, err));
    TRY(seek(g, g->cut_chunk, g->cut_taken, err));
    atomic_store(&g->run->bytes_in, 0);
    if (!g->control_at.text) return TW_OK;
    size_t most = record_bytes_max(g->run->memory);
    return haste_control_start(&g->control_at, g->run, most < MESSAGE_BYTES_MAX ? most : MESSAGE_BYTES_MAX, &g->control, err);
}

static tw_status generate_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    generate_source *g = of(self);
    g->run = run;
    g->batch_rows = choose_batch_rows(g);
    if (g->rate > 0) {
        *n_splits = UINT64_MAX;
        return start_clock(g, err);
    }
    uint64_t chunks = generate_chunks(g->generate), bytes = generate_bytes_total(g->generate);
    size_t chunk_bytes = generate_chunk_bytes_max(g->generate);
    g->chunks_per_split = chunk_bytes < SPLIT_BYTES ? (uint32_t)(SPLIT_BYTES / chunk_bytes) : 1;
    /* Few chunks are shared out evenly. */
    while (g->chunks_per_split > 1 && chunks / g->chunks_per_split < 4 * (uint64_t)run->parallelism)
        g->chunks_per_split--;
    *n_splits = (chunks + g->chunks_per_split - 1) / g->chunks_per_split;
    self->bytes_total = g->in_bytes && bytes != UINT64_MAX ? bytes : 0;
    return TW_OK;
}

static void generate_prune(source *self, const bool *needed) {
    generate_source *g = of(self);
    memcpy(g->needed, needed, g->schema->n);
}

static void generate_describe(const source *self, char *out, size_t capacity) {
    snprintf(out, capacity, "%s", ((const generate_source *)self)->shown);
}

static void generate_source_free(source *self) {
    generate_source *g = of(self);
    haste_control_free(g->control);
    endpoint_free(&g->control_at);
    if (g->run) poller_remove(g->run->poller, g->watch);
    if (g->timer >= 0) close(g->timer);
    if (g->cursor) generate_reader_free(&g->cursor->reader);
    generate_free(g->generate);
    schema_unref(g->schema);
    free(g->options);
    free(g->needed);
    free(g);
}

static const source_class generate_class = {
    .start = generate_start,
    .open = generate_open,
    .prune = generate_prune,
    .stop = generate_stop,
    .cut = generate_cut,
    .shape = generate_shape,
    .save = generate_save,
    .load = generate_load,
    .describe = generate_describe,
    .free = generate_source_free,
};

/* ---- options ---- */

static const char *const kind_names[] = {"text", "records", "points", "linear", "graph", "messages", "events", NULL};

/* Those of the kinds, in one table; data/generate.h knows which kind takes which, and its defaults. */
static const option generate_option_table[] = {
    {"kind", OPTION_ENUM, OPTION_REQUIRED, "what is made", .values = kind_names},
    {"rows", OPTION_INT, .max = GENERATE_ROWS_MAX, .default_note = "10000 messages, else 1000000",
     .help = "how many rows; text is sized by bytes, graph by scale"},
    {"rate", OPTION_RATE, .default_note = "as fast as possible",
     .help = "how many rows come in a time; without rows or bytes they never end"},
    {"control", OPTION_STRING,
     .help = "messages that never end: HOST:PORT for HASTE's POSTs of cpu_pause_ms, message_bytes, period_sec"},
    ENDLESS_OPTIONS,
    {"seed", OPTION_INT, .max = INT64_MAX, .default_note = "0", .help = "another seed gives other data"},
    {"bytes", OPTION_SIZE, .max = GENERATE_BYTES_MAX, .default_note = "100MB", .help = "text: its size"},
    {"vocabulary", OPTION_INT, .min = 1, .max = INT64_C(1) << 31, .default_note = "1000000",
     .help = "text: how many distinct words; the n-th is n times rarer than the first"},
    {"columns", OPTION_INT, .min = 1, .max = 65536, .default_note = "20",
     .help = "points, linear: how many columns x0, x1, ..."},
    {"clusters", OPTION_INT, .min = 1, .max = INT64_C(1) << 31, .default_note = "10",
     .help = "points: how many centers"},
    {"noise", OPTION_FLOAT, .float_max = 100000, .default_note = "0.1",
     .help = "linear: standard deviation of what is added to y"},
    {"scale", OPTION_INT, .min = 1, .max = 40, .default_note = "16", .help = "graph: 2^scale vertices"},
    {"edge_factor", OPTION_INT, .min = 1, .max = 1024, .default_note = "16", .help = "graph: edges for each vertex"},
    {"size", OPTION_SIZE, .min = 37, .max = MESSAGE_BYTES_MAX, .default_note = "200", .help = "messages: bytes of each"},
    {"cpu", OPTION_DURATION, .max = INT64_C(999999000), .default_note = "20ms",
     .help = "messages: the CPU time that their header asks for, in whole milliseconds"},
    {"keys", OPTION_INT, .min = 1, .max = INT64_MAX, .default_note = "1000", .help = "events: how many distinct keys"},
    {"out_of_order", OPTION_FLOAT, .float_max = 1, .default_note = "0", .help = "events: fraction that comes late"},
    {"interval", OPTION_DURATION, .min = 1, .max = INT64_C(86400000000), .default_note = "10us",
     .help = "events: event time from one row to the next"},
    {"delay", OPTION_DURATION, .min = 1, .max = INT64_C(86400000000), .default_note = "1s",
     .help = "events: a late one is late by up to this"},
};

static bool kind_has(const generate_kind *k, const char *name) {
    for (size_t i = 0; i < k->option_count; i++)
        if (strcmp(k->options[i].name, name) == 0) return true;
    return false;
}

/* Hands the options that are given to the kind. */
static tw_status read_options(error_list *errors, const args *a, generate_options *o) {
    for (size_t i = 0; i < COUNT_OF(generate_option_table); i++) {
        const option *given = &generate_option_table[i];
        static const char *const mine[] = {"kind", "rate", "control", ENDLESS_OPTION_NAMES};
        bool own = false;
        for (size_t k = 0; k < COUNT_OF(mine); k++) own |= strcmp(given->name, mine[k]) == 0;
        if (own || !args_given(a, given->name)) continue;
        if (!kind_has(o->kind, given->name))
            return args_error(a, given->name, errors, "'%s' does not take it", o->kind->name);
        generate_value value;
        if (given->type == OPTION_FLOAT) value.number = args_float(a, given->name);
        else value.integer = args_int(a, given->name);
        tw_error wrong;
        if (generate_options_set_value(o, given->name, value, &wrong) != TW_OK)
            return args_error(a, given->name, errors, "%s", wrong.message);
    }
    return TW_OK;
}

static type_kind type_of_column(generate_column_type t) {
    switch (t) {
    case GENERATE_COLUMN_INT64: return TYPE_INT64;
    case GENERATE_COLUMN_FLOAT64: return TYPE_FLOAT64;
    case GENERATE_COLUMN_TIMESTAMP: return TYPE_TIMESTAMP;
    case GENERATE_COLUMN_STRING: return TYPE_STRING;
    default: return TYPE_BINARY;
    }
}

static tw_status make_schema(generate_source *g, tw_error *err) {
    size_t n = generate_columns(g->generate);
    generate_column *columns = calloc(n, sizeof *columns);
    const char **names = calloc(n, sizeof *names);
    const type **types = calloc(n, sizeof *types);
    g->needed = malloc(n);
    tw_status status = columns && names && types && g->needed ? TW_OK : no_memory(err);
    for (size_t i = 0; i < n && status == TW_OK; i++) {
        columns[i] = generate_column_at(g->generate, i);
        names[i] = columns[i].name;
        types[i] = type_of(type_of_column(columns[i].type));
        g->in_bytes |= type_is_view(types[i]);
        g->needed[i] = true;
    }
    if (status == TW_OK) status = schema_new(names, types, (uint32_t)n, &g->schema, err);
    free(columns);
    free(names);
    free(types);
    return status;
}

static char *print_options(const generate_options *o) {
    struct text t = {0};
    text_append_string(&t, o->kind->name);
    for (size_t i = 0; i < o->kind->option_count; i++) {
        const generate_option *option = &o->kind->options[i];
        text_printf(&t, ", %s ", option->name);
        if (option->type == GENERATE_NUMBER) text_printf(&t, "%.17g", o->values[i].number);
        else text_printf(&t, "%lld", (long long)o->values[i].integer);
    }
    return text_take(&t);
}

static tw_status read_control(generate_source *g, error_list *errors, const args *a, tw_error *err) {
    tw_error wrong = {0};
    if (!args_given(a, "control")) return TW_OK;
    if (!g->source.endless || strcmp(g->made.kind->name, "messages") != 0)
        return args_error(a, "control", errors, "is for messages with a rate, without rows");
    g->source.replays = false; /* what was asked for is not remembered */
    tw_status status = endpoint_of_tcp(args_string(a, "control"), &g->control_at, &wrong);
    if (status == TW_ERR_JOB) return args_error(a, "control", errors, "%s", wrong.message);
    if (status != TW_OK && err) *err = wrong;
    return status;
}

static tw_status make_source(generate_source *g, error_list *errors, const args *a, tw_error *err) {
    generate_options o;
    TRY(generate_options_default(kind_names[args_enum(a, "kind")], &o, err));
    TRY(read_options(errors, a, &o));
    g->rate = args_given(a, "rate") ? args_float(a, "rate") : 0;
    g->source.replays = true;
    g->source.endless = g->rate > 0 && !args_given(a, "rows") && !args_given(a, "bytes");
    tw_error wrong;
    tw_status status = g->source.endless ? generate_options_endless(&o, &wrong) : TW_OK;
    g->options = print_options(&o);
    if (!g->options) return no_memory(err);
    if (status == TW_OK) status = generate_create(&o, &g->generate, &wrong);
    if (status == TW_ERR_JOB) return args_error(a, "kind", errors, "%s", wrong.message);
    if (status != TW_OK) return error_set(err, status, "%s", wrong.message);
    g->made = o;
    TRY(read_control(g, errors, a, err));
    uint64_t rows = generate_rows_total(g->generate);
    if (g->source.endless)
        snprintf(g->shown, sizeof g->shown, "%s, %.6g rows a second", o.kind->name, g->rate);
    else if (rows == UINT64_MAX)
        snprintf(g->shown, sizeof g->shown, "%s, %llu bytes", o.kind->name,
                 (unsigned long long)generate_bytes_total(g->generate));
    else
        snprintf(g->shown, sizeof g->shown, "%s, %llu rows", o.kind->name, (unsigned long long)rows);
    return make_schema(g, err);
}

static tw_status generate_build(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err) {
    generate_source *g = calloc(1, sizeof *g);
    if (!g) return no_memory(err);
    g->source = (source){.class = &generate_class, .name = "generate"};
    g->timer = -1;
    tw_status status = make_source(g, plan_errors(b), a, err);
    if (status != TW_OK) {
        generate_source_free(&g->source);
        return status;
    }
    g->source.reader_bytes = g->in_bytes ? generate_chunk_bytes_max(g->generate) : 0;
    *out = &g->source;
    *out_schema = schema_ref(g->schema);
    return TW_OK;
}

const source_descriptor source_generate = {
    .descriptor = {.name = "generate",
                   .summary = "makes data for tests and measurements",
                   .options = generate_option_table,
                   .n_options = COUNT_OF(generate_option_table),
                   .shorthand = "kind",
                   .details = "text gives 'line'; records 'key' and 'rest'; points 'x0', 'x1', ...; linear 'y', 'x0', "
                              "...; graph 'from' and 'to'; messages 'content'; events 'ts', 'key' and 'value'. The "
                              "same seed gives the same rows on every machine, and those that the command `thalweg "
                              "generate` writes.",
                   .example = "source: { generate: { kind: events, rows: 1000000, keys: 100 } }"},
    .build = generate_build,
};
