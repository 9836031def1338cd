/* The right side of a join on its way into partitions, and what both sides share for that. */
#include <stdlib.h>

#include "step/join_internal.h"

enum { partitions_min_bits = 4, partitions_max_bits = 8, state_bytes_per_partition = 32 << 10, batch_bytes_max = 1 << 20 };

static join *of_sink(sink *s) { return (join *)((char *)s - offsetof(join, sink)); }

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a join"); }

/* ---- scattering ---- */

void join_scatter_init(join_scatter *s, join *j, unsigned side) { *s = (join_scatter){.join = j, .side = side}; }

void join_scatter_clear(join_scatter *s) {
    free(s->columns);
    free(s->to);
    free(s->hashes);
}

tw_status join_scatter_reserve(join_scatter *s, uint32_t rows, tw_error *err) {
    uint32_t n = s->join->sides[s->side].layout->n;
    if (!s->columns) s->columns = calloc(2 * (size_t)n + 1, sizeof *s->columns);
    if (!s->columns) return no_memory(err);
    if (rows <= s->capacity) return TW_OK;
    s->capacity = 0;
    free(s->to);
    free(s->hashes);
    s->to = malloc(rows * sizeof *s->to);
    s->hashes = malloc(rows * sizeof *s->hashes);
    if (!s->to || !s->hashes) return no_memory(err);
    s->capacity = rows;
    return TW_OK;
}

/* The columns that the layout takes, of some of the rows. */
static tw_status pick_columns(join_scatter *s, const batch *b, const uint32_t *some, uint32_t n, column *out,
                              tw_error *err) {
    const join_side *side = &s->join->sides[s->side];
    memory *m = s->join->run->memory;
    for (uint32_t i = 0; i < side->layout->n; i++) TRY(column_pick(m, &b->columns[side->columns[i]], some, n, &out[i], err));
    return TW_OK;
}

tw_status join_scatter_append(join_scatter *s, const batch *b, const uint32_t *some, uint32_t n, tw_error *err) {
    const join_side *side = &s->join->sides[s->side];
    uint32_t n_columns = side->layout->n;
    column *columns = s->columns, *picked = s->columns + n_columns;
    if (s->failure.code) {
        if (err) *err = s->failure;
        return s->failure.code;
    }
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < n_columns && !some; i++) columns[i] = b->columns[side->columns[i]];
    if (some) {
        memset(picked, 0, n_columns * sizeof *picked);
        status = pick_columns(s, b, some, n, picked, err);
    }
    if (status == TW_OK) {
        status = exchange_append(side->rows, some ? picked : columns, n, s->to, s->hashes, NULL, 0, &s->failure);
        if (status != TW_OK && err) *err = s->failure;
    }
    for (uint32_t i = 0; i < n_columns && some; i++) column_clear(&picked[i]);
    return status;
}

void join_key_columns(const join *j, unsigned side, const batch *b, column *out) {
    for (uint32_t i = 0; i < j->n_keys; i++) out[i] = b->columns[j->sides[side].keys[i]];
}

bool join_valid_rows(const column *keys, uint32_t n_keys, uint32_t n, uint32_t *out, uint32_t *n_out) {
    uint32_t some = 0;
    bool nullable = false;
    for (uint32_t k = 0; k < n_keys; k++) nullable |= keys[k].valid != NULL;
    for (uint32_t first = 0; first < n && nullable; first += 64) {
        uint64_t valid = n - first < 64 ? ~0ull >> (64 - (n - first)) : ~0ull;
        for (uint32_t k = 0; k < n_keys; k++)
            if (keys[k].valid) valid &= keys[k].valid[first >> 6];
        for (; valid; valid &= valid - 1) out[some++] = first + (uint32_t)__builtin_ctzll(valid);
    }
    *n_out = nullable ? some : n;
    return *n_out < n;
}

/* ---- the sink ---- */

typedef struct build_writer {
    sink_writer writer;
    join_scatter scatter;
    column *keys;
    uint32_t *some;
    uint64_t *hashes;
    uint32_t capacity;
} build_writer;

static void writer_free(build_writer *w) {
    join_scatter_clear(&w->scatter);
    free(w->keys);
    free(w->some);
    free(w->hashes);
    free(w);
}

static tw_status build_open(sink *self, sink_writer **out, tw_error *err) {
    join *j = of_sink(self);
    build_writer *w = calloc(1, sizeof *w);
    if (!w) return no_memory(err);
    w->writer.sink = self;
    join_scatter_init(&w->scatter, j, RIGHT);
    w->keys = calloc(j->n_keys, sizeof *w->keys);
    if (!w->keys) {
        writer_free(w);
        return no_memory(err);
    }
    *out = &w->writer;
    return TW_OK;
}

static tw_status writer_reserve(build_writer *w, uint32_t rows, tw_error *err) {
    TRY(join_scatter_reserve(&w->scatter, rows, err));
    if (rows <= w->capacity) return TW_OK;
    w->capacity = 0;
    free(w->some);
    free(w->hashes);
    w->some = malloc(rows * sizeof *w->some);
    w->hashes = malloc(rows * sizeof *w->hashes);
    if (!w->some || !w->hashes) return no_memory(err);
    w->capacity = rows;
    return TW_OK;
}

/* Rows with a null key match nothing: they go to a partition of their own, or nowhere. */
static tw_status build_push(sink_writer *self, const batch_order *order, batch *b, tw_error *err) {
    build_writer *w = (build_writer *)self;
    join *j = of_sink(self->sink);
    join_scatter *s = &w->scatter;
    uint32_t n;
    TRY(writer_reserve(w, b->rows, err));
    join_key_columns(j, RIGHT, b, w->keys);
    hash_columns(w->keys, j->n_keys, b->rows, w->hashes);
    bool nulls = join_valid_rows(w->keys, j->n_keys, b->rows, w->some, &n);
    if (nulls && !join_keeps_right(j)) {
        if (!n) return TW_OK;
        for (uint32_t i = 0; i < n; i++) {
            s->hashes[i] = w->hashes[w->some[i]];
            s->to[i] = join_partition(j, s->hashes[i]);
        }
        return join_scatter_append(s, b, w->some, n, err);
    }
    memcpy(s->hashes, w->hashes, b->rows * sizeof *s->hashes);
    for (uint32_t i = 0; i < b->rows; i++) s->to[i] = nulls ? j->n_partitions : join_partition(j, s->hashes[i]);
    for (uint32_t i = 0; i < n && nulls; i++) s->to[w->some[i]] = join_partition(j, s->hashes[w->some[i]]);
    return join_scatter_append(s, b, NULL, b->rows, err);
}

static tw_status build_close(sink_writer *self, tw_error *err) {
    writer_free((build_writer *)self);
    return TW_OK;
}
static void build_drop(sink_writer *self) { writer_free((build_writer *)self); }

static tw_status build_finish(sink *self, tw_error *err) {
    exchange_seal(of_sink(self)->sides[RIGHT].rows);
    return TW_OK;
}

/* ---- the start of the run: what is needed is known ---- */

/* Gives a side its layout: the keys, then its columns of the output that are needed. */
static tw_status make_layout(join *j, unsigned which, uint32_t extra_bytes, tw_error *err) {
    join_side *side = &j->sides[which];
    uint32_t n = j->n_keys, most = j->n_keys + j->out->n;
    const type **types = calloc(most, sizeof *types);
    side->columns = calloc(most, sizeof *side->columns);
    if (!types || !side->columns) {
        free(types);
        return no_memory(err);
    }
    memcpy(side->columns, side->keys, n * sizeof *side->keys);
    for (uint32_t i = 0; i < j->out->n; i++) {
        join_column *c = &j->columns[i];
        if (c->is_key || c->side != which || !c->needed) continue;
        c->field = n;
        side->columns[n++] = c->from;
    }
    for (uint32_t i = 0; i < n; i++) types[i] = side->schema->fields[side->columns[i]].type;
    tw_status status = row_layout_new(types, n, j->n_keys, extra_bytes, &side->layout, err);
    free(types);
    TRY(status);
    side->null_row = calloc(1, side->layout->stride);
    return side->null_row ? TW_OK : no_memory(err);
}

/* Many partitions when memory is short, so that one of them fits; few when there is plenty. */
static unsigned partition_bits(size_t limit) {
    if (limit >= (size_t)1 << 30) return 6;
    if (limit >= (size_t)256 << 20) return 7;
    unsigned bits = partitions_min_bits;
    size_t state = limit / 4 * 3;
    while (bits < partitions_max_bits && (size_t)state_bytes_per_partition << (bits + 1) <= state) bits++;
    return bits;
}

/* So many rows that a batch is not much of the memory there is. */
static uint32_t batch_rows(const join *j, const run_context *run) {
    size_t bytes = memory_limit(run->memory) / 32, row_bytes = 1;
    if (bytes > batch_bytes_max) bytes = batch_bytes_max;
    for (uint32_t i = 0; i < j->out->n; i++)
        if (j->columns[i].needed) row_bytes += type_bytes(j->out->fields[i].type);
    size_t rows = bytes / row_bytes;
    return rows < 1 ? 1 : rows < run->batch_rows ? (uint32_t)rows : run->batch_rows;
}

tw_status join_start(join *j, run_context *run, uint32_t extra_bytes, tw_error *err) {
    j->run = run;
    for (uint32_t i = 0; i < j->out->n && !j->asked; i++) j->columns[i].needed = true;
    for (unsigned side = 0; side < 2; side++) TRY(make_layout(j, side, extra_bytes, err));
    j->batch_rows = batch_rows(j, run);
    return TW_OK;
}

static tw_status build_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    join *j = of_sink(self);
    TRY(join_start(j, run, 0, err));
    j->bits = partition_bits(memory_limit(run->memory));
    j->n_partitions = 1u << j->bits;
    return exchange_create(run->memory, run->spill, j->sides[RIGHT].layout, j->n_partitions + 1, 0,
                           &j->sides[RIGHT].rows, err);
}

void join_needs(const join *j, unsigned side, bool *needed) {
    for (uint32_t i = 0; i < j->n_keys; i++) needed[j->sides[side].keys[i]] = true;
    for (uint32_t i = 0; i < j->out->n; i++)
        if (j->columns[i].side == side && (j->columns[i].needed || !j->asked)) needed[j->columns[i].from] = true;
}

static void build_needs(sink *self, bool *needed) { join_needs(of_sink(self), RIGHT, needed); }

static void build_describe(const sink *self, char *out, size_t capacity) {
    strncat(out, "the right side, by hash", capacity - 1);
}

/* ---- life ---- */

void join_release(join *j) {
    if (atomic_fetch_sub(&j->owners, 1) != 1) return;
    join_unload(j);
    range_join_free(j->range);
    for (unsigned i = 0; i < 2; i++) {
        join_side *side = &j->sides[i];
        row_layout_free(side->layout);
        schema_unref(side->schema);
        free(side->keys);
        free(side->columns);
        free(side->null_row);
    }
    schema_unref(j->out);
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->changed);
    free(j->columns);
    free(j->words);
    free(j);
}

static void build_free(sink *self) { join_release(of_sink(self)); }

const sink_class join_sink_class = {
    .start = build_start,
    .open = build_open,
    .push = build_push,
    .close = build_close,
    .drop = build_drop,
    .finish = build_finish,
    .needs = build_needs,
    .describe = build_describe,
    .free = build_free,
};
