#include "step/group_state.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/checkpoint.h"
#include "step/group_find.h"
#include "step/group_merge.h"
#include "step/sessions.h"

/* The values of one column that some count_distinct want: groups by (keys, column) without aggregates. */
typedef struct pairs {
    group_store store;
    uint32_t column; /* of the sink's input */
} pairs;

typedef struct group_state {
    sink sink, pair_sink;
    source source, pair_source;
    group_store groups;
    uint32_t n_pairs, n_keys;
    bool has_others;  /* aggregates besides count_distinct, or none at all */
    schema *out, *pair_out;
    bool *needed;
    unsigned owners;
    const session_rule *sessions;  /* NULL: groups are what was added */
    session_rule rule;
    bool chained;                  /* its rows are whole sessions */
    pthread_rwlock_t taking;       /* sessions and running results: held by who adds, and alone by who takes */
    struct group_writer *writers;  /* of sessions */
    atomic_int_fast64_t least_end; /* no session ends before */
    bool running;                  /* groups are taken again and again as they change; all of them are here: */
    group_table kept;              /* initialised once there is a run */
    pairs pairs[];
} group_state;

#define STATE_OF(member, at) ((group_state *)((char *)(at) - offsetof(group_state, member)))

static void state_release(group_state *g) {
    if (--g->owners) return;
    group_store_clear(&g->groups);
    for (uint32_t i = 0; i < g->n_pairs; i++) group_store_clear(&g->pairs[i].store);
    schema_unref(g->out);
    schema_unref(g->pair_out);
    group_table_destroy(&g->kept);
    pthread_rwlock_destroy(&g->taking);
    free(g->needed);
    free(g);
}

/* ---- writers: a table for each lane, or several ---- */

typedef struct group_writer {
    sink_writer writer;
    group_state *state;
    bool has_groups;   /* the first lane is of groups; the others, or all, are of pairs */
    uint32_t n_lanes;
    tw_status failed;  /* for good */
    tw_error error;
    uint64_t *hashes;  /* BATCH_ROWS_MAX */
    column *columns;   /* keys and one more; of sessions all, and one more */
    int64_t *pieces, *behind; /* of sessions: BATCH_ROWS_MAX */
    struct group_writer *next;
    group_lane lanes[];
} group_writer;

static void forget_writer(group_writer *w) {
    group_state *g = w->state;
    pthread_rwlock_wrlock(&g->taking);
    group_writer **at = &g->writers;
    while (*at && *at != w) at = &(*at)->next;
    if (*at) *at = w->next;
    pthread_rwlock_unlock(&g->taking);
}

static void writer_free(group_writer *w) {
    forget_writer(w);
    free(w->pieces);
    for (uint32_t i = 0; i < w->n_lanes; i++) group_lane_clear(&w->lanes[i]);
    free(w->hashes);
    free(w->columns);
    free(w);
}

static tw_status writer_open(sink *self, group_state *g, bool groups, bool of_pairs, sink_writer **out, tw_error *err) {
    uint32_t n = groups + (of_pairs ? g->n_pairs : 0);
    group_writer *w = calloc(1, sizeof *w + n * sizeof *w->lanes);
    if (!w) return error_set(err, TW_ERR_MEMORY, "out of memory for %s", self->name);
    w->writer.sink = self;
    w->state = g;
    w->has_groups = groups;
    w->hashes = calloc(BATCH_ROWS_MAX, sizeof *w->hashes);
    w->columns = calloc(g->n_keys + g->groups.shape->n_aggregates + 1, sizeof *w->columns);
    if (g->sessions) w->pieces = malloc(2 * BATCH_ROWS_MAX * sizeof *w->pieces);
    w->behind = w->pieces + (w->pieces ? BATCH_ROWS_MAX : 0);
    tw_status status = w->hashes && w->columns && (w->pieces || !g->sessions) ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory for %s", self->name);
    for (; w->n_lanes < n && status == TW_OK; w->n_lanes++) {
        group_store *s = groups && w->n_lanes == 0 ? &g->groups : &g->pairs[w->n_lanes - groups].store;
        status = group_lane_init(&w->lanes[w->n_lanes], s, err);
        if (status != TW_OK) break;
    }
    if (status != TW_OK) {
        writer_free(w);
        return status;
    }
    pthread_rwlock_wrlock(&g->taking);
    w->next = g->writers;
    g->writers = w;
    pthread_rwlock_unlock(&g->taking);
    *out = &w->writer;
    return TW_OK;
}

static tw_status add_pairs(group_writer *w, uint32_t lane, const batch *b, tw_error *err) {
    const group_state *g = w->state;
    memcpy(w->columns, b->columns, g->n_keys * sizeof *w->columns);
    w->columns[g->n_keys] = b->columns[g->pairs[lane - w->has_groups].column];
    hash_columns(w->columns, g->n_keys + 1, b->rows, w->hashes);
    return group_lane_add(&w->lanes[lane], &(group_input){.columns = w->columns, .hashes = w->hashes, .n = b->rows}, err);
}

static void lower(atomic_int_fast64_t *least, int64_t to) {
    int_fast64_t now = atomic_load(least);
    while (to < now && !atomic_compare_exchange_weak(least, &now, to)) {}
}

/* Rows of sessions: keys, time, in endless flows the watermark where it was behind that, arguments. */
static tw_status add_fragments(group_writer *w, const batch *b, uint64_t position, tw_error *err) {
    group_state *g = w->state;
    const session_rule *r = g->sessions;
    uint32_t n = b->rows, n_columns = b->schema->n;
    const int64_t *times = b->columns[r->n_keys].values, *behind = b->columns[r->n_keys + 1].values;
    int64_t least = INT64_MAX;
    memcpy(w->columns, b->columns, n_columns * sizeof *w->columns);
    w->columns[n_columns] = b->columns[r->n_keys];
    for (uint32_t i = 0; i < n; i++) {
        w->behind[i] = behind[i] > times[i] ? behind[i] : WATERMARK_NONE;
        if (times[i] < least) least = times[i];
    }
    session_pieces(r, times, n, w->pieces);
    w->columns[r->n_keys] = (column){.type = type_of(TYPE_INT64), .rows = n, .values = w->pieces};
    w->columns[r->n_keys + 1] = (column){.type = type_of(TYPE_INT64), .rows = n, .values = w->behind};
    hash_columns(b->columns, r->n_keys, n, w->hashes);
    session_hashes(w->pieces, w->behind, n, w->hashes);
    lower(&g->least_end, session_end(r, least));
    group_input in = {.columns = w->columns, .hashes = w->hashes, .n = n, .position = position};
    return group_lane_add(&w->lanes[0], &in, err);
}

static tw_status add_batch(group_writer *w, const batch *b, uint64_t position, const column *tags, tw_error *err) {
    const group_state *g = w->state;
    if (g->sessions) return add_fragments(w, b, position, err);
    if (w->has_groups) {
        group_input in = {.columns = b->columns, .hashes = w->hashes, .n = b->rows, .position = position, .tags = tags};
        hash_columns(b->columns, g->n_keys, b->rows, w->hashes);
        TRY(group_lane_add(&w->lanes[0], &in, err));
    }
    for (uint32_t i = w->has_groups; i < w->n_lanes; i++) TRY(add_pairs(w, i, b, err));
    return TW_OK;
}

/* Some rows may be in when it fails: then it fails for good. */
static tw_status writer_add(group_writer *w, const batch *b, uint64_t position, const column *tags, tw_error *err) {
    tw_error error = {0};
    if (w->failed == TW_OK) {
        pthread_rwlock_rdlock(&w->state->taking);
        w->failed = add_batch(w, b, position, tags, &error);
        pthread_rwlock_unlock(&w->state->taking);
        if (w->failed != TW_OK) w->error = error;
    }
    if (w->failed != TW_OK && err) *err = w->error;
    return w->failed;
}

static tw_status group_push(sink_writer *writer, const batch_order *order, batch *b, tw_error *err) {
    return writer_add((group_writer *)writer, b, order->position, NULL, err);
}
static tw_status pair_push(sink_writer *writer, const batch_order *order, batch *b, tw_error *err) {
    group_writer *w = (group_writer *)writer;
    return writer_add(w, b, order->position, &b->columns[w->state->n_keys], err);
}

static void group_drop(sink_writer *writer) { writer_free((group_writer *)writer); }

static tw_status group_close(sink_writer *writer, tw_error *err) {
    group_writer *w = (group_writer *)writer;
    for (uint32_t i = 0; i < w->n_lanes; i++) TRY(group_lane_flush(&w->lanes[i], err));
    writer_free(w);
    return TW_OK;
}

/* ---- the sinks ---- */

static tw_status group_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    group_state *g = STATE_OF(sink, self);
    uint32_t lane_tables = g->n_pairs + 1;
    for (uint32_t i = 0; i < g->n_pairs; i++) TRY(group_store_start(&g->pairs[i].store, run, lane_tables, err));
    TRY(group_store_start(&g->groups, run, lane_tables, err));
    if (g->running) TRY(group_table_init(&g->kept, g->groups.shape, run->memory, memory_limit(run->memory) / 2, err));
    if (!g->sessions) return TW_OK;
    g->groups.depth_max = SESSION_DEPTH_MAX;
    g->groups.merged_bytes_max /= 2; /* the other half is for chaining */
    return TW_OK;
}
static tw_status group_open(sink *self, sink_writer **out, tw_error *err) {
    group_state *g = STATE_OF(sink, self);
    return writer_open(self, g, g->has_others, true, out, err);
}

/* No rows, and no keys: one row all the same. */
static tw_status seal_groups(group_state *g, tw_error *err) {
    TRY(group_store_seal(&g->groups, err));
    if (g->groups.rows == 0 && g->n_keys == 0) g->groups.n_splits = 1;
    return TW_OK;
}
static tw_status group_finish(sink *self, tw_error *err) {
    group_state *g = STATE_OF(sink, self);
    if (g->n_pairs == 0) return seal_groups(g, err);
    for (uint32_t i = 0; i < g->n_pairs; i++) TRY(group_store_seal(&g->pairs[i].store, err));
    return TW_OK;
}
static void group_describe(const sink *self, char *out, size_t capacity) {
    snprintf(out, capacity, "combined in each worker, then by hash into %u partitions", GROUP_PARTITIONS);
}
static void group_free_sink(sink *self) { state_release(STATE_OF(sink, self)); }

static tw_status pair_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) { return TW_OK; }
static tw_status pair_open(sink *self, sink_writer **out, tw_error *err) {
    return writer_open(self, STATE_OF(pair_sink, self), true, false, out, err);
}
static tw_status pair_finish(sink *self, tw_error *err) { return seal_groups(STATE_OF(pair_sink, self), err); }
static void pair_free_sink(sink *self) { state_release(STATE_OF(pair_sink, self)); }

/* ---- the sources ---- */

typedef struct group_reader {
    reader reader;
    group_state *state;
    group_merge *merge;   /* NULL: there were no rows, */
    bool lone_row;        /* and no keys: one row all the same */
    int32_t tag;          /* of pairs */
    const uint8_t **rows; /* run->batch_rows */
    session_list sessions;
    uint32_t given;       /* of them */
    buffer *heap;
} group_reader;

static void group_reader_free(reader *self) {
    group_reader *r = (group_reader *)self;
    session_list_clear(&r->sessions);
    buffer_unref(r->heap);
    group_merge_free(r->merge);
    free(r->rows);
    free(r);
}

static tw_status reader_open(source *self, group_state *g, group_store *s, uint64_t split, const reader_class *class,
                             group_reader **out, tw_error *err) {
    group_reader *r = calloc(1, sizeof *r);
    if (!r) return error_set(err, TW_ERR_MEMORY, "out of memory for %s", self->name);
    r->reader = (reader){.class = class, .position = split << 32};
    r->state = g;
    r->rows = malloc(s->run->batch_rows * sizeof *r->rows);
    tw_status status = r->rows ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory for %s", self->name);
    if (status == TW_OK && s->rows) status = group_merge_open(s, split, &r->merge, err);
    if (status == TW_OK) *out = r;
    else group_reader_free(&r->reader);
    return status;
}

/* Which field or aggregate (from n_keys on) an output column shows; of sessions the window's times too. */
static uint32_t shown(const session_rule *r, uint32_t n_fields, uint32_t column) {
    if (!r) return column;
    if (column == r->start_at) return n_fields - 2;
    if (column == r->end_at) return n_fields - 1;
    column -= (column > r->start_at) + (column > r->end_at);
    return column < r->n_keys ? column : column + SESSION_KEYS;
}

static void add_gap(const session_rule *r, column *ends) {
    int64_t *last = ends->values;
    for (uint32_t i = 0; i < ends->rows; i++) last[i] = session_end(r, last[i]);
}

static tw_status give_groups(group_reader *r, uint32_t n, buffer *heap, batch **out, tw_error *err) {
    group_state *g = r->state;
    const group_shape *s = g->groups.shape;
    memory *m = g->groups.run->memory;
    batch *b;
    TRY(batch_new(g->out, n, &b, err));
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < g->out->n && status == TW_OK; i++) {
        column *c = &b->columns[i];
        uint32_t from = shown(g->sessions, s->n_keys + s->n_aggregates, i);
        const aggregate *a = from < s->n_keys ? NULL : &s->aggregates[from - s->n_keys];
        if (!g->needed[i]) *c = (column){.type = g->out->fields[i].type, .rows = n};
        else if (!a) status = rows_decode(m, s->layout, r->rows, n, from, 1, heap, c, err);
        else status = a->finish(a, m, r->rows, n, heap, c, err);
        if (status == TW_OK && g->sessions && i == g->sessions->end_at && g->needed[i]) add_gap(g->sessions, c);
    }
    if (status != TW_OK) batch_unref(b);
    else *out = b;
    return status;
}

/* In a bounded flow all sessions have ended. */
static tw_status next_sessions(group_reader *r, batch **out, tw_error *err) {
    group_state *g = r->state;
    session_list *l = &r->sessions;
    group_table *t;
    uint64_t complete;
    if (!l->buffer) {
        TRY(group_merge_table(r->merge, &t, &complete, err));
        tw_status status = sessions_chain(g->sessions, t, complete, WATERMARK_END, l, err);
        if (status == TW_OK) status = arena_rows_heap(&t->rows, &r->heap, err);
        if (status != TW_OK) return status == TW_ERR_MEMORY ? TW_ERR_INTERNAL : status; /* some have been joined */
        r->given = 0;
    }
    uint32_t n = l->n - r->given < g->groups.run->batch_rows ? l->n - r->given : g->groups.run->batch_rows;
    for (uint32_t i = 0; i < n; i++) r->rows[i] = l->rows[r->given + i].row;
    TRY(give_groups(r, n, r->heap, out, err));
    r->given += n;
    if (r->given < l->n) return TW_OK;
    session_list_clear(l);
    buffer_unref(r->heap);
    r->heap = NULL;
    group_merge_skip(r->merge);
    return TW_OK;
}

static tw_status group_next(reader *self, batch **out, tw_error *err) {
    group_reader *r = (group_reader *)self;
    group_state *g = r->state;
    uint32_t n = 1;
    buffer *heap = NULL;
    if (r->lone_row) {
        r->rows[0] = g->groups.shape->layout->blank;
        TRY(give_groups(r, 1, NULL, out, err));
        r->lone_row = false;
        return TW_OK;
    }
    if (!r->merge) return TW_END;
    if (g->sessions && !g->chained) return next_sessions(r, out, err);
    TRY(group_merge_rows(r->merge, g->groups.run->batch_rows, r->rows, &n, &heap, err));
    TRY(give_groups(r, n, heap, out, err));
    group_merge_advance(r->merge, n);
    return TW_OK;
}

static const reader_class group_reader_class = {.next = group_next, .free = group_reader_free};

static tw_status group_source_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    *n_splits = STATE_OF(source, self)->groups.n_splits;
    return TW_OK;
}
static tw_status group_source_open(source *self, uint64_t split, reader **out, tw_error *err) {
    group_state *g = STATE_OF(source, self);
    group_reader *r = NULL;
    TRY(reader_open(self, g, &g->groups, split, &group_reader_class, &r, err));
    r->lone_row = g->groups.rows == 0;
    *out = &r->reader;
    return TW_OK;
}
static void group_prune(source *self, const bool *needed) {
    group_state *g = STATE_OF(source, self);
    for (uint32_t i = 0; i < g->out->n; i++) g->needed[i] = needed[i];
}
static void group_free_source(source *self) { state_release(STATE_OF(source, self)); }

/* ---- pairs: keys and a tag, null when the value is ---- */

static tw_status give_tags(const group_reader *r, const row_layout *l, uint32_t n, column *out, tw_error *err) {
    const group_state *g = r->state;
    memory *m = g->groups.run->memory;
    TRY(column_new(m, type_of(TYPE_INT32), n, out, err));
    for (uint32_t i = 0; i < n; i++) {
        ((int32_t *)out->values)[i] = r->tag;
        if (row_is_valid(l, r->rows[i], g->n_keys)) continue;
        TRY(column_need_valid(m, out, err));
        column_set_null(out, i);
    }
    return TW_OK;
}

static tw_status pair_next(reader *self, batch **out, tw_error *err) {
    group_reader *r = (group_reader *)self;
    group_state *g = r->state;
    const row_layout *l = g->pairs[r->tag].store.shape->layout;
    uint32_t n;
    buffer *heap;
    TRY(group_merge_rows(r->merge, g->groups.run->batch_rows, r->rows, &n, &heap, err));
    batch *b;
    TRY(batch_new(g->pair_out, n, &b, err));
    tw_status status = rows_decode(g->groups.run->memory, l, r->rows, n, 0, g->n_keys, heap, b->columns, err);
    if (status == TW_OK) status = give_tags(r, l, n, &b->columns[g->n_keys], err);
    if (status != TW_OK) {
        batch_unref(b);
        return status;
    }
    group_merge_advance(r->merge, n);
    *out = b;
    return TW_OK;
}

static const reader_class pair_reader_class = {.next = pair_next, .free = group_reader_free};

static tw_status pair_source_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    group_state *g = STATE_OF(pair_source, self);
    *n_splits = 0;
    for (uint32_t i = 0; i < g->n_pairs; i++) *n_splits += g->pairs[i].store.n_splits;
    return TW_OK;
}
static tw_status pair_source_open(source *self, uint64_t split, reader **out, tw_error *err) {
    group_state *g = STATE_OF(pair_source, self);
    uint32_t i = 0;
    for (; split >= g->pairs[i].store.n_splits; i++) split -= g->pairs[i].store.n_splits;
    group_reader *r = NULL;
    TRY(reader_open(self, g, &g->pairs[i].store, split, &pair_reader_class, &r, err));
    r->tag = (int32_t)i;
    *out = &r->reader;
    return TW_OK;
}
static void pair_free_source(source *self) { state_release(STATE_OF(pair_source, self)); }

/* ---- going on after a stop ---- */

static tw_status keep_rows(group_state *g, const uint8_t *rows, uint32_t n, tw_error *err) {
    group_progress progress = {0};
    tw_status status = group_table_merge(&g->kept, rows, n, &progress, err);
    if (status != TW_END && status != TW_ERR_MEMORY) return status;
    return error_set(err, TW_ERR_INTERNAL, "run.memory is too small: the groups of running results must fit in half of it");
}

static group_store *store_at(group_state *g, uint32_t i) { return i == 0 ? &g->groups : &g->pairs[i - 1].store; }

tw_status group_state_save(sink *k, struct saved_part *to, int64_t tag, tw_error *err) {
    group_state *g = STATE_OF(sink, k);
    if (g->running) TRY(arena_rows_save(&g->kept.rows, to, tag * GROUP_STORES_MAX, err));
    for (uint32_t i = 0; i <= g->n_pairs; i++)
        TRY(group_store_save(store_at(g, i), to, tag * GROUP_STORES_MAX + i, err));
    return TW_OK;
}

tw_status group_writer_save(sink_writer *writer, struct saved_part *to, int64_t tag, tw_error *err) {
    group_writer *w = (group_writer *)writer;
    for (uint32_t i = 0; i < w->n_lanes; i++)
        TRY(group_lane_save(&w->lanes[i], to, tag * GROUP_STORES_MAX + (w->has_groups ? i : i + 1), err));
    return TW_OK;
}

tw_status group_state_load(sink *k, const struct saved_part *from, uint32_t frame, uint32_t store, tw_error *err) {
    group_state *g = STATE_OF(sink, k);
    atomic_store(&g->least_end, INT64_MIN); /* not known */
    if (store > g->n_pairs) return error_set(err, TW_ERR_DATA, "a checkpoint holds more than %s has", k->name);
    if (!g->running) return group_store_load(store_at(g, store), from, frame, err);
    row_block *b;
    TRY(part_read_rows(from, frame, g->groups.run->memory, g->groups.shape->layout, &b, err));
    tw_status status = keep_rows(g, b->rows->data, b->n, err);
    row_block_free(b);
    return status;
}

/* ---- sessions of an endless flow ---- */

bool group_sessions_due(const sink *k, int64_t watermark) {
    return atomic_load(&STATE_OF(sink, (sink *)k)->least_end) <= watermark;
}

/* All that writers hold and the exchange has, into `old`; the instance starts again with nothing. */
static tw_status swap_stores(group_state *g, group_store *old, tw_error *err) {
    group_store fresh = {.shape = g->groups.shape};
    TRY(group_store_start(&fresh, g->groups.run, 1, err));
    pthread_rwlock_wrlock(&g->taking);
    tw_status status = TW_OK;
    for (group_writer *w = g->writers; w && status == TW_OK; w = w->next) status = group_lane_flush(&w->lanes[0], err);
    *old = g->groups;
    g->groups.exchange = fresh.exchange;
    atomic_store(&g->least_end, INT64_MAX);
    pthread_rwlock_unlock(&g->taking);
    return status;
}

static tw_status append_rows(group_store *to, const session_row *rows, uint32_t n, tw_error *err) {
    const uint8_t *some[1024];
    for (uint32_t done = 0, count; done < n; done += count) {
        count = n - done < 1024 ? n - done : 1024;
        for (uint32_t i = 0; i < count; i++) some[i] = rows[done + i].row;
        TRY(group_store_append(to, some, count, err));
    }
    return TW_OK;
}

typedef struct taking {
    group_state *from, *to;
    int64_t watermark;
    uint64_t taken, left;
} taking;

/* The sessions of one table: those that have ended to `closed`, the others back. */
static tw_status sort_sessions(taking *t, group_table *table, uint64_t n, tw_error *err) {
    group_state *g = t->from;
    session_list l;
    TRY(sessions_chain(g->sessions, table, n, t->watermark, &l, err));
    t->taken += l.n_closed;
    t->left += l.n - l.n_closed;
    for (uint32_t i = l.n_closed; i < l.n; i++) lower(&g->least_end, session_end(g->sessions, l.rows[i].last));
    tw_status status = append_rows(&t->to->groups, l.rows, l.n_closed, err);
    if (status == TW_OK) status = append_rows(&g->groups, l.rows + l.n_closed, l.n - l.n_closed, err);
    session_list_clear(&l);
    return status;
}

/* What was added since the last time, table by table. */
static tw_status take(taking *t, tw_status (*some)(taking *, group_table *, uint64_t, tw_error *), tw_error *err) {
    group_store old = {0};
    tw_status status = swap_stores(t->from, &old, err);
    if (status == TW_OK) status = group_store_seal(&old, err);
    for (uint64_t split = 0; split < old.n_splits && status == TW_OK; split++) {
        group_merge *m;
        group_table *table;
        uint64_t n;
        status = group_merge_open(&old, split, &m, err);
        if (status != TW_OK) break;
        while ((status = group_merge_table(m, &table, &n, err)) == TW_OK) {
            status = some(t, table, n, err);
            if (status != TW_OK) break;
            group_merge_skip(m);
        }
        if (status == TW_END) status = TW_OK;
        group_merge_free(m);
    }
    old.shape = NULL; /* the instance's */
    group_store_clear(&old);
    return status;
}

tw_status group_sessions_take(sink *k, int64_t watermark, sink *to, uint64_t *taken, uint64_t *left, tw_error *err) {
    taking t = {.from = STATE_OF(sink, k), .to = STATE_OF(sink, to), .watermark = watermark};
    t.to->chained = true;
    TRY(take(&t, sort_sessions, err));
    *taken = t.taken;
    *left = t.left;
    return TW_OK;
}

/* ---- running results ---- */

void group_state_keep(sink *k) { STATE_OF(sink, k)->running = true; }

/* Adds the groups of a table to those that are kept, and gives them as they are by then. */
static tw_status update_groups(taking *t, group_table *table, uint64_t n, tw_error *err) {
    group_state *g = t->from;
    uint8_t *row;
    const uint8_t *some[GROUP_STEP], *now[GROUP_STEP];
    uint64_t hashes[GROUP_STEP];
    t->taken += n;
    for (uint32_t chunk = 0; n; chunk++) {
        uint32_t count = arena_rows_chunk(&table->rows, chunk, &row), step;
        if (count > n) count = (uint32_t)n;
        n -= count;
        for (; count; count -= step, row += (size_t)step * table->shape->layout->stride) {
            step = count < GROUP_STEP ? count : GROUP_STEP;
            TRY(keep_rows(g, row, step, err));
            for (uint32_t i = 0; i < step; i++) {
                some[i] = row + (size_t)i * table->shape->layout->stride;
                hashes[i] = row_header(some[i]);
            }
            group_find f = {.form = KEY_ENCODED, .rows = some, .hashes = hashes, .n = step};
            for (uint32_t i = 0; i < step; i++) now[i] = group_table_find_or_make(&g->kept, &f, i);
            TRY(group_store_append(&t->to->groups, now, step, err));
        }
    }
    return TW_OK;
}

tw_status group_updates_take(sink *k, sink *to, uint64_t *taken, tw_error *err) {
    taking t = {.from = STATE_OF(sink, k), .to = STATE_OF(sink, to)};
    TRY(take(&t, update_groups, err));
    *taken = t.taken;
    return TW_OK;
}

/* ---- planning ---- */

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
static const sink_class pair_sink_class = {
    .start = pair_start,
    .open = pair_open,
    .push = pair_push,
    .close = group_close,
    .drop = group_drop,
    .finish = pair_finish,
    .describe = group_describe,
    .free = pair_free_sink,
};
static const source_class group_source_class = {
    .start = group_source_start,
    .open = group_source_open,
    .prune = group_prune,
    .free = group_free_source,
};
static const source_class pair_source_class = {
    .start = pair_source_start,
    .open = pair_source_open,
    .free = pair_free_source,
};

/* Every column that some count_distinct wants gets its tag; returns how many there are. */
static uint32_t tag_columns(aggregate *aggregates, uint32_t n, uint32_t *columns) {
    uint32_t n_tags = 0;
    for (uint32_t i = 0; i < n; i++) {
        aggregate *a = &aggregates[i];
        if (a->kind != AGGREGATE_COUNT_DISTINCT) continue;
        uint32_t tag = 0;
        while (tag < n_tags && columns[tag] != a->column) tag++;
        if (tag == n_tags) columns[n_tags++] = a->column;
        a->tag = (int32_t)tag;
    }
    return n_tags;
}

static const type *input_of(const aggregate *aggregates, uint32_t n, uint32_t tag) {
    for (uint32_t i = 0; i < n; i++)
        if (aggregates[i].kind == AGGREGATE_COUNT_DISTINCT && aggregates[i].tag == (int32_t)tag) return aggregates[i].input;
    return NULL;
}

/* Shapes and schemas; `types` and `names` have room for the keys and one more. */
static tw_status make_shapes(group_state *g, aggregate *aggregates, uint32_t n, const type **types, const char **names,
                             tw_error *err) {
    for (uint32_t i = 0; i < g->out->n; i++) {
        uint32_t from = shown(g->sessions, g->n_keys + n, i);
        if (from >= g->n_keys) continue;
        types[from] = g->out->fields[i].type;
        names[from] = g->out->fields[i].name;
    }
    for (uint32_t i = 0; g->sessions && i < SESSION_KEYS; i++) {
        types[g->n_keys - SESSION_KEYS + i] = type_of(TYPE_INT64);
        names[g->n_keys - SESSION_KEYS + i] = i ? "behind" : "piece";
    }
    for (uint32_t i = 0; i < g->n_pairs; i++) {
        types[g->n_keys] = input_of(aggregates, n, i);
        TRY(group_shape_new(types, g->n_keys + 1, NULL, 0, &g->pairs[i].store.shape, err));
    }
    types[g->n_keys] = type_of(TYPE_INT32);
    names[g->n_keys] = "tag";
    TRY(schema_new(names, types, g->n_keys + 1, &g->pair_out, err));
    return group_shape_new(types, g->n_keys, aggregates, n, &g->groups.shape, err);
}

static tw_status make_state(const char *name, uint32_t n_keys, aggregate *aggregates, uint32_t n, const session_rule *sessions,
                            schema *out, uint32_t *columns, group_state **result, tw_error *err) {
    uint32_t n_pairs = tag_columns(aggregates, n, columns), n_distinct = 0;
    for (uint32_t i = 0; i < n; i++) n_distinct += aggregates[i].kind == AGGREGATE_COUNT_DISTINCT;
    group_state *g = calloc(1, sizeof *g + n_pairs * sizeof *g->pairs);
    const type **types = calloc(n_keys + 1, sizeof *types);
    const char **names = calloc(n_keys + 1, sizeof *names);
    bool *needed = malloc(out->n + 1);
    tw_status status = g && types && names && needed ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    if (status == TW_OK) {
        memset(needed, 1, out->n);
        g->needed = needed;
        g->owners = 1;
        g->n_pairs = n_pairs;
        g->n_keys = n_keys;
        g->has_others = n_distinct < n || n == 0;
        g->out = schema_ref(out);
        for (uint32_t i = 0; i < n_pairs; i++) g->pairs[i].column = columns[i];
        pthread_rwlockattr_t kind; /* who takes must not wait for as long as somebody adds */
        pthread_rwlockattr_init(&kind);
        pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        pthread_rwlock_init(&g->taking, &kind);
        pthread_rwlockattr_destroy(&kind);
        atomic_init(&g->least_end, INT64_MAX);
        if (sessions) {
            g->rule = *sessions;
            g->sessions = &g->rule;
        }
        for (uint32_t i = 0; i < out->n; i++) {
            uint32_t from = shown(sessions, n_keys + n, i);
            if (from >= n_keys) aggregates[from - n_keys].name = out->fields[i].name;
        }
        status = make_shapes(g, aggregates, n, types, names, err);
        if (status != TW_OK) state_release(g);
    } else {
        free(needed);
        free(g);
    }
    free(types);
    free(names);
    if (status == TW_OK) *result = g;
    return status;
}

tw_status group_state_create(const char *name, uint32_t n_keys, aggregate *aggregates, uint32_t n_aggregates,
                             const session_rule *sessions, schema *out, group_ends *ends, tw_error *err) {
    group_state *g = NULL;
    uint32_t *columns = calloc(n_aggregates + 1, sizeof *columns);
    tw_status status = columns ? make_state(name, n_keys, aggregates, n_aggregates, sessions, out, columns, &g, err)
                               : error_set(err, TW_ERR_MEMORY, "out of memory for the plan");
    free(columns);
    if (status != TW_OK) {
        free(aggregates);
        return status;
    }
    g->sink = (sink){.class = &group_sink_class, .name = name, .may_spill = true};
    g->source = (source){.class = &group_source_class, .name = name};
    g->pair_sink = (sink){.class = &pair_sink_class, .name = name, .may_spill = true, .inner = true};
    g->pair_source = (source){.class = &pair_source_class, .name = name, .inner = true};
    *ends = (group_ends){.sink = &g->sink, .source = &g->source};
    g->owners = 2;
    if (g->n_pairs) {
        ends->pair_sink = &g->pair_sink;
        ends->pair_source = &g->pair_source;
        ends->pairs = schema_ref(g->pair_out);
        g->owners = 4;
    }
    return TW_OK;
}
