#include "step/group_state.h"

#include <stdio.h>
#include <stdlib.h>

#include "data/hash.h"
#include "engine/exchange.h"

#define PARTITIONS 256u
#define SUB_PARTITIONS 64u
#define DEPTH_MAX 4u                 /* of splitting a partition again */
#define SPLIT_ROWS 65536u            /* partitions are read together up to about this many rows */
#define THIN_CHECK_GROUPS 65536u     /* a lane's table of this size must have earned its keep, */
#define THIN_GROUPS 32768u           /* or it stays small enough for the cache */

typedef struct group_state {
    sink sink;
    source source;
    group_shape *shape;
    schema *out;
    bool *needed;
    run_context *run;
    exchange *exchange;
    size_t table_bytes_max;   /* of a lane's table */
    size_t partition_bytes_max; /* larger ones are split before they are merged */
    uint32_t *first_partition; /* of each split of the source; n_splits + 1 */
    uint64_t n_splits;
    unsigned owners;
} group_state;

typedef struct group_writer {
    sink_writer writer;
    group_table table;
    uint64_t rows_since_flush;
    bool thin; /* rows hardly ever meet their group again: flush early, stay in the cache */
    uint64_t hashes[BATCH_ROWS_MAX];
} group_writer;

static group_state *of_sink(sink *k) { return (group_state *)((char *)k - offsetof(group_state, sink)); }
static group_state *of_source(source *s) { return (group_state *)((char *)s - offsetof(group_state, source)); }

static void state_release(group_state *g) {
    if (--g->owners) return;
    exchange_free(g->exchange);
    group_shape_free(g->shape);
    schema_unref(g->out);
    free(g->needed);
    free(g->first_partition);
    free(g);
}

static uint32_t partition_of(uint64_t hash) { return (uint32_t)(hash >> 56); }

/* ---- the sink: a table for each lane ---- */

static tw_status group_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    group_state *g = of_sink(self);
    g->run = run;
    size_t state = memory_limit(run->memory) / 4 * 3;
    g->table_bytes_max = state / (2 * (size_t)run->parallelism);
    g->partition_bytes_max = state / (3 * (size_t)run->parallelism);
    return exchange_create(run->memory, run->spill, g->shape->layout, PARTITIONS, 0, &g->exchange, err);
}

static tw_status group_open(sink *self, sink_writer **out, tw_error *err) {
    group_state *g = of_sink(self);
    group_writer *w = malloc(sizeof *w);
    if (!w) return error_set(err, TW_ERR_MEMORY, "out of memory for %s", self->name);
    w->writer.sink = self;
    w->rows_since_flush = 0;
    w->thin = false;
    tw_status status = group_table_init(&w->table, g->shape, g->run->memory, false, err);
    if (status != TW_OK) free(w);
    else *out = &w->writer;
    return status;
}

/* Moves all groups into the exchange. An error is final: some are there, some are not. */
static tw_status flush(group_state *g, group_writer *w, tw_error *err) {
    const arena_rows *rows = &w->table.rows;
    const uint8_t *from[GROUP_STEP];
    uint32_t to[GROUP_STEP];
    size_t stride = g->shape->layout->stride;
    tw_status status = TW_OK;
    for (uint32_t c = 0; c < rows->n_chunks && status == TW_OK; c++) {
        uint8_t *chunk;
        uint32_t count = arena_rows_chunk(rows, c, &chunk);
        for (uint32_t first = 0; first < count && status == TW_OK; first += GROUP_STEP) {
            uint32_t n = count - first < GROUP_STEP ? count - first : GROUP_STEP;
            for (uint32_t i = 0; i < n; i++) {
                from[i] = chunk + (size_t)(first + i) * stride;
                to[i] = partition_of(row_header(from[i]));
            }
            status = exchange_append_rows(g->exchange, from, n, to, err);
        }
    }
    uint64_t groups = rows->n;
    if (groups >= THIN_GROUPS / 2) w->thin = w->rows_since_flush < groups * 2;
    w->rows_since_flush = 0;
    group_table_reset(&w->table);
    return status == TW_ERR_MEMORY ? TW_ERR_INTERNAL : status;
}

static bool should_flush(const group_state *g, const group_writer *w) {
    uint64_t groups = w->table.rows.n;
    if (w->thin) return groups >= THIN_GROUPS;
    if (group_table_bytes(&w->table) >= g->table_bytes_max) return true;
    return groups >= THIN_CHECK_GROUPS && w->rows_since_flush < groups * 2;
}

static tw_status group_push(sink_writer *writer, const batch_order *order, batch *b, tw_error *err) {
    group_writer *w = (group_writer *)writer;
    group_state *g = of_sink(writer->sink);
    hash_columns(b->columns, g->shape->n_keys, b->rows, w->hashes);
    for (uint32_t first = 0; first < b->rows; first += GROUP_STEP) {
        uint32_t n = b->rows - first < GROUP_STEP ? b->rows - first : GROUP_STEP;
        tw_status status = TW_ERR_MEMORY;
        if (!should_flush(g, w))
            status = group_table_add(&w->table, b->columns, w->hashes, first, n, order->position, err);
        if (status == TW_ERR_MEMORY) {
            TRY(flush(g, w, err));
            w->table.rows.may_make_room = true; /* an empty table needs this much, from whoever has it */
            status = group_table_add(&w->table, b->columns, w->hashes, first, n, order->position, err);
            w->table.rows.may_make_room = false;
        }
        if (status != TW_OK) return status == TW_ERR_MEMORY ? TW_ERR_INTERNAL : status;
        w->rows_since_flush += n;
    }
    return TW_OK;
}

static void group_drop(sink_writer *writer) {
    group_writer *w = (group_writer *)writer;
    group_table_destroy(&w->table);
    free(w);
}

static tw_status group_close(sink_writer *writer, tw_error *err) {
    TRY(flush(of_sink(writer->sink), (group_writer *)writer, err));
    group_drop(writer);
    return TW_OK;
}

/* Neighbouring small partitions become one split, so that a small result is one batch. */
static tw_status group_finish(sink *self, tw_error *err) {
    group_state *g = of_sink(self);
    exchange_seal(g->exchange);
    g->first_partition = calloc(PARTITIONS + 1, sizeof *g->first_partition);
    if (!g->first_partition) return error_set(err, TW_ERR_MEMORY, "out of memory for %s", self->name);
    uint64_t rows = 0, total = 0, bytes = 0;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        uint64_t more = exchange_rows(g->exchange, p);
        uint64_t more_bytes = exchange_partition_bytes(g->exchange, p);
        total += more;
        if (more == 0) continue;
        if (g->n_splits == 0 || rows + more > SPLIT_ROWS || bytes + more_bytes > g->partition_bytes_max) {
            g->first_partition[g->n_splits++] = p;
            rows = bytes = 0;
        }
        rows += more;
        bytes += more_bytes;
    }
    if (total == 0 && g->shape->n_keys == 0) g->n_splits = 1; /* one row about no rows */
    g->first_partition[g->n_splits] = PARTITIONS;
    return TW_OK;
}

static void group_describe(const sink *self, char *out, size_t capacity) {
    snprintf(out, capacity, "combined in each worker, then by hash into %u partitions", PARTITIONS);
}

static void group_free_sink(sink *self) { state_release(of_sink(self)); }

/* ---- the source: partitions merged ---- */

/* Part of the work of a split: a partition of an exchange. */
typedef struct merge_work {
    exchange *exchange;
    bool owned; /* the exchange is freed with its last partition */
    uint32_t partition, end, depth;
    struct merge_work *next;
} merge_work;

typedef struct group_reader {
    reader reader;
    group_state *state;
    merge_work *work;   /* a stack: what was split again comes first */
    group_table table;
    bool merged;        /* the table holds groups to be given */
    bool lone_row;      /* there were no rows, and no keys: one row all the same */
    uint32_t chunk, row;
    buffer *heap;
} group_reader;

static void pop_work(group_reader *r) {
    merge_work *w = r->work;
    r->work = w->next;
    if (w->owned) exchange_free(w->exchange);
    free(w);
}

static tw_status push_work(group_reader *r, exchange *x, bool owned, uint32_t begin, uint32_t end, uint32_t depth, tw_error *err) {
    merge_work *w = malloc(sizeof *w);
    if (!w) return error_set(err, TW_ERR_MEMORY, "out of memory for %s", r->state->source.name);
    *w = (merge_work){x, owned, begin, end, depth, r->work};
    r->work = w;
    return TW_OK;
}

/* By six further bits of the hash. */
static void route_further(void *context, const uint8_t *const *rows, uint32_t n, uint32_t *to) {
    uint32_t shift = 56 - 6 * *(const uint32_t *)context;
    for (uint32_t i = 0; i < n; i++) to[i] = (uint32_t)(row_header(rows[i]) >> shift) & (SUB_PARTITIONS - 1);
}

static tw_status split_again(group_reader *r, exchange *x, uint32_t partition, uint32_t depth, tw_error *err) {
    group_state *g = r->state;
    exchange *parts;
    TRY(exchange_create(g->run->memory, g->run->spill, g->shape->layout, SUB_PARTITIONS, 0, &parts, err));
    tw_status status = exchange_repartition(x, partition, parts, route_further, &depth, err);
    exchange_seal(parts);
    if (status == TW_OK) status = push_work(r, parts, true, 0, SUB_PARTITIONS, depth, err);
    if (status != TW_OK) exchange_free(parts);
    return status;
}

static tw_status merge_block(group_reader *r, const row_block *b, tw_error *err) {
    const uint8_t *rows[GROUP_STEP];
    size_t stride = r->state->shape->layout->stride;
    for (uint32_t first = 0; first < b->n; first += GROUP_STEP) {
        uint32_t n = b->n - first < GROUP_STEP ? b->n - first : GROUP_STEP;
        for (uint32_t i = 0; i < n; i++) rows[i] = b->rows->data + (size_t)(first + i) * stride;
        TRY(group_table_merge(&r->table, rows, n, err));
    }
    return TW_OK;
}

static tw_status merge_partition(group_reader *r, exchange *x, uint32_t partition, tw_error *err) {
    row_block *b;
    tw_status status;
    while ((status = exchange_take(x, partition, &b, err)) == TW_OK) {
        status = merge_block(r, b, err);
        row_block_free(b);
        if (status != TW_OK || run_cancelled(r->state->run)) break;
    }
    if (status == TW_OK) return error_set(err, TW_ERR_CANCELLED, "interrupted");
    return status == TW_END ? TW_OK : status;
}

/* Merges as many partitions as belong together into the table; TW_END when no work is left. */
static tw_status fill_table(group_reader *r, tw_error *err) {
    size_t bytes = 0;
    while (r->work) {
        merge_work *w = r->work;
        if (w->partition == w->end) {
            pop_work(r);
            continue;
        }
        uint64_t more = exchange_partition_bytes(w->exchange, w->partition);
        if (bytes && bytes + more > r->state->partition_bytes_max) break;
        uint32_t partition = w->partition++;
        if (more > r->state->partition_bytes_max && w->depth < DEPTH_MAX) {
            TRY(split_again(r, w->exchange, partition, w->depth + 1, err));
            continue;
        }
        if (more) TRY(merge_partition(r, w->exchange, partition, err));
        bytes += more;
    }
    if (r->table.rows.n == 0) return TW_END;
    r->merged = true;
    r->chunk = r->row = 0;
    return arena_rows_heap(&r->table.rows, &r->heap, err);
}

static tw_status give(group_reader *r, const uint8_t *const *rows, uint32_t n, batch **out, tw_error *err) {
    group_state *g = r->state;
    const group_shape *s = g->shape;
    memory *m = g->run->memory;
    batch *b;
    TRY(batch_new(g->out, n, &b, err));
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < g->out->n && status == TW_OK; i++) {
        column *c = &b->columns[i];
        const aggregate *a = i < s->n_keys ? NULL : &s->aggregates[i - s->n_keys];
        if (!g->needed[i]) *c = (column){.type = g->out->fields[i].type, .rows = n};
        else if (!a) status = rows_decode(m, s->layout, rows, n, i, 1, r->heap, c, err);
        else status = a->finish(a, m, rows, n, r->heap, c, err);
    }
    if (status != TW_OK) batch_unref(b);
    else *out = b;
    return status;
}

static tw_status give_lone_row(group_reader *r, batch **out, tw_error *err) {
    const uint8_t *row = r->state->shape->layout->blank;
    r->lone_row = false;
    return give(r, &row, 1, out, err);
}

static tw_status group_next(reader *self, batch **out, tw_error *err) {
    group_reader *r = (group_reader *)self;
    if (r->lone_row) return give_lone_row(r, out, err);
    if (!r->merged) TRY(fill_table(r, err));
    size_t stride = r->state->shape->layout->stride;
    uint32_t most = r->state->run->batch_rows, n = 0;
    const uint8_t **rows = malloc(most * sizeof *rows);
    if (!rows) return error_set(err, TW_ERR_MEMORY, "out of memory for %s", r->state->source.name);
    uint32_t chunk = r->chunk, row = r->row;
    while (n < most && chunk < r->table.rows.n_chunks) {
        uint8_t *base;
        uint32_t count = arena_rows_chunk(&r->table.rows, chunk, &base);
        for (; row < count && n < most; row++) rows[n++] = base + (size_t)row * stride;
        if (row < count) break;
        chunk++;
        row = 0;
    }
    tw_status status = give(r, rows, n, out, err);
    free(rows);
    TRY(status);
    r->chunk = chunk;
    r->row = row;
    if (chunk == r->table.rows.n_chunks) {
        r->merged = false;
        buffer_unref(r->heap);
        r->heap = NULL;
        group_table_reset(&r->table);
    }
    return TW_OK;
}

static void group_reader_free(reader *self) {
    group_reader *r = (group_reader *)self;
    while (r->work) pop_work(r);
    buffer_unref(r->heap);
    group_table_destroy(&r->table);
    free(r);
}

static const reader_class group_reader_class = {.next = group_next, .free = group_reader_free};

static tw_status group_source_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    *n_splits = of_source(self)->n_splits;
    return TW_OK;
}

static tw_status group_source_open(source *self, uint64_t split, reader **out, tw_error *err) {
    group_state *g = of_source(self);
    group_reader *r = calloc(1, sizeof *r);
    if (!r) return error_set(err, TW_ERR_MEMORY, "out of memory for %s", self->name);
    r->reader = (reader){.class = &group_reader_class, .position = split << 32};
    r->state = g;
    tw_status status = group_table_init(&r->table, g->shape, g->run->memory, true, err);
    if (status == TW_OK)
        status = push_work(r, g->exchange, false, g->first_partition[split], g->first_partition[split + 1], 0, err);
    if (status != TW_OK) {
        group_reader_free(&r->reader);
        return status;
    }
    if (g->shape->n_keys == 0 && split == 0) {
        uint64_t rows = 0;
        for (uint32_t p = 0; p < PARTITIONS; p++) rows += exchange_rows(g->exchange, p);
        r->lone_row = rows == 0;
    }
    *out = &r->reader;
    return TW_OK;
}

static void group_prune(source *self, const bool *needed) {
    group_state *g = of_source(self);
    for (uint32_t i = 0; i < g->out->n; i++) g->needed[i] = needed[i];
}

static void group_free_source(source *self) { state_release(of_source(self)); }

static const sink_class group_sink_class = {
    .start = group_start,
    .open = group_open,
    .push = group_push,
    .close = group_close,
    .drop = group_drop,
    .finish = group_finish,
    .describe = group_describe,
    .free = group_free_sink,
};
static const source_class group_source_class = {
    .start = group_source_start,
    .open = group_source_open,
    .prune = group_prune,
    .free = group_free_source,
};

tw_status group_state_create(const char *name, group_shape *shape, schema *out, sink **out_sink,
                             source **out_source, tw_error *err) {
    group_state *g = calloc(1, sizeof *g);
    bool *needed = malloc(out->n + 1);
    if (!g || !needed) {
        free(g);
        free(needed);
        group_shape_free(shape);
        return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    }
    memset(needed, 1, out->n);
    g->shape = shape;
    g->out = schema_ref(out);
    for (uint32_t i = 0; i < shape->n_aggregates; i++) shape->aggregates[i].name = out->fields[shape->n_keys + i].name;
    g->needed = needed;
    g->owners = 2;
    g->sink = (sink){.class = &group_sink_class, .name = name, .may_spill = true};
    g->source = (source){.class = &group_source_class, .name = name};
    *out_sink = &g->sink;
    *out_source = &g->source;
    return TW_OK;
}
