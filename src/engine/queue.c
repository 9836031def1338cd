#include "engine/queue.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/checkpoint.h"
#include "engine/sequencer.h"

#define QUEUE_BYTES_MAX ((size_t)4 << 20)

typedef struct entry {
    batch *b;          /* NULL: a failure, after which nothing passes, or a mark alone */
    uint32_t *rows, n; /* those of it that go on; NULL: all, which are n */
    uint64_t number;   /* of its first row among those that passed */
    uint32_t partition;
    int64_t own, others; /* watermarks that held before, see reader */
    mark after;
    struct entry *next;
    bool failed;
    tw_error failure[]; /* 1 if it failed */
} entry;

typedef struct queue {
    sink sink;
    source source;
    queue_options options;
    run_context *run;
    sequencer *order;
    pthread_mutex_t lock;
    entry *first, **end;
    size_t bytes, bytes_max;
    uint64_t rows_passed;
    mark last;          /* of the last entry */
    bool ended;         /* nothing more will come in */
    bool refused;       /* somebody was told to wait */
    bool *needed;
    uint32_t n_columns;
    atomic_bool satisfied;
    unsigned owners; /* the sink and the source */
} queue;

typedef struct queue_writer {
    sink_writer writer;
} queue_writer;

typedef struct queue_reader {
    reader reader;
    run_context *run;
    entry *e; /* NULL: given away */
} queue_reader;

static queue *of_sink(sink *s) { return (queue *)((char *)s - offsetof(queue, sink)); }
static queue *of_source(source *s) { return (queue *)((char *)s - offsetof(queue, source)); }

static void entry_free(entry *e) {
    batch_unref(e->b);
    free(e->rows);
    free(e);
}

/* ---- the sequencer's callbacks ---- */

static size_t bytes_of(const entry *e) { return e->b ? batch_bytes(e->b) : 0; }

static void append(queue *q, entry *e) {
    e->next = NULL;
    e->number = q->rows_passed;
    e->own = e->others = q->last.watermark;
    if (e->b && q->options.stamp)
        q->last.watermark = q->options.stamp(q->options.context, e->b, e->partition, &e->own, &e->others);
    e->after = q->last;
    q->rows_passed += e->n;
    q->bytes += bytes_of(e);
    *q->end = e;
    q->end = &e->next;
    if (e->failed || q->rows_passed >= q->options.rows_max) atomic_store(&q->satisfied, true);
}

static tw_status pick_rows(queue *q, entry *e, tw_error *err) {
    e->n = e->b ? e->b->rows : 0;
    if (!e->b || !q->options.pick) return TW_OK;
    e->rows = malloc(e->n * sizeof *e->rows);
    if (!e->rows) return error_set(err, TW_ERR_MEMORY, "out of memory for a queue");
    TRY(q->options.pick(q->options.context, q->run, e->b, e->partition, e->rows, &e->n, err));
    if (e->n < e->b->rows) return TW_OK;
    free(e->rows);
    e->rows = NULL;
    return TW_OK;
}

static tw_status place(void *context, void *item, tw_error *err) {
    queue *q = context;
    entry *e = item;
    batch *dropped = NULL;
    TRY(pick_rows(q, e, err));
    if (e->b && e->n == 0) {
        entry_free(e);
        return TW_OK;
    }
    pthread_mutex_lock(&q->lock);
    uint64_t left = atomic_load(&q->satisfied) ? 0 : q->options.rows_max - q->rows_passed;
    tw_status status = TW_OK;
    if (left == 0) {
        dropped = e->b;
        free(e);
    } else {
        if (e->b && left < e->b->rows) {
            batch *cut;
            status = batch_slice(q->run->memory, e->b, 0, (uint32_t)left, &cut, err);
            if (status == TW_OK) dropped = e->b, e->b = cut, e->n = (uint32_t)left;
        }
        if (status == TW_OK) append(q, e);
    }
    pthread_mutex_unlock(&q->lock);
    batch_unref(dropped);
    if (status == TW_OK) run_wake(q->run);
    return status;
}

static void drop(void *context, void *item) { entry_free(item); }

/* ---- the sink ---- */

static tw_status queue_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    queue *q = of_sink(self);
    q->run = run;
    size_t bytes_max = memory_limit(run->memory) / 32;
    q->bytes_max = bytes_max < QUEUE_BYTES_MAX ? bytes_max : QUEUE_BYTES_MAX;
    sequencer_callbacks callbacks = {.place = place, .drop = drop, .context = q};
    row_order order = self->order;
    if (order == ROW_ORDER_NONE && (q->options.stamp || q->options.pick || q->options.rows_max != UINT64_MAX)) order = ROW_ORDER_INPUTS;
    return sequencer_create(run, n_inputs, order, q->bytes_max, callbacks, &q->order, err);
}

static tw_status queue_open(sink *self, sink_writer **out, tw_error *err) {
    queue_writer *w = calloc(1, sizeof *w);
    if (!w) return error_set(err, TW_ERR_MEMORY, "out of memory for a queue");
    w->writer.sink = self;
    *out = &w->writer;
    return TW_OK;
}

/* Cuts a batch into a chain of entries: all of them or none. */
static tw_status cut(queue *q, batch *b, uint32_t partition, uint32_t piece, entry **out, tw_error *err) {
    entry **last = out;
    *out = NULL;
    tw_status status = TW_OK;
    for (uint32_t first = 0; first < b->rows && status == TW_OK; first += piece) {
        uint32_t n = b->rows - first < piece ? b->rows - first : piece;
        entry *e = calloc(1, sizeof *e);
        if (!e) {
            status = error_set(err, TW_ERR_MEMORY, "out of memory for a queue");
            break;
        }
        *last = e;
        last = &e->next;
        e->partition = partition;
        if (n == b->rows) e->b = batch_ref(b);
        else status = batch_slice(q->run->memory, b, first, n, &e->b, err);
    }
    while (status != TW_OK && *out) {
        entry *e = *out;
        *out = e->next;
        entry_free(e);
    }
    return status;
}

static tw_status queue_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    queue *q = of_sink(w->sink);
    uint32_t piece = q->options.piece_rows ? q->options.piece_rows : b->rows;
    entry *chain;
    TRY(cut(q, b, order->partition, piece, &chain, err));
    tw_status status = TW_OK;
    for (bool taken = false; chain; taken = true) {
        entry *e = chain;
        chain = e->next;
        if (status == TW_OK) status = sequencer_push(q->order, order, e, batch_bytes(e->b), err);
        else entry_free(e);
        if (taken && status == TW_ERR_MEMORY) status = TW_ERR_INTERNAL;
    }
    return status;
}

static tw_status queue_push_failure(sink_writer *w, const batch_order *order, const tw_error *failure) {
    entry *e = calloc(1, sizeof *e + sizeof *failure);
    if (!e) return TW_ERR_MEMORY;
    e->failure[0] = *failure;
    e->failed = true;
    return sequencer_push(of_sink(w->sink)->order, order, e, 0, NULL);
}

static tw_status queue_end_split(sink_writer *w, const batch_order *order, tw_error *err) {
    return sequencer_end_split(of_sink(w->sink)->order, order, err);
}

/* What comes before is in the list by now. */
static tw_status queue_advance(sink *self, mark to, tw_error *err) {
    queue *q = of_sink(self);
    entry *e = calloc(1, sizeof *e);
    if (!e) return error_set(err, TW_ERR_MEMORY, "out of memory for a queue");
    pthread_mutex_lock(&q->lock);
    mark before = q->last;
    if (!q->options.stamp) q->last.watermark = to.watermark;
    q->last.epoch = to.epoch;
    bool moved = before.watermark != q->last.watermark || before.epoch != q->last.epoch;
    if (moved && !atomic_load(&q->satisfied)) append(q, e), e = NULL;
    pthread_mutex_unlock(&q->lock);
    free(e);
    if (moved) run_wake(q->run);
    return TW_OK;
}

/* Rows that are in the list belong to epochs before, and have left it when this one has passed what follows. */
static tw_status queue_save(sink *self, saved_part *to, tw_error *err) {
    queue *q = of_sink(self);
    pthread_mutex_lock(&q->lock);
    uint64_t rows = q->rows_passed;
    tw_status status = q->options.save ? q->options.save(q->options.context, to, err) : TW_OK;
    pthread_mutex_unlock(&q->lock);
    return status == TW_OK ? part_put_int(to, "rows", (int64_t)rows, err) : status;
}

static tw_status queue_load(sink *self, const saved_part *from, tw_error *err) {
    queue *q = of_sink(self);
    q->rows_passed = (uint64_t)part_get_int(from, "rows", 0);
    return q->options.load ? q->options.load(q->options.context, q->run, from, &q->last.watermark, err) : TW_OK;
}

static void queue_shape(const sink *self, char *out, size_t capacity) {
    const queue *q = of_sink((sink *)self);
    if (q->options.shape) q->options.shape(q->options.context, out, capacity);
}

static tw_status queue_end_input(sink *self, uint32_t input, uint64_t n_splits, tw_error *err) {
    return sequencer_end_input(of_sink(self)->order, input, n_splits, err);
}

static bool queue_ready(sink *self, const batch_order *order) {
    queue *q = of_sink(self);
    pthread_mutex_lock(&q->lock);
    bool room = q->bytes < q->bytes_max;
    if (!room) q->refused = true;
    pthread_mutex_unlock(&q->lock);
    return room && sequencer_ready(q->order, order);
}

static bool queue_satisfied(sink *self) { return atomic_load(&of_sink(self)->satisfied); }

static tw_status queue_close(sink_writer *w, tw_error *err) {
    free(w);
    return TW_OK;
}
static void queue_drop(sink_writer *w) { free(w); }

static tw_status queue_finish(sink *self, tw_error *err) {
    queue *q = of_sink(self);
    pthread_mutex_lock(&q->lock);
    q->ended = true;
    pthread_mutex_unlock(&q->lock);
    run_wake(q->run);
    return TW_OK;
}

static void queue_needs(sink *self, bool *needed) {
    queue *q = of_sink(self);
    for (uint32_t i = 0; i < q->n_columns; i++) needed[i] = q->needed[i];
    if (q->options.needs) q->options.needs(q->options.context, needed);
}

static void clear(queue *q) {
    while (q->first) {
        entry *e = q->first;
        q->first = e->next;
        entry_free(e);
    }
    q->end = &q->first;
}

static void queue_release(queue *q) {
    if (--q->owners) return;
    clear(q);
    sequencer_free(q->order);
    pthread_mutex_destroy(&q->lock);
    if (q->options.free) q->options.free(q->options.context);
    free(q->needed);
    free(q);
}
static void queue_free_sink(sink *self) { queue_release(of_sink(self)); }

static void queue_describe(const sink *self, char *out, size_t capacity) {
    const queue *q = of_sink((sink *)self);
    if (q->options.describe) q->options.describe(q->options.context, out, capacity);
    else if (q->options.rows_max != UINT64_MAX)
        snprintf(out, capacity, "in row order, until %llu rows", (unsigned long long)q->options.rows_max);
    else
        snprintf(out, capacity, "bounded queue, any idle worker takes the next batch");
}

/* ---- the source ---- */

static tw_status queue_source_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    *n_splits = UINT64_MAX;
    return TW_OK;
}

static tw_status queue_next(reader *self, batch **out, tw_error *err) {
    queue_reader *r = (queue_reader *)self;
    if (!r->e || (!r->e->b && !r->e->failed)) return TW_END;
    if (r->e->failed) {
        if (err) *err = r->e->failure[0];
        return r->e->failure[0].code;
    }
    entry *e = r->e;
    if (e->rows) TRY(batch_pick(r->run->memory, e->b, e->rows, NULL, e->n, out, err));
    else *out = batch_ref(e->b);
    r->e = NULL;
    entry_free(e);
    return TW_OK;
}

static void queue_reader_free(reader *self) {
    queue_reader *r = (queue_reader *)self;
    if (r->e) entry_free(r->e);
    free(r);
}

static const reader_class queue_reader_class = {.next = queue_next, .free = queue_reader_free};

static tw_status queue_source_open(source *self, uint64_t split, reader **out, tw_error *err) {
    queue *q = of_source(self);
    queue_reader *r = calloc(1, sizeof *r);
    if (!r) return error_set(err, TW_ERR_MEMORY, "out of memory for a queue");
    pthread_mutex_lock(&q->lock);
    entry *e = q->first;
    if (e) {
        q->first = e->next;
        if (!q->first) q->end = &q->first;
        q->bytes -= bytes_of(e);
    }
    bool ended = q->ended;
    bool room = q->refused && q->bytes <= q->bytes_max / 2; /* so that it pays to come back */
    if (room) q->refused = false;
    pthread_mutex_unlock(&q->lock);
    if (!e) {
        free(r);
        return ended ? TW_END : STATUS_WAIT;
    }
    r->reader = (reader){.class = &queue_reader_class, .position = e->number, .spread = POSITION_SPREAD,
                         .partition = e->partition, .own = e->own, .others = e->others, .after = e->after};
    r->run = q->run;
    r->e = e;
    *out = &r->reader;
    if (room) run_wake(q->run);
    return TW_OK;
}

static void queue_prune(source *self, const bool *needed) {
    queue *q = of_source(self);
    for (uint32_t i = 0; i < q->n_columns; i++) q->needed[i] = needed[i];
}

/* Whoever still fills it is told to stop. */
static void queue_free_source(source *self) {
    queue *q = of_source(self);
    pthread_mutex_lock(&q->lock);
    atomic_store(&q->satisfied, true);
    clear(q);
    pthread_mutex_unlock(&q->lock);
    queue_release(q);
}

static const sink_class queue_sink_class = {
    .start = queue_start,
    .open = queue_open,
    .push = queue_push,
    .push_failure = queue_push_failure,
    .end_split = queue_end_split,
    .advance = queue_advance,
    .save = queue_save,
    .load = queue_load,
    .shape = queue_shape,
    .ready = queue_ready,
    .satisfied = queue_satisfied,
    .close = queue_close,
    .drop = queue_drop,
    .end_input = queue_end_input,
    .finish = queue_finish,
    .needs = queue_needs,
    .describe = queue_describe,
    .free = queue_free_sink,
};
static const source_class queue_source_class = {
    .start = queue_source_start,
    .open = queue_source_open,
    .prune = queue_prune,
    .free = queue_free_source,
};

tw_status queue_create(queue_options options, uint32_t n_columns, sink **out_sink, source **out_source,
                       tw_error *err) {
    queue *q = calloc(1, sizeof *q);
    bool *needed = malloc(n_columns ? n_columns : 1);
    if (!q || !needed) {
        free(q);
        free(needed);
        if (options.free) options.free(options.context);
        return error_set(err, TW_ERR_MEMORY, "out of memory for a queue");
    }
    memset(needed, 1, n_columns);
    q->options = options;
    q->last.watermark = WATERMARK_NONE;
    q->needed = needed;
    q->n_columns = n_columns;
    q->end = &q->first;
    q->owners = 2;
    q->satisfied = options.rows_max == 0;
    pthread_mutex_init(&q->lock, NULL);
    q->sink = (sink){.class = &queue_sink_class, .name = options.name, .keeps_state = options.keeps_state};
    q->source = (source){.class = &queue_source_class, .name = options.name, .live = true, .ends = options.rows_max != UINT64_MAX};
    *out_sink = &q->sink;
    *out_source = &q->source;
    return TW_OK;
}
