#include "engine/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* The rows of one batch. */
typedef struct piece {
    uint64_t position; /* order of its first row; once all are there: the number of that row */
    uint32_t rows;
    row_block *block;  /* NULL when it is on disk */
    frame_place place;
} piece;

typedef struct store_source_end {
    source source;
    store *store;
} store_source_end;

struct store {
    sink sink;
    schema *schema;
    row_layout *layout; /* of the columns that some reader needs */
    uint32_t *columns;  /* which those are; layout->n */
    run_context *run;
    memory_spiller spiller;
    pthread_mutex_t lock;
    piece *pieces;
    size_t n, capacity, first_in_memory;
    size_t bytes;       /* in memory */
    bool *needed;       /* by any reader */
    bool registered;
    atomic_uint owners;
    atomic_uint readers; /* sources */
};

typedef struct store_reader {
    reader reader;
    store *store;
    size_t piece;
    bool done;
} store_reader;

static tw_status no_memory(tw_error *err) {
    return error_set(err, TW_ERR_MEMORY, "out of memory for a flow that several read");
}

static store *of_sink(sink *s) { return (store *)((char *)s - offsetof(store, sink)); }

/* Nobody will read it any more. */
static void drop_pieces(store *s) {
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->n; i++) {
        piece *p = &s->pieces[i];
        if (p->block) row_block_free(p->block);
        else spill_forget(s->run->spill, p->place);
    }
    free(s->pieces);
    s->pieces = NULL;
    s->n = s->capacity = s->bytes = 0;
    pthread_mutex_unlock(&s->lock);
}

static void store_release(store *s) {
    if (atomic_fetch_sub(&s->owners, 1) != 1) return;
    if (s->registered) memory_unregister(s->run->memory, &s->spiller);
    drop_pieces(s);
    free(s->needed);
    free(s->columns);
    row_layout_free(s->layout);
    schema_unref(s->schema);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- memory ---- */

static size_t store_spillable(void *self) {
    store *s = self;
    pthread_mutex_lock(&s->lock);
    size_t bytes = s->bytes;
    pthread_mutex_unlock(&s->lock);
    return bytes;
}

static tw_status store_spill(void *self, size_t bytes, tw_error *err) {
    store *s = self;
    tw_status status = TW_OK;
    pthread_mutex_lock(&s->lock);
    size_t goal = s->bytes > bytes ? s->bytes - bytes : 0;
    for (; s->first_in_memory < s->n && s->bytes > goal && status == TW_OK; s->first_in_memory++) {
        piece *p = &s->pieces[s->first_in_memory];
        if (!p->block) continue;
        status = spill_write_block(s->run->spill, s->layout, p->block, &p->place, err);
        if (status != TW_OK) break;
        s->bytes -= row_block_bytes(p->block);
        row_block_free(p->block);
        p->block = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* ---- the sink ---- */

static tw_status lay_out(store *s, tw_error *err) {
    const type **types = calloc(s->schema->n + 1, sizeof *types);
    s->columns = calloc(s->schema->n + 1, sizeof *s->columns);
    tw_status status = types && s->columns ? TW_OK : no_memory(err);
    uint32_t n = 0;
    for (uint32_t i = 0; status == TW_OK && i < s->schema->n; i++) {
        if (!s->needed[i]) continue;
        s->columns[n] = i;
        types[n++] = s->schema->fields[i].type;
    }
    if (status == TW_OK) status = row_layout_new(types, n, 0, 0, &s->layout, err);
    free(types);
    return status;
}

static tw_status store_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    store *s = of_sink(self);
    s->run = run;
    TRY(lay_out(s, err));
    s->spiller = (memory_spiller){.spillable_bytes = store_spillable, .spill = store_spill, .self = s};
    memory_register(run->memory, &s->spiller);
    s->registered = true;
    return TW_OK;
}

static tw_status store_open(sink *self, sink_writer **out, tw_error *err) {
    sink_writer *w = calloc(1, sizeof *w);
    if (!w) return no_memory(err);
    w->sink = self;
    *out = w;
    return TW_OK;
}

static void needed_columns(const store *s, const batch *b, column *out) {
    for (uint32_t i = 0; i < s->layout->n; i++) out[i] = b->columns[s->columns[i]];
}

static tw_status encode(store *s, const batch *b, row_block **out, tw_error *err) {
    column *columns = malloc((s->layout->n + 1) * sizeof *columns);
    if (!columns) return no_memory(err);
    needed_columns(s, b, columns);
    tw_status status = row_block_encode(s->run->memory, MEMORY_STATE, s->layout, columns, b->rows, out, err);
    free(columns);
    return status;
}

static tw_status store_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    store *s = of_sink(w->sink);
    row_block *block;
    TRY(encode(s, b, &block, err));
    pthread_mutex_lock(&s->lock);
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? s->capacity * 2 : 64;
        piece *pieces = realloc(s->pieces, capacity * sizeof *pieces);
        if (!pieces) {
            pthread_mutex_unlock(&s->lock);
            row_block_free(block);
            return no_memory(err);
        }
        s->pieces = pieces;
        s->capacity = capacity;
    }
    s->pieces[s->n++] = (piece){.position = order->position, .rows = b->rows, .block = block};
    s->bytes += row_block_bytes(block);
    pthread_mutex_unlock(&s->lock);
    return TW_OK;
}

static tw_status store_close(sink_writer *w, tw_error *err) {
    free(w);
    return TW_OK;
}
static void store_drop(sink_writer *w) { free(w); }

static int by_position(const void *a, const void *b) {
    uint64_t x = ((const piece *)a)->position, y = ((const piece *)b)->position;
    return (x > y) - (x < y);
}

static tw_status store_finish(sink *self, tw_error *err) {
    store *s = of_sink(self);
    pthread_mutex_lock(&s->lock);
    if (s->n) qsort(s->pieces, s->n, sizeof *s->pieces, by_position);
    s->first_in_memory = 0;
    uint64_t rows = 0;
    for (size_t i = 0; i < s->n; i++) {
        s->pieces[i].position = rows;
        rows += s->pieces[i].rows;
    }
    pthread_mutex_unlock(&s->lock);
    return TW_OK;
}

static void store_needs(sink *self, bool *needed) {
    store *s = of_sink(self);
    memcpy(needed, s->needed, s->schema->n);
}
static void store_free_sink(sink *self) { store_release(of_sink(self)); }

static const sink_class store_sink_class = {
    .start = store_start,
    .open = store_open,
    .push = store_push,
    .close = store_close,
    .drop = store_drop,
    .finish = store_finish,
    .needs = store_needs,
    .free = store_free_sink,
};

tw_status store_create(schema *s, sink **out, store **out_store, tw_error *err) {
    store *t = calloc(1, sizeof *t);
    bool *needed = calloc(s->n + 1, sizeof *needed);
    if (!t || !needed) {
        free(t);
        free(needed);
        return no_memory(err);
    }
    t->schema = schema_ref(s);
    t->needed = needed;
    t->owners = 1;
    pthread_mutex_init(&t->lock, NULL);
    t->sink = (sink){.class = &store_sink_class, .name = "store", .step = -1, .may_spill = true};
    *out = &t->sink;
    *out_store = t;
    return TW_OK;
}

sink *store_sink(store *s) { return &s->sink; }

/* ---- the sources ---- */

static tw_status store_source_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    *n_splits = ((store_source_end *)self)->store->n;
    return TW_OK;
}

/* The piece's block; *mine tells whether the caller must free it. A block in memory is kept from being
 * spilled by a reference to its buffers. */
static tw_status fetch(store *s, size_t i, row_block *copy, row_block **mine, tw_error *err) {
    pthread_mutex_lock(&s->lock);
    piece p = s->pieces[i];
    if (p.block) {
        *copy = *p.block;
        buffer_ref(copy->rows);
        buffer_ref(copy->heap);
    }
    pthread_mutex_unlock(&s->lock);
    *mine = NULL;
    if (p.block) return TW_OK;
    TRY(spill_read_block(s->run->spill, s->run->memory, MEMORY_FLOW, s->layout, p.place, mine, err));
    *copy = **mine;
    return TW_OK;
}

static tw_status decode_columns(store *s, const row_block *block, batch *b, tw_error *err) {
    column *columns = calloc(s->layout->n + 1, sizeof *columns);
    tw_status status = columns ? row_block_decode(s->run->memory, s->layout, block, 0, block->n, columns, err) : no_memory(err);
    for (uint32_t i = 0; status == TW_OK && i < s->layout->n; i++) b->columns[s->columns[i]] = columns[i];
    free(columns);
    return status;
}

static tw_status decode(store *s, const row_block *block, uint64_t position, batch **out, tw_error *err) {
    batch *b;
    TRY(batch_new(s->schema, block->n, &b, err));
    for (uint32_t i = 0; i < s->schema->n; i++)
        b->columns[i] = (column){.type = s->schema->fields[i].type, .rows = block->n}; /* absent */
    tw_status status = decode_columns(s, block, b, err);
    if (status != TW_OK) {
        batch_unref(b);
        return status;
    }
    b->position = position;
    *out = b;
    return TW_OK;
}

static tw_status store_next(reader *self, batch **out, tw_error *err) {
    store_reader *r = (store_reader *)self;
    if (r->done) return TW_END;
    row_block block, *mine;
    TRY(fetch(r->store, r->piece, &block, &mine, err));
    tw_status status = decode(r->store, &block, self->position, out, err);
    if (mine) {
        row_block_free(mine);
    } else {
        buffer_unref(block.rows);
        buffer_unref(block.heap);
    }
    r->done = status == TW_OK;
    return status;
}

static void store_reader_free(reader *self) { free(self); }
static const reader_class store_reader_class = {.next = store_next, .free = store_reader_free};

static tw_status store_source_open(source *self, uint64_t split, reader **out, tw_error *err) {
    store *s = ((store_source_end *)self)->store;
    if (split >= s->n) return TW_END;
    store_reader *r = calloc(1, sizeof *r);
    if (!r) return no_memory(err);
    r->reader = (reader){.class = &store_reader_class, .position = s->pieces[split].position, .spread = POSITION_SPREAD};
    r->store = s;
    r->piece = split;
    *out = &r->reader;
    return TW_OK;
}

static void store_prune(source *self, const bool *needed) {
    store *s = ((store_source_end *)self)->store;
    for (uint32_t i = 0; i < s->schema->n; i++) s->needed[i] |= needed[i];
}

static void store_source_free(source *self) {
    store *s = ((store_source_end *)self)->store;
    if (atomic_fetch_sub(&s->readers, 1) == 1) drop_pieces(s);
    store_release(s);
    free(self);
}

static const source_class store_source_class = {
    .start = store_source_start,
    .open = store_source_open,
    .prune = store_prune,
    .free = store_source_free,
};

tw_status store_source(store *s, source **out, tw_error *err) {
    store_source_end *e = calloc(1, sizeof *e);
    if (!e) return no_memory(err);
    e->source = (source){.class = &store_source_class, .name = "store", .step = -1};
    e->store = s;
    atomic_fetch_add(&s->owners, 1);
    atomic_fetch_add(&s->readers, 1);
    *out = &e->source;
    return TW_OK;
}
