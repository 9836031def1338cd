/* tables.h: whole jobs over tables in memory: a source `table: {name: NAME}` that cuts a table into
 * splits and batches, and a sink `collect: {}` that keeps a hash of every row. A test fills `tables`
 * and runs a job's text. */
#ifndef TESTS_TABLES_H
#define TESTS_TABLES_H

#include <pthread.h>

#include "data/rows.h"
#include "engine/run.h"
#include "step/steps.h"
#include "unit/data/random_columns.h"

enum { tables_max = 4, table_columns_max = 12 };

typedef struct table {
    const char *name;
    schema *schema;
    batch *rows;       /* NULL: none; any number of rows */
    uint32_t per_split, per_batch;
    bool read[table_columns_max]; /* columns that were asked for */
} table;

static struct tables {
    memory *memory;            /* of the tables, beside the run's */
    table items[tables_max];
    uint32_t n;
    const bool *wanted;        /* columns of the output that the sink reads; NULL: all */
    pthread_mutex_t lock;
    schema *out;
    uint64_t *hashes;          /* of the collected rows, sorted at the end */
    size_t n_hashes, capacity;
    uint32_t batch_rows_max;   /* the largest batch */
    size_t hog_bytes;          /* state that the sink takes, piece by piece, from its second input on */
    buffer *hogs[1024];
    uint32_t n_hogs;
    run_context *run;
    int cancel_after_ms;       /* 0: never */
} tables;

static inline table *table_named(const char *name) {
    for (uint32_t i = 0; i < tables.n; i++)
        if (strcmp(tables.items[i].name, name) == 0) return &tables.items[i];
    return NULL;
}

/* ---- the source ---- */

typedef struct table_source {
    source source;
    table *table;
} table_source;
typedef struct table_reader {
    reader reader;
    table *table;
    uint32_t row, end, batch_rows_max;
} table_reader;

static inline tw_status table_start(source *self, run_context *context, uint64_t *n_splits, tw_error *err) {
    table *t = ((table_source *)self)->table;
    *n_splits = t->rows ? (t->rows->rows + t->per_split - 1) / t->per_split : 0;
    return TW_OK;
}

static inline tw_status table_next(reader *self, batch **out, tw_error *err) {
    table_reader *r = (table_reader *)self;
    if (r->row == r->end) return TW_END;
    uint32_t n = r->end - r->row;
    if (n > r->table->per_batch) n = r->table->per_batch;
    if (n > r->batch_rows_max) n = r->batch_rows_max;
    TRY(batch_slice(tables.memory, r->table->rows, r->row, n, out, err));
    for (uint32_t c = 0; c < r->table->schema->n; c++) {
        if (r->table->read[c]) continue;
        column_clear(&(*out)->columns[c]);
        (*out)->columns[c] = (column){.type = r->table->schema->fields[c].type, .rows = n};
    }
    r->row += n;
    return TW_OK;
}
static inline void table_reader_free(reader *self) { free(self); }

static inline tw_status table_open(source *self, uint64_t split, reader **out, tw_error *err) {
    static const reader_class reader_calls = {.next = table_next, .free = table_reader_free};
    table *t = ((table_source *)self)->table;
    table_reader *r = calloc(1, sizeof *r);
    r->reader = (reader){.class = &reader_calls, .position = split << 32};
    r->table = t;
    size_t row_bytes = 1; /* a batch is not much of the memory there is */
    for (uint32_t c = 0; c < t->schema->n; c++) row_bytes += type_bytes(t->schema->fields[c].type);
    size_t rows = memory_limit(tables.run->memory) / 32 / row_bytes;
    r->batch_rows_max = rows < 1 ? 1 : rows < tables.batch_rows_max ? (uint32_t)rows : tables.batch_rows_max;
    r->row = (uint32_t)split * t->per_split;
    r->end = t->rows->rows - r->row < t->per_split ? t->rows->rows : r->row + t->per_split;
    *out = &r->reader;
    return TW_OK;
}
static inline void table_prune(source *self, const bool *needed) {
    table *t = ((table_source *)self)->table;
    memcpy(t->read, needed, t->schema->n);
}
static inline void table_free(source *self) { free(self); }

static inline tw_status table_build(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err) {
    static const source_class source_calls = {
        .start = table_start, .open = table_open, .prune = table_prune, .free = table_free};
    table_source *s = calloc(1, sizeof *s);
    s->source = (source){.class = &source_calls, .name = "table"};
    s->table = table_named(args_string(a, "name"));
    *out = &s->source;
    *out_schema = schema_ref(s->table->schema);
    return TW_OK;
}

/* ---- the sink ---- */

static inline tw_status collect_start(sink *self, run_context *context, uint32_t n, tw_error *err) {
    tables.batch_rows_max = context->batch_rows; /* sinks are started before workers */
    tables.run = context;
    return TW_OK;
}
static inline tw_status collect_open(sink *self, sink_writer **out, tw_error *err) {
    *out = calloc(1, sizeof **out);
    (*out)->sink = self;
    return TW_OK;
}
static inline void collect_hashes(const column *columns, uint32_t n_columns, uint32_t n) {
    uint64_t *hashes = malloc((n + 1) * sizeof *hashes);
    column some[table_columns_max];
    uint32_t n_some = 0;
    for (uint32_t c = 0; c < n_columns; c++)
        if (!tables.wanted || tables.wanted[c]) some[n_some++] = columns[c];
    hash_columns(some, n_some, n, hashes);
    pthread_mutex_lock(&tables.lock);
    if (tables.n_hashes + n > tables.capacity) {
        tables.capacity = 2 * (tables.n_hashes + n);
        tables.hashes = realloc(tables.hashes, tables.capacity * sizeof *hashes);
    }
    memcpy(tables.hashes + tables.n_hashes, hashes, n * sizeof *hashes);
    tables.n_hashes += n;
    pthread_mutex_unlock(&tables.lock);
    free(hashes);
}
/* Another piece of the memory that another step might want. */
static inline void hog(void) {
    enum { piece = 16 << 10 };
    pthread_mutex_lock(&tables.lock);
    if (tables.n_hogs < 1024 && tables.n_hogs * piece < tables.hog_bytes &&
        memory_make_room(tables.run->memory, 16 * piece, NULL) == TW_OK) {
        buffer *b = buffer_try(tables.run->memory, piece);
        if (b) tables.hogs[tables.n_hogs++] = b;
    }
    pthread_mutex_unlock(&tables.lock);
}
static inline void release_hogs(void) {
    while (tables.n_hogs) buffer_unref(tables.hogs[--tables.n_hogs]);
}

static inline tw_status collect_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    if (b->rows == 0 || b->rows > tables.batch_rows_max) return error_set(err, TW_ERR_INTERNAL, "a batch of %u rows", b->rows);
    for (uint32_t c = 0; c < b->schema->n; c++)
        if (b->columns[c].rows != b->rows || b->columns[c].type != tables.out->fields[c].type)
            return error_set(err, TW_ERR_INTERNAL, "column %u is not what the schema says", c);
    if (tables.hog_bytes && order->input > 0) hog();
    collect_hashes(b->columns, b->schema->n, b->rows);
    return TW_OK;
}
static inline tw_status collect_close(sink_writer *w, tw_error *err) {
    free(w);
    return TW_OK;
}
static inline void collect_drop(sink_writer *w) { free(w); }
static inline tw_status collect_finish(sink *self, tw_error *err) { return TW_OK; }
static inline void collect_needs(sink *self, bool *needed) {
    for (uint32_t c = 0; c < tables.out->n; c++) needed[c] = !tables.wanted || tables.wanted[c];
}
static inline void collect_free(sink *self) {
    release_hogs();
    free(self);
}

static inline tw_status collect_build(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err) {
    static const sink_class sink_calls = {.start = collect_start, .open = collect_open, .push = collect_push,
                                          .close = collect_close, .drop = collect_drop, .finish = collect_finish,
                                          .needs = collect_needs, .free = collect_free};
    *out = calloc(1, sizeof **out);
    (*out)->class = &sink_calls;
    (*out)->name = "collect";
    schema_unref(tables.out);
    tables.out = schema_ref(s);
    return TW_OK;
}

/* ---- tables and jobs ---- */

static inline void tables_begin(void) {
    memset(&tables, 0, sizeof tables);
    pthread_mutex_init(&tables.lock, NULL);
    MUST(memory_create((size_t)4 << 30, &tables.memory, NULL));
}

static inline void tables_end(void) {
    for (uint32_t i = 0; i < tables.n; i++) {
        batch_unref(tables.items[i].rows);
        schema_unref(tables.items[i].schema);
    }
    schema_unref(tables.out);
    free(tables.hashes);
    memory_destroy(tables.memory);
    pthread_mutex_destroy(&tables.lock);
}

/* Takes the columns over. */
static inline table *table_add(const char *name, const char *const *names, column *columns, uint32_t n_columns,
                               uint32_t rows) {
    table *t = &tables.items[tables.n++];
    const type *types[table_columns_max];
    for (uint32_t c = 0; c < n_columns; c++) types[c] = columns[c].type;
    *t = (table){.name = name, .per_split = 1000, .per_batch = 256};
    MUST(schema_new(names, types, n_columns, &t->schema, NULL));
    memset(t->read, 1, sizeof t->read);
    if (rows) {
        MUST(batch_new(t->schema, rows, &t->rows, NULL));
        memcpy(t->rows->columns, columns, n_columns * sizeof *columns);
    } else {
        for (uint32_t c = 0; c < n_columns; c++) column_clear(&columns[c]);
    }
    return t;
}

static inline int compare_hashes(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Runs the job with one step under test; what the job, the plan or the run says is wrong is in *err. */
static inline tw_status tables_run(const step_descriptor *step, const char *text, const run_options *options,
                                   run_figures *figures, tw_error *err) {
    static const option name_options[] = {{"name", OPTION_STRING, OPTION_REQUIRED, "the table"}};
    static const source_descriptor table_descriptor = {
        {.name = "table", .summary = "a table", .options = name_options, .n_options = 1}, table_build};
    static const sink_descriptor collect_descriptor = {{.name = "collect", .summary = "keeps hashes"}, collect_build};
    const step_descriptor *steps[] = {step, &step_union, &step_select, NULL};
    const source_descriptor *sources[] = {&table_descriptor, NULL};
    const sink_descriptor *sinks[] = {&collect_descriptor, NULL};
    registry r = {steps, sources, sinks};
    job_source s = {.text = text, .length = strlen(text), .file = "job.yaml"};
    error_list errors = {0};
    job *j = NULL;
    plan *p = NULL;
    run *running = NULL;
    tables.n_hashes = 0;
    tw_status status = job_parse(&s, &errors, &j);
    if (status == TW_OK) status = plan_build(j, &r, &errors, &p, err);
    if (status == TW_ERR_JOB) error_list_status(&errors, err);
    if (status == TW_OK && options) {
        status = run_start(p, options, &running, err);
        if (status == TW_OK) {
            if (!run_wait(running, tables.cancel_after_ms ? tables.cancel_after_ms : -1)) run_cancel(running);
            run_wait(running, -1);
            status = run_result(running, err);
            if (figures) run_get_figures(running, figures);
            run_free(running);
        }
    }
    plan_free(p);
    job_free(j);
    error_list_free(&errors);
    if (tables.n_hashes) qsort(tables.hashes, tables.n_hashes, sizeof *tables.hashes, compare_hashes);
    return status;
}

#endif
