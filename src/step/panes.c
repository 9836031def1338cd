#include "step/panes.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "engine/checkpoint.h"
#include "engine/poller.h"

#define ONE_PANE 0 /* in place of an end, where there is one pane only: of all sessions, of running results */

/* How long sessions that have ended may wait for others, so that not all are looked at again and again: */
enum {
    SESSIONS_ALWAYS = 4096, /* not at all, if there are so few; */
    SESSIONS_STEPS = 32,    /* a part of the gap */
};

/* One lane's side of one window; the pane's. */
typedef struct pane_writer {
    sink_writer *inner;
    struct pane_writer *next;
} pane_writer;

typedef struct pane {
    int64_t end;
    group_ends ends;
    pane_writer *writers;
    uint64_t n_splits, next_split; /* once closed */
    uint32_t readers;
    mark after;                    /* what holds when it has been read */
    struct pane *next;
} pane;

typedef struct panes {
    sink sink;
    source source;
    panes_options options;
    run_context *run;
    pthread_mutex_t lock;
    pane *open;            /* by their ends */
    pane *closed, **last;  /* to be read */
    atomic_int_fast64_t passed; /* the watermark: panes up to it are closed */
    mark told;
    bool ended;
    uint64_t sessions_left; /* after the last look at them */
    int64_t updates;        /* how often running results were given */
    pthread_mutex_t taking; /* by who gives them, or saves */
    atomic_bool due;        /* somebody is to give them */
    int timer;              /* -1: there is none */
    watch_id timer_watch;
    bool *needed;
    unsigned owners;
} panes;

static panes *of_sink(sink *s) { return (panes *)((char *)s - offsetof(panes, sink)); }
static panes *of_source(source *s) { return (panes *)((char *)s - offsetof(panes, source)); }

static tw_status no_memory(const panes *p, tw_error *err) {
    return error_set(err, TW_ERR_MEMORY, "out of memory for %s", p->options.name);
}

/* ---- panes ---- */

static void free_ends(group_ends *e) {
    if (e->source) e->source->class->free(e->source);
    if (e->pair_source) e->pair_source->class->free(e->pair_source);
    if (e->pair_sink) e->pair_sink->class->free(e->pair_sink);
    if (e->sink) e->sink->class->free(e->sink);
    schema_unref(e->pairs);
}

static void pane_free(pane *p) {
    while (p->writers) {
        pane_writer *w = p->writers;
        p->writers = w->next;
        if (w->inner) w->inner->sink->class->drop(w->inner);
        free(w);
    }
    free_ends(&p->ends);
    free(p);
}

static void panes_free_list(pane *p) {
    while (p) {
        pane *next = p->next;
        pane_free(p);
        p = next;
    }
}

static void prune_instance(const panes *p, source *s) {
    bool *needed = malloc(p->options.out->n);
    uint32_t n = 0;
    if (!s->class->prune || !needed) {
        free(needed);
        return; /* more than is needed does no harm */
    }
    for (uint32_t i = 0; i < p->options.out->n; i++)
        if (p->options.sessions || (i != p->options.start_at && i != p->options.end_at)) needed[n++] = p->needed[i];
    s->class->prune(s, needed);
    free(needed);
}

static tw_status pane_new(panes *p, int64_t end, pane **out, tw_error *err) {
    pane *fresh = calloc(1, sizeof *fresh);
    if (!fresh) return no_memory(p, err);
    fresh->end = end;
    tw_status status = p->options.make(p->options.context, &fresh->ends, err);
    if (status == TW_OK) {
        prune_instance(p, fresh->ends.source);
        status = fresh->ends.sink->class->start(fresh->ends.sink, p->run, 1, err);
    }
    if (status == TW_OK && fresh->ends.pair_sink)
        status = fresh->ends.pair_sink->class->start(fresh->ends.pair_sink, p->run, 1, err);
    if (status != TW_OK) pane_free(fresh);
    else *out = fresh;
    return status;
}

/* ---- writers ---- */

typedef struct slot {
    int64_t end;
    sink_writer *inner; /* the pane's; gone when the watermark has passed `end` */
} slot;

typedef struct panes_writer {
    sink_writer writer;
    slot *slots;
    uint32_t n, capacity;
} panes_writer;

static tw_status panes_open(sink *self, sink_writer **out, tw_error *err) {
    panes_writer *w = calloc(1, sizeof *w);
    if (!w) return no_memory(of_sink(self), err);
    w->writer.sink = self;
    *out = &w->writer;
    return TW_OK;
}

static void panes_drop(sink_writer *writer) {
    free(((panes_writer *)writer)->slots);
    free(writer);
}

static tw_status panes_close(sink_writer *writer, tw_error *err) {
    panes_drop(writer);
    return TW_OK;
}

/* With the lock. */
static tw_status find_pane(panes *p, int64_t end, pane **out, tw_error *err) {
    pane **at = &p->open;
    while (*at && (*at)->end < end) at = &(*at)->next;
    if (!*at || (*at)->end != end) {
        pane *fresh = NULL;
        TRY(pane_new(p, end, &fresh, err));
        fresh->next = *at;
        *at = fresh;
    }
    *out = *at;
    return TW_OK;
}

static tw_status join_pane(panes *p, int64_t end, sink_writer **out, tw_error *err) {
    pane *found;
    pane_writer *w = calloc(1, sizeof *w);
    if (!w) return no_memory(p, err);
    pthread_mutex_lock(&p->lock);
    tw_status status = find_pane(p, end, &found, err);
    if (status == TW_OK) status = found->ends.sink->class->open(found->ends.sink, &w->inner, err);
    if (status == TW_OK) {
        w->next = found->writers;
        found->writers = w;
        *out = w->inner;
    }
    pthread_mutex_unlock(&p->lock);
    if (status != TW_OK) free(w);
    return status;
}

static void forget_passed(panes_writer *w, int64_t passed) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < w->n; i++)
        if (w->slots[i].end > passed) w->slots[kept++] = w->slots[i];
    w->n = kept;
}

static tw_status find_writer(panes_writer *w, int64_t end, sink_writer **out, tw_error *err) {
    panes *p = of_sink(w->writer.sink);
    for (uint32_t i = w->n; i-- > 0;)
        if (w->slots[i].end == end) {
            *out = w->slots[i].inner;
            return TW_OK;
        }
    forget_passed(w, atomic_load(&p->passed));
    if (w->n == w->capacity) {
        uint32_t capacity = w->capacity ? 2 * w->capacity : 8;
        slot *bigger = realloc(w->slots, capacity * sizeof *bigger);
        if (!bigger) return no_memory(p, err);
        w->slots = bigger;
        w->capacity = capacity;
    }
    TRY(join_pane(p, end, out, err));
    w->slots[w->n++] = (slot){end, *out};
    return TW_OK;
}

static tw_status push_pane(panes_writer *w, const batch_order *order, batch *b, int64_t end, tw_error *err) {
    sink_writer *inner = NULL;
    TRY(find_writer(w, end, &inner, err));
    return inner->sink->class->push(inner, order, b, err);
}

/* The least end above `above` among the rows; those that have it go into `rows`. */
static int64_t next_end(const int64_t *ends, uint32_t n, int64_t above, uint32_t *rows, uint32_t *count) {
    int64_t least = INT64_MAX;
    for (uint32_t i = 0; i < n; i++)
        if (ends[i] > above && ends[i] < least) least = ends[i];
    *count = 0;
    for (uint32_t i = 0; i < n; i++) {
        rows[*count] = i;
        *count += ends[i] == least;
    }
    return least;
}

static tw_status push_some(panes_writer *w, const batch_order *order, batch *b, const int64_t *ends, tw_error *err) {
    panes *p = of_sink(w->writer.sink);
    buffer *rows;
    uint32_t done = 0, n;
    tw_status status = TW_OK;
    for (int64_t end = INT64_MIN; done < b->rows && status == TW_OK; done += n) {
        batch *some = NULL;
        status = buffer_new(p->run->memory, MEMORY_FLOW, b->rows * sizeof(uint32_t), &rows, err);
        if (status != TW_OK) return status == TW_ERR_MEMORY && done ? TW_ERR_INTERNAL : status; /* some rows are in */
        end = next_end(ends, b->rows, end, (uint32_t *)(void *)rows->data, &n);
        status = batch_pick(p->run->memory, b, (uint32_t *)(void *)rows->data, rows, n, &some, err);
        if (status == TW_OK) status = push_pane(w, order, some, end, err);
        batch_unref(some);
        buffer_unref(rows);
        if (status == TW_ERR_MEMORY && done) status = TW_ERR_INTERNAL; /* some rows are in */
    }
    return status;
}

static tw_status panes_push(sink_writer *writer, const batch_order *order, batch *b, tw_error *err) {
    panes_writer *w = (panes_writer *)writer;
    if (of_sink(writer->sink)->options.end_column == NO_END_COLUMN) return push_pane(w, order, b, ONE_PANE, err);
    const int64_t *ends = b->columns[of_sink(writer->sink)->options.end_column].values;
    bool same = true;
    for (uint32_t i = 1; i < b->rows; i++) same &= ends[i] == ends[0];
    return same ? push_pane(w, order, b, ends[0], err) : push_some(w, order, b, ends, err);
}

/* ---- closing ---- */

/* The pass between two halves of an instance (count_distinct), by this worker alone. */
static tw_status pass_rows(panes *p, source *from, sink *to, tw_error *err) {
    uint64_t n_splits;
    batch_order order = {0};
    sink_writer *w;
    TRY(from->class->start(from, p->run, &n_splits, err));
    TRY(to->class->open(to, &w, err));
    tw_status status = TW_OK;
    for (; order.split < n_splits && status == TW_OK; order.split++) {
        reader *r;
        status = from->class->open(from, order.split, &r, err);
        if (status != TW_OK) break;
        for (batch *b; (status = r->class->next(r, &b, err)) == TW_OK;) {
            order.position = r->position;
            status = to->class->push(w, &order, b, err);
            batch_unref(b);
            if (status != TW_OK) break;
        }
        r->class->free(r);
        if (status == TW_END) status = TW_OK;
    }
    if (status == TW_OK) status = to->class->close(w, err);
    if (status != TW_OK) to->class->drop(w);
    else status = to->class->finish(to, err);
    return status;
}

/* All its rows are in. */
static tw_status pane_close(panes *p, pane *c, tw_error *err) {
    group_ends *e = &c->ends;
    while (c->writers) {
        pane_writer *w = c->writers;
        TRY(e->sink->class->close(w->inner, err));
        c->writers = w->next;
        free(w);
    }
    TRY(e->sink->class->finish(e->sink, err));
    if (e->pair_sink) TRY(pass_rows(p, e->pair_source, e->pair_sink, err));
    return e->source->class->start(e->source, p->run, &c->n_splits, err);
}

/* No rows will come; it is to be read. Frees it when it fails. */
static tw_status give_pane(panes *p, pane *c, tw_error *err) {
    tw_status status = pane_close(p, c, err);
    if (status != TW_OK) {
        pane_free(c);
        return status;
    }
    pthread_mutex_lock(&p->lock);
    c->next = NULL;
    c->after = p->told;
    *p->last = c;
    p->last = &c->next;
    pthread_mutex_unlock(&p->lock);
    return TW_OK;
}

/* Sessions that have ended get a pane of their own. A look at all of them waits for the watermark to come some way, or for the
 * end of the epoch, when there are many; to->watermark stays where it was then. */
static tw_status take_sessions(panes *p, mark *to, tw_error *err) {
    pthread_mutex_lock(&p->lock);
    pane *open = p->open, *fresh = NULL;
    pthread_mutex_unlock(&p->lock);
    if (!open || !group_sessions_due(open->ends.sink, to->watermark)) return TW_OK;
    uint64_t come = (uint64_t)to->watermark - (uint64_t)p->told.watermark, step = (uint64_t)p->options.size_us / SESSIONS_STEPS;
    if (p->sessions_left > SESSIONS_ALWAYS && to->epoch == p->told.epoch && come < step) {
        to->watermark = p->told.watermark;
        return TW_OK;
    }
    TRY(pane_new(p, ONE_PANE, &fresh, err));
    uint64_t taken = 0;
    tw_status status = group_sessions_take(open->ends.sink, to->watermark, fresh->ends.sink, &taken, &p->sessions_left, err);
    if (status == TW_OK && taken) return give_pane(p, fresh, err);
    pane_free(fresh);
    return status;
}

/* What has changed since the last time, in a pane that has its number for an end. */
static tw_status give_updates(panes *p, tw_error *err) {
    pthread_mutex_lock(&p->lock);
    pane *open = p->open, *fresh = NULL;
    pthread_mutex_unlock(&p->lock);
    if (!open) return TW_OK;
    uint64_t taken = 0;
    TRY(pane_new(p, p->updates + 1, &fresh, err));
    tw_status status = group_updates_take(open->ends.sink, fresh->ends.sink, &taken, err);
    if (status == TW_OK && taken) {
        p->updates++;
        return give_pane(p, fresh, err);
    }
    pane_free(fresh);
    return status;
}

static tw_status take_updates(panes *p, tw_error *err) {
    pthread_mutex_lock(&p->taking);
    tw_status status = give_updates(p, err);
    pthread_mutex_unlock(&p->taking);
    return status == TW_ERR_MEMORY ? TW_ERR_INTERNAL : status; /* some have been taken */
}

static tw_status close_until(panes *p, mark *to, tw_error *err) {
    if (p->options.running) return take_updates(p, err);
    if (p->options.sessions && to->watermark != WATERMARK_END) return take_sessions(p, to, err);
    for (;;) {
        pthread_mutex_lock(&p->lock);
        pane *c = p->open;
        if (c && c->end <= to->watermark) p->open = c->next;
        else c = NULL;
        pthread_mutex_unlock(&p->lock);
        if (!c) return TW_OK;
        TRY(give_pane(p, c, err));
    }
}

static tw_status panes_advance(sink *self, mark to, tw_error *err) {
    panes *p = of_sink(self);
    pane *end = calloc(1, sizeof *end); /* no window: the mark alone, behind those that it closes */
    if (!end) return no_memory(p, err);
    atomic_store(&p->passed, to.watermark);
    tw_status status = close_until(p, &to, err);
    if (status != TW_OK) {
        free(end);
        return status;
    }
    pthread_mutex_lock(&p->lock);
    p->told = end->after = to;
    *p->last = end;
    p->last = &end->next;
    pthread_mutex_unlock(&p->lock);
    run_wake(p->run);
    return TW_OK;
}

/* The end of the flow passes all windows. */
static tw_status panes_finish(sink *self, tw_error *err) {
    panes *p = of_sink(self);
    TRY(close_until(p, &(mark){.watermark = WATERMARK_END, .epoch = p->told.epoch}, err));
    pthread_mutex_lock(&p->lock);
    p->ended = true;
    pthread_mutex_unlock(&p->lock);
    run_wake(p->run);
    return TW_OK;
}

/* ---- going on after a stop ---- */

/* Windows that are closed are read before the epoch has passed, and saved no more. */
static tw_status save_panes(panes *p, saved_part *to, tw_error *err) {
    TRY(part_put_int(to, "watermark", p->told.watermark, err));
    if (p->options.running) TRY(part_put_int(to, "updates", p->updates, err));
    for (pane *c = p->open; c; c = c->next) { /* nobody pushes, and nobody else advances */
        TRY(group_state_save(c->ends.sink, to, c->end, err));
        for (pane_writer *w = c->writers; w; w = w->next) TRY(group_writer_save(w->inner, to, c->end, err));
    }
    return TW_OK;
}

static tw_status panes_save(sink *self, saved_part *to, tw_error *err) {
    panes *p = of_sink(self);
    pthread_mutex_lock(&p->taking);
    tw_status status = save_panes(p, to, err);
    pthread_mutex_unlock(&p->taking);
    return status;
}

static tw_status panes_load(sink *self, const saved_part *from, tw_error *err) {
    panes *p = of_sink(self);
    p->told.watermark = part_get_int(from, "watermark", WATERMARK_NONE);
    p->updates = part_get_int(from, "updates", 0);
    atomic_store(&p->passed, p->told.watermark);
    for (uint32_t i = 0; i < part_frames(from); i++) {
        int64_t tag = part_frame_tag(from, i), store = tag % GROUP_STORES_MAX;
        if (store < 0) store += GROUP_STORES_MAX;
        pane *c;
        TRY(find_pane(p, (tag - store) / GROUP_STORES_MAX, &c, err));
        TRY(group_state_load(c->ends.sink, from, i, (uint32_t)store, err));
    }
    return TW_OK;
}

static void panes_shape(const sink *self, char *out, size_t capacity) {
    const panes *p = of_sink((sink *)self);
    const char *what = p->options.sessions ? "sessions with a gap" : "windows";
    if (p->options.running) snprintf(out, capacity, "running results; %s", p->options.shape);
    else snprintf(out, capacity, "%s of %.6g s; %s", what, (double)p->options.size_us * 1e-6, p->options.shape);
}

static void on_timer(void *context, uint32_t events) {
    panes *p = context;
    uint64_t times;
    tw_error err;
    bool rang = read(p->timer, &times, sizeof times) == sizeof times;
    if (rang) atomic_store(&p->due, true);
    (void)poller_rearm(p->run->poller, p->timer_watch, EPOLLIN, &err);
    if (rang) run_wake(p->run);
}

static tw_status start_timer(panes *p, tw_error *err) {
    struct timespec every = {p->options.size_us / 1000000, p->options.size_us % 1000000 * 1000};
    p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (p->timer < 0 || timerfd_settime(p->timer, 0, &(struct itimerspec){every, every}, NULL) != 0)
        return error_io(err, errno, "cannot make a timer");
    return poller_add(p->run->poller, p->timer, EPOLLIN, on_timer, p, &p->timer_watch, err);
}

static tw_status panes_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    panes *p = of_sink(self);
    p->run = run;
    return p->options.running ? start_timer(p, err) : TW_OK;
}

static void panes_describe(const sink *self, char *out, size_t capacity) {
    const panes_options *o = &of_sink((sink *)self)->options;
    if (o->running) snprintf(out, capacity, "all groups in memory; those that changed, every %.6g s", (double)o->size_us * 1e-6);
    else snprintf(out, capacity, o->sessions ? "sessions with a gap of %.6g s, until the watermark passes them"
                                        : "a state for each window of %.6g s, until the watermark passes it", (double)o->size_us * 1e-6);
}

static void panes_release(panes *p) {
    if (--p->owners) return;
    if (p->timer_watch) poller_remove(p->run->poller, p->timer_watch);
    if (p->timer >= 0) close(p->timer);
    pthread_mutex_destroy(&p->taking);
    panes_free_list(p->open);
    panes_free_list(p->closed);
    pthread_mutex_destroy(&p->lock);
    if (p->options.free) p->options.free(p->options.context);
    schema_unref(p->options.out);
    free(p->options.shape);
    free(p->needed);
    free(p);
}
static void panes_free_sink(sink *self) { panes_release(of_sink(self)); }

/* ---- the source ---- */

typedef struct panes_reader {
    reader reader;
    panes *panes;
    pane *pane;    /* NULL: a mark alone */
    reader *inner;
} panes_reader;

static tw_status panes_source_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    *n_splits = UINT64_MAX;
    return TW_OK;
}

static tw_status constant(panes *p, uint32_t at, int64_t value, uint32_t n, column *out, tw_error *err) {
    const type *t = p->options.out->fields[at].type;
    *out = (column){.type = t, .rows = n};
    if (!p->needed[at]) return TW_OK;
    TRY(column_new(p->run->memory, t, n, out, err));
    for (uint32_t i = 0; i < n; i++) ((int64_t *)out->values)[i] = value;
    return TW_OK;
}

static tw_status panes_next(reader *self, batch **out, tw_error *err) {
    panes_reader *r = (panes_reader *)self;
    panes *p = r->panes;
    const panes_options *o = &p->options;
    batch *inner, *b;
    if (!r->inner) return TW_END;
    if (o->sessions) return r->inner->class->next(r->inner, out, err);
    TRY(r->inner->class->next(r->inner, &inner, err));
    tw_status status = batch_new(o->out, inner->rows, &b, err);
    for (uint32_t i = 0, from = 0; i < o->out->n && status == TW_OK; i++) {
        column *c = &b->columns[i];
        if (i == o->start_at) status = constant(p, i, r->pane->end - o->size_us, b->rows, c, err);
        else if (i == o->end_at) status = constant(p, i, r->pane->end, b->rows, c, err);
        else column_share(&inner->columns[from++], c);
    }
    batch_unref(inner);
    /* The instance's rows are gone from it: a call again would skip them. */
    if (status == TW_OK) *out = b;
    else status = TW_ERR_INTERNAL;
    return status;
}

static void panes_reader_free(reader *self) {
    panes_reader *r = (panes_reader *)self;
    panes *p = r->panes;
    if (r->inner) r->inner->class->free(r->inner);
    if (r->pane) {
        pthread_mutex_lock(&p->lock);
        bool over = --r->pane->readers == 0 && r->pane->next_split == r->pane->n_splits;
        /* Else the list's head still points to it, and open takes it off. */
        over = over && p->closed != r->pane;
        pthread_mutex_unlock(&p->lock);
        if (over) pane_free(r->pane);
    }
    free(r);
}

static const reader_class panes_reader_class = {.next = panes_next, .free = panes_reader_free};

/* The first closed pane with splits left, or a mark, which is the caller's then; NULL: there is none. Called by one
 * worker at a time. */
static pane *next_to_read(panes *p, bool *is_mark) {
    pane *over = NULL, *c;
    pthread_mutex_lock(&p->lock);
    while ((c = p->closed)) {
        *is_mark = !c->ends.source;
        if (!*is_mark && c->next_split < c->n_splits) break;
        p->closed = c->next;
        if (!p->closed) p->last = &p->closed;
        if (*is_mark) break;
        if (!c->readers) c->next = over, over = c;
    }
    if (c && !*is_mark) c->readers++;
    pthread_mutex_unlock(&p->lock);
    panes_free_list(over);
    return c;
}

static tw_status panes_source_open(source *self, uint64_t split, reader **out, tw_error *err) {
    panes *p = of_source(self);
    if (atomic_exchange(&p->due, false)) TRY(take_updates(p, err));
    panes_reader *r = calloc(1, sizeof *r);
    if (!r) return no_memory(p, err);
    bool is_mark = false;
    pane *c = next_to_read(p, &is_mark);
    if (!c) {
        free(r);
        pthread_mutex_lock(&p->lock);
        bool ended = p->ended && !p->closed;
        pthread_mutex_unlock(&p->lock);
        return ended ? TW_END : STATUS_WAIT;
    }
    r->reader = (reader){.class = &panes_reader_class, .position = split << 32, .after = c->after};
    r->panes = p;
    *out = &r->reader;
    if (is_mark) {
        pane_free(c);
        return TW_OK;
    }
    r->pane = c;
    source *inner = c->ends.source;
    tw_status status = inner->class->open(inner, c->next_split, &r->inner, err);
    if (status == TW_OK) {
        pthread_mutex_lock(&p->lock);
        c->next_split++;
        pthread_mutex_unlock(&p->lock);
        return TW_OK;
    }
    r->inner = NULL;
    panes_reader_free(&r->reader);
    return status;
}

static void panes_prune(source *self, const bool *needed) {
    panes *p = of_source(self);
    memcpy(p->needed, needed, p->options.out->n * sizeof *needed);
}
static void panes_free_source(source *self) { panes_release(of_source(self)); }

static const sink_class panes_sink_class = {
    .start = panes_start,
    .open = panes_open,
    .push = panes_push,
    .advance = panes_advance,
    .save = panes_save,
    .load = panes_load,
    .shape = panes_shape,
    .close = panes_close,
    .drop = panes_drop,
    .finish = panes_finish,
    .describe = panes_describe,
    .free = panes_free_sink,
};
static const source_class panes_source_class = {
    .start = panes_source_start,
    .open = panes_source_open,
    .prune = panes_prune,
    .free = panes_free_source,
};

tw_status panes_create(const panes_options *options, sink **out_sink, source **out_source, tw_error *err) {
    panes *p = calloc(1, sizeof *p);
    bool *needed = malloc(options->out->n);
    if (!p || !needed) {
        free(p);
        free(needed);
        if (options->free) options->free(options->context);
        free(options->shape);
        return error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    }
    memset(needed, 1, options->out->n);
    p->options = *options;
    schema_ref(p->options.out);
    p->needed = needed;
    p->last = &p->closed;
    p->told.watermark = WATERMARK_NONE;
    p->owners = 2;
    atomic_init(&p->passed, WATERMARK_NONE);
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->taking, NULL);
    atomic_init(&p->due, false);
    p->timer = -1;
    p->sink = (sink){.class = &panes_sink_class, .name = options->name, .may_spill = !options->running, .keeps_state = true};
    p->source = (source){.class = &panes_source_class, .name = options->name, .live = true};
    *out_sink = &p->sink;
    *out_source = &p->source;
    return TW_OK;
}
