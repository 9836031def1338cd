#include "engine/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/checkpoint.h"
#include "engine/disk_log.h"
#include "engine/poller.h"
#include "engine/sequencer.h"

#define QUEUE_BYTES_MAX ((size_t)4 << 20)
/* With a log: a quarter of it waits as it came; what comes then is written when it makes another quarter. */
#define LOGGED_BYTES_MAX ((size_t)16 << 20)
enum { LOG_PARTS = 4 };

typedef struct entry {
    batch *b;          /* NULL: a failure, after which nothing passes, a piece of the log, or a mark alone */
    row_block *block;  /* on the way into a piece, in place of the batch */
    log_piece piece;
    bool logged;       /* it has one, */
    bool writing;      /* which somebody writes, */
    bool given_up;     /* and frees then */
    uint32_t *rows, n; /* those of it that go on; NULL: all, which are n */
    uint64_t number;   /* of its first row among those that passed */
    uint32_t partition;
    uint64_t arrived_ns;
    int64_t own, others; /* watermarks that held before, see reader */
    mark after;
    struct entry *next;
    bool failed;
    bool stamped;      /* own, others, after.watermark are set */
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
    bool stamping;      /* a batch has its stamp, and is not in the list yet */
    int timer;          /* -1: there is none */
    watch_id timer_watch;
    bool ended;         /* nothing more will come in */
    bool refused;       /* somebody was told to wait */
    entry *open;        /* the piece that grows, if it is the last entry */
    size_t n_pieces;
    bool stuck, warned; /* the disk takes no more; that was said */
    bool *needed;
    uint32_t n_columns;
    atomic_bool satisfied;
    disk_log *log;
    pthread_mutex_t source_lock; /* of what follows */
    entry *unpacking;   /* the piece whose batches come next */
    unsigned owners; /* the sink and the source */
} queue;

typedef struct queue_writer {
    sink_writer writer;
} queue_writer;

typedef struct queue_reader {
    reader reader;
    const queue *q;
    entry *e; /* NULL: given away */
} queue_reader;

static queue *of_sink(sink *s) { return (queue *)((char *)s - offsetof(queue, sink)); }
static queue *of_source(source *s) { return (queue *)((char *)s - offsetof(queue, source)); }

static void entry_free(const queue *q, entry *e) {
    batch_unref(e->b);
    if (e->logged) log_piece_clear(q->log, &e->piece);
    row_block_free(e->block);
    free(e->rows);
    free(e);
}

/* ---- the sequencer's callbacks ---- */

static size_t bytes_of(const entry *e) { return e->b ? batch_bytes(e->b) : e->logged ? e->piece.bytes : 0; }

static void append(queue *q, entry *e) {
    e->next = NULL;
    e->number = q->rows_passed;
    if (!e->stamped) e->own = e->others = q->last.watermark;
    else if (e->after.watermark > q->last.watermark) q->last.watermark = e->after.watermark;
    e->after = q->last;
    q->rows_passed += e->n;
    q->bytes += bytes_of(e);
    *q->end = e;
    q->end = &e->next;
    q->open = NULL;
    if (e->failed || q->rows_passed >= q->options.rows_max) atomic_store(&q->satisfied, true);
}

/* At the end of the last piece, or as a new one. */
static void append_block(queue *q, entry *e) {
    row_block *block = e->block;
    size_t bytes = row_block_bytes(block);
    e->block = NULL;
    if (q->open) {
        free(e);
        e = q->open;
        q->rows_passed += block->n;
    } else {
        e->logged = true;
        log_piece_init(&e->piece);
        append(q, e);
        q->open = e;
        q->n_pieces++;
    }
    log_piece_add(&e->piece, block);
    q->bytes += bytes;
}

static tw_status pick_rows(queue *q, entry *e, tw_error *err) {
    if (e->block) return TW_OK;
    e->n = e->b ? e->b->rows : 0;
    if (e->b && q->options.stamp) {
        pthread_mutex_lock(&q->lock);
        e->after.watermark = q->options.stamp(q->options.context, e->b, e->partition, &e->own, &e->others);
        q->stamping = true;
        pthread_mutex_unlock(&q->lock);
        e->stamped = true;
    }
    if (!e->b || !q->options.pick) return TW_OK;
    e->rows = malloc(e->n * sizeof *e->rows);
    if (!e->rows) return error_set(err, TW_ERR_MEMORY, "out of memory for a queue");
    queue_times at = {e->partition, e->own, e->others};
    TRY(q->options.pick(q->options.context, q->run, e->b, &at, e->rows, &e->n, err));
    if (e->n < e->b->rows) return TW_OK;
    free(e->rows);
    e->rows = NULL;
    return TW_OK;
}

static tw_status place(void *context, void *item, tw_error *err) {
    queue *q = context;
    entry *e = item, *unwanted = NULL;
    batch *dropped = NULL;
    TRY(pick_rows(q, e, err));
    if (e->b && e->n == 0 && !e->stamped) {
        entry_free(q, e);
        return TW_OK;
    }
    if (e->b && e->n == 0) { /* its mark goes on */
        batch_unref(e->b);
        e->b = NULL;
    }
    pthread_mutex_lock(&q->lock);
    q->stamping = false;
    uint64_t left = atomic_load(&q->satisfied) ? 0 : q->options.rows_max - q->rows_passed;
    tw_status status = TW_OK;
    if (left == 0) {
        unwanted = e;
    } else if (e->block) {
        append_block(q, e);
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
    if (unwanted) entry_free(q, unwanted);
    if (status == TW_OK) run_wake(q->run);
    return status;
}

static void drop(void *context, void *item) { entry_free(context, item); }

/* ---- the log on disk ---- */

/* Whether what comes now waits behind what nobody has had time for. */
static bool overflows(queue *q) {
    if (!q->log) return false;
    pthread_mutex_lock(&q->lock);
    bool over = q->n_pieces || q->bytes >= q->bytes_max / LOG_PARTS;
    pthread_mutex_unlock(&q->lock);
    return over;
}

/* Writes the last piece if it is large enough. A disk that takes no more slows down the source, as a queue without a log
 * does, until what is on it is read. */
static void write_log(queue *q) {
    pthread_mutex_lock(&q->lock);
    entry *e = q->open;
    if (!e || q->stuck || e->piece.bytes < q->bytes_max / LOG_PARTS) {
        pthread_mutex_unlock(&q->lock);
        return;
    }
    q->open = NULL;
    e->writing = true;
    pthread_mutex_unlock(&q->lock);
    frame_place place;
    tw_error err = {0};
    row_block *written = NULL;
    tw_status status = disk_log_write(q->log, &e->piece, &place, &err);
    pthread_mutex_lock(&q->lock);
    e->writing = false;
    bool warns = status != TW_OK && !q->warned, given_up = e->given_up;
    if (status == TW_OK) {
        if (!given_up) q->bytes -= e->piece.bytes;
        written = log_piece_stored(&e->piece, place);
    } else {
        q->stuck = q->warned = true;
    }
    pthread_mutex_unlock(&q->lock);
    row_blocks_free(written);
    if (given_up) entry_free(q, e);
    if (warns) run_log(q->run, TW_LOG_WARNING, "overflow: %s; the source is slowed until what waits there is worked off", err.message);
    run_wake(q->run);
}

/* The next batch of the piece; TW_END: there is none, and the piece is gone. */
static tw_status unpack(queue *q, entry **out, tw_error *err) {
    entry *from = q->unpacking, *e = calloc(1, sizeof *e);
    if (!e) return error_set(err, TW_ERR_MEMORY, "out of memory for a queue");
    tw_status status = disk_log_next(q->log, &from->piece, &e->b, &e->partition, err);
    if (status != TW_OK) {
        free(e);
        if (status != TW_END) return status;
        entry_free(q, from);
        q->unpacking = NULL;
        return TW_END;
    }
    e->n = e->b->rows;
    e->number = e->b->position = from->number;
    e->own = from->own;
    e->others = from->others;
    e->after = from->after;
    e->arrived_ns = from->arrived_ns;
    from->number += e->n;
    *out = e;
    return TW_OK;
}

/* ---- time goes on without rows ---- */

/* With the lock held. */
static bool tick(queue *q) {
    entry *e = q->stamping || q->ended || atomic_load(&q->satisfied) ? NULL : calloc(1, sizeof *e);
    if (!e) return false; /* another time */
    int64_t watermark = q->options.tick(q->options.context, clock_ns());
    if (watermark <= q->last.watermark) {
        free(e);
        return false;
    }
    q->last.watermark = watermark;
    append(q, e);
    return true;
}

static void on_timer(void *context, uint32_t events) {
    queue *q = context;
    uint64_t times;
    tw_error err;
    pthread_mutex_lock(&q->lock);
    bool moved = read(q->timer, &times, sizeof times) == sizeof times && tick(q);
    pthread_mutex_unlock(&q->lock);
    (void)poller_rearm(q->run->poller, q->timer_watch, EPOLLIN, &err);
    if (moved) run_wake(q->run);
}

static tw_status start_timer(queue *q, tw_error *err) {
    uint64_t ns = q->options.tick_ns;
    struct timespec every = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    q->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (q->timer < 0 || timerfd_settime(q->timer, 0, &(struct itimerspec){every, every}, NULL) != 0)
        return error_io(err, errno, "cannot make a timer");
    return poller_add(q->run->poller, q->timer, EPOLLIN, on_timer, q, &q->timer_watch, err);
}

/* ---- the sink ---- */

static tw_status queue_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    queue *q = of_sink(self);
    q->run = run;
    bool logs = q->options.logs != NULL;
    size_t bytes_max = memory_limit(run->memory) / (logs ? 8 : 32), most = logs ? LOGGED_BYTES_MAX : QUEUE_BYTES_MAX;
    q->bytes_max = bytes_max < most ? bytes_max : most;
    if (q->options.start) TRY(q->options.start(q->options.context, run, err));
    if (q->options.tick_ns) TRY(start_timer(q, err));
    if (logs) TRY(disk_log_create(q->options.logs, q->needed, run, &q->log, err));
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
static tw_status cut(queue *q, batch *b, const batch_order *order, uint32_t piece, entry **out, tw_error *err) {
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
        e->partition = order->partition;
        e->arrived_ns = order->arrived_ns;
        if (n == b->rows) e->b = batch_ref(b);
        else status = batch_slice(q->run->memory, b, first, n, &e->b, err);
    }
    while (status != TW_OK && *out) {
        entry *e = *out;
        *out = e->next;
        entry_free(q, e);
    }
    return status;
}

static tw_status push_block(queue *q, const batch_order *order, const batch *b, tw_error *err) {
    entry *e = calloc(1, sizeof *e);
    if (!e) return error_set(err, TW_ERR_MEMORY, "out of memory for a queue");
    e->n = b->rows;
    e->arrived_ns = order->arrived_ns;
    tw_status status = disk_log_encode(q->log, b, order->partition, &e->block, err);
    if (status != TW_OK) {
        entry_free(q, e);
        return status;
    }
    TRY(sequencer_push(q->order, order, e, row_block_bytes(e->block), err));
    write_log(q);
    return TW_OK;
}

static tw_status queue_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    queue *q = of_sink(w->sink);
    if (overflows(q)) return push_block(q, order, b, err);
    uint32_t piece = q->options.piece_rows ? q->options.piece_rows : b->rows;
    entry *chain;
    TRY(cut(q, b, order, piece, &chain, err));
    tw_status status = TW_OK;
    for (bool taken = false; chain; taken = true) {
        entry *e = chain;
        chain = e->next;
        if (status == TW_OK) status = sequencer_push(q->order, order, e, batch_bytes(e->b), err);
        else entry_free(q, e);
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
    if (q->options.finish) TRY(q->options.finish(q->options.context, err));
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
        if (e->writing) e->given_up = true;
        else entry_free(q, e);
    }
    q->end = &q->first;
    q->open = NULL;
}

static void queue_release(queue *q) {
    if (--q->owners) return;
    if (q->timer_watch) poller_remove(q->run->poller, q->timer_watch);
    if (q->timer >= 0) close(q->timer);
    clear(q);
    if (q->unpacking) entry_free(q, q->unpacking);
    sequencer_free(q->order);
    disk_log_free(q->log);
    schema_unref(q->options.logs);
    pthread_mutex_destroy(&q->lock);
    pthread_mutex_destroy(&q->source_lock);
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
    else if (q->options.logs)
        snprintf(out, capacity, "what workers have no time for waits in a log on disk, which ends with the run");
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
    if (e->rows) TRY(batch_pick(r->q->run->memory, e->b, e->rows, NULL, e->n, out, err));
    else *out = batch_ref(e->b);
    r->e = NULL;
    entry_free(r->q, e);
    return TW_OK;
}

static void queue_reader_free(reader *self) {
    queue_reader *r = (queue_reader *)self;
    if (r->e) entry_free(r->q, r->e);
    free(r);
}

static const reader_class queue_reader_class = {.next = queue_next, .free = queue_reader_free};

/* Takes the first entry off the list. STATUS_WAIT, TW_END: there is none. */
static tw_status take_first(queue *q, entry **out) {
    pthread_mutex_lock(&q->lock);
    entry *e = q->first;
    bool there = e && !e->writing, ended = !e && q->ended;
    if (there) {
        q->first = e->next;
        if (!q->first) q->end = &q->first;
        if (q->open == e) q->open = NULL;
        q->bytes -= bytes_of(e);
        q->n_pieces -= e->logged;
        q->stuck &= !e->logged;
        q->warned &= q->n_pieces > 0;
    }
    bool room = q->refused && q->bytes <= q->bytes_max / 2; /* so that it pays to come back */
    if (room) q->refused = false;
    pthread_mutex_unlock(&q->lock);
    if (room) run_wake(q->run);
    *out = e;
    return there ? TW_OK : ended ? TW_END : STATUS_WAIT;
}

static tw_status take_next(queue *q, entry **out, tw_error *err) {
    for (;;) {
        tw_status status = q->unpacking ? unpack(q, out, err) : TW_END;
        if (status != TW_END) return status;
        TRY(take_first(q, out));
        if (!(*out)->logged) return TW_OK;
        q->unpacking = *out;
    }
}

static tw_status queue_source_open(source *self, uint64_t split, reader **out, tw_error *err) {
    queue *q = of_source(self);
    queue_reader *r = calloc(1, sizeof *r);
    if (!r) return error_set(err, TW_ERR_MEMORY, "out of memory for a queue");
    entry *e = NULL;
    if (q->log) pthread_mutex_lock(&q->source_lock);
    tw_status status = take_next(q, &e, err);
    if (q->log) pthread_mutex_unlock(&q->source_lock);
    if (status != TW_OK) {
        free(r);
        return status;
    }
    r->reader = (reader){.class = &queue_reader_class, .position = e->number, .spread = POSITION_SPREAD,
                         .partition = e->partition, .own = e->own, .others = e->others, .after = e->after, .arrived_ns = e->arrived_ns};
    r->q = q;
    r->e = e;
    *out = &r->reader;
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
    q->timer = -1;
    q->owners = 2;
    q->satisfied = options.rows_max == 0;
    if (options.logs) schema_ref(options.logs);
    pthread_mutex_init(&q->lock, NULL);
    pthread_mutex_init(&q->source_lock, NULL);
    q->sink = (sink){.class = &queue_sink_class, .name = options.name, .keeps_state = options.keeps_state,
                     .absorbs = options.logs != NULL, .may_spill = options.logs != NULL};
    q->source = (source){.class = &queue_source_class, .name = options.name, .live = true, .ends = options.rows_max != UINT64_MAX};
    *out_sink = &q->sink;
    *out_source = &q->source;
    return TW_OK;
}
