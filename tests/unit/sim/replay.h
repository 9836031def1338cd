/* replay.h: a source that gives a seeded stream again from where a checkpoint stands, as a broker does, and a sink that
 * takes rows in transactions together with a note, as a broker does. What the broker holds outlives the process. */
#ifndef TESTS_SIM_REPLAY_H
#define TESTS_SIM_REPLAY_H

#include "base/text.h"
#include "data/batch.h"
#include "engine/checkpoint.h"
#include "engine/plan_internal.h"
#include "engine/run.h"
#include "io/connectors.h"
#include "step/steps.h"
#include "unit/holds.h"
#include "unit/sim/faults.h"

enum { STREAM_MAX = 4096, LEDGER_BYTES = 1 << 20, FIRST_TIME_S = 1704067200 };

/* Shared with the parent, so that it is there after the child's death. */
typedef struct broker_state {
    size_t bytes;
    char note[40];
} broker_state;

typedef struct broker_world {
    atomic_long calls;          /* that change something, of this child */
    atomic_uint committed;      /* which of the two holds */
    broker_state states[2];
    char message[1024];          /* why the last child failed */
    char rows[LEDGER_BYTES];    /* lines */
} broker_world;

static broker_world *world;

/* What the source delivers: rows by number, in this order. Row n - 1 is late in time and closes all windows before. */
static struct {
    uint32_t rows[STREAM_MAX];
    uint32_t n, last;
    unsigned split_rows_max, pause_us_max;
} given;

/* ---- the source ---- */

typedef struct replay {
    source source;
    run_context *run;
    schema *schema;
    bool needed[4];
    atomic_bool stopped;
    bool dry;
    uint32_t at, cut_at;
} replay;

typedef struct replay_reader {
    reader reader;
    replay *source;
    uint32_t at, end;
} replay_reader;

static atomic_uint replays_left; /* that have something to give */

static int64_t value_of_row(uint32_t row, unsigned column) {
    switch (column) {
    case 0: return row;
    case 1: return FIRST_TIME_S * INT64_C(1000000) + (row + (row == given.last ? INT64_C(3600000) : 0)) * INT64_C(1000);
    case 2: return (int64_t)(fault_mix(row) % 5);
    default: return (int64_t)(fault_mix(row * 7 + 1) % 1000);
    }
}

static tw_status replay_rows(replay *s, uint32_t at, uint32_t n, batch **out, tw_error *err) {
    batch *b;
    TRY(batch_new(s->schema, n, &b, err));
    tw_status status = TW_OK;
    for (unsigned c = 0; c < 4; c++) b->columns[c] = (column){.type = s->schema->fields[c].type, .rows = n};
    for (unsigned c = 0; c < 4 && status == TW_OK; c++) {
        column_builder *builder;
        if (!s->needed[c]) continue;
        status = column_builder_new(s->run->memory, s->schema->fields[c].type, &builder, err);
        if (status != TW_OK) break;
        for (uint32_t i = 0; i < n && status == TW_OK; i++)
            status = column_builder_int(builder, value_of_row(given.rows[at + i], c), err);
        if (status == TW_OK) status = column_builder_finish(builder, &b->columns[c], err);
        column_builder_free(builder);
    }
    if (status != TW_OK) batch_unref(b);
    else *out = b;
    return status;
}

static tw_status replay_next(reader *self, batch **out, tw_error *err) {
    replay_reader *r = (replay_reader *)self;
    uint32_t n = r->end - r->at, most = r->source->run->batch_rows;
    if (!n) return TW_END;
    if (n > most) n = most;
    TRY(replay_rows(r->source, r->at, n, out, err));
    (*out)->position = r->reader.position;
    r->reader.position += n;
    r->at += n;
    atomic_fetch_add(&r->source->run->rows_in, n);
    return TW_OK;
}
static void replay_reader_free(reader *self) { free(self); }
static const reader_class replay_reader_class = {replay_next, replay_reader_free};

static tw_status replay_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    ((replay *)self)->run = run;
    *n_splits = UINT64_MAX;
    return TW_OK;
}

static tw_status replay_open(source *self, uint64_t split, reader **out, tw_error *err) {
    replay *s = (replay *)self;
    if (s->at == given.n) {
        if (!s->dry) atomic_fetch_sub(&replays_left, 1);
        s->dry = true;
        return atomic_load(&s->stopped) ? TW_END : STATUS_WAIT;
    }
    if (given.pause_us_max) usleep((useconds_t)(fault_draw() % given.pause_us_max));
    replay_reader *r = calloc(1, sizeof *r);
    HOLDS(r);
    uint32_t n = 1 + (uint32_t)(fault_draw() % given.split_rows_max), left = given.n - s->at;
    if (n > left) n = left;
    *r = (replay_reader){.reader = {.class = &replay_reader_class, .position = s->at, .spread = POSITION_SPREAD},
                         .source = s, .at = s->at, .end = s->at + n};
    s->at += n;
    *out = &r->reader;
    return TW_OK;
}

static void replay_prune(source *self, const bool *needed) { memcpy(((replay *)self)->needed, needed, 4); }
static void replay_stop(source *self) { atomic_store(&((replay *)self)->stopped, true); }
static tw_status replay_cut(source *self, uint64_t epoch, tw_error *err) {
    ((replay *)self)->cut_at = ((replay *)self)->at;
    return TW_OK;
}
static tw_status replay_save(source *self, uint64_t epoch, saved_part *to, tw_error *err) {
    return part_put_int(to, "at", ((replay *)self)->cut_at, err);
}
static tw_status replay_load(source *self, const saved_part *from, tw_error *err) {
    ((replay *)self)->at = (uint32_t)part_get_int(from, "at", 0);
    return TW_OK;
}
static tw_status replay_note(source *self, struct text *out, tw_error *err) {
    text_append_string(out, world->states[atomic_load(&world->committed)].note);
    return out->failed ? error_set(err, TW_ERR_MEMORY, "no memory") : TW_OK;
}
static void replay_free(source *self) {
    schema_unref(((replay *)self)->schema);
    free(self);
}

static const source_class replay_class = {
    .start = replay_start, .open = replay_open, .prune = replay_prune, .stop = replay_stop, .cut = replay_cut,
    .save = replay_save, .load = replay_load, .note = replay_note, .free = replay_free,
};

static tw_status replay_build(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err) {
    replay *s = calloc(1, sizeof *s);
    HOLDS(s);
    *s = (replay){.source = {.class = &replay_class, .name = "replay", .endless = true, .replays = true}, .needed = {1, 1, 1, 1}};
    TRY(schema_new((const char *const[]){"id", "ts", "k", "v"},
                   (const type *const[]){type_of(TYPE_INT64), type_of(TYPE_TIMESTAMP), type_of(TYPE_INT64), type_of(TYPE_INT64)}, 4,
                   &s->schema, err));
    atomic_fetch_add(&replays_left, 1);
    *out = &s->source;
    *out_schema = schema_ref(s->schema);
    return TW_OK;
}

static const option replay_options[] = {ENDLESS_OPTIONS};
static const source_descriptor sim_replay = {
    .descriptor = {.name = "replay", .summary = "rows", .options = replay_options, .n_options = COUNT_OF(replay_options)},
    .build = replay_build};

/* ---- the sink ---- */

typedef struct ledger_row {
    struct ledger_row *next;
    uint32_t epoch;
    char line[];
} ledger_row;

typedef struct ledger {
    sink sink;
    schema *schema;
    pthread_mutex_t lock;
    ledger_row *first, **last;
} ledger;

static tw_status ledger_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) { return TW_OK; }
static tw_status ledger_open(sink *self, sink_writer **out, tw_error *err) {
    *out = calloc(1, sizeof **out);
    HOLDS(*out);
    (*out)->sink = self;
    return TW_OK;
}
static tw_status ledger_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    ledger *k = (ledger *)w->sink;
    for (uint32_t i = 0; i < b->rows; i++) {
        struct text t = {0};
        for (uint32_t c = 0; c < k->schema->n; c++) {
            if (column_is_valid(&b->columns[c], i)) text_printf(&t, " %lld", (long long)((const int64_t *)b->columns[c].values)[i]);
            else text_append_string(&t, " null");
        }
        ledger_row *row = malloc(sizeof *row + t.length + 1);
        HOLDS(row);
        *row = (ledger_row){.epoch = order->epoch};
        memcpy(row->line, text_string(&t), t.length + 1);
        text_free(&t);
        pthread_mutex_lock(&k->lock);
        *k->last = row;
        k->last = &row->next;
        pthread_mutex_unlock(&k->lock);
    }
    return TW_OK;
}
static void ledger_drop(sink_writer *w) { free(w); }
static tw_status ledger_close(sink_writer *w, tw_error *err) {
    free(w);
    return TW_OK;
}

/* All rows of epochs before, and the note, at one moment. */
static tw_status ledger_commit_before(ledger *k, uint64_t epoch, const char *note, tw_error *err) {
    if (fault_point(false) == REFUSED) return error_set(err, TW_ERR_IO, "the broker is gone");
    unsigned now = atomic_load(&world->committed), other = 1 - now;
    broker_state *next = &world->states[other];
    *next = world->states[now];
    pthread_mutex_lock(&k->lock);
    for (ledger_row **at = &k->first; *at;) {
        ledger_row *row = *at;
        if (row->epoch >= epoch) {
            at = &row->next;
            continue;
        }
        size_t n = strlen(row->line);
        HOLDS(next->bytes + n + 1 <= LEDGER_BYTES);
        memcpy(world->rows + next->bytes, row->line, n);
        world->rows[next->bytes + n] = '\n';
        next->bytes += n + 1;
        *at = row->next;
        free(row);
    }
    for (k->last = &k->first; *k->last;) k->last = &(*k->last)->next;
    pthread_mutex_unlock(&k->lock);
    if (note) snprintf(next->note, sizeof next->note, "%s", note);
    atomic_store(&world->committed, other);
    return fault_point(false) == REFUSED ? error_set(err, TW_ERR_IO, "the broker's answer is lost") : TW_OK;
}
static tw_status ledger_publish(sink *self, const epoch_end *e, tw_error *err) {
    return ledger_commit_before((ledger *)self, e->epoch, e->note, err);
}
static tw_status ledger_finish(sink *self, tw_error *err) { return TW_OK; }
static tw_status ledger_commit(sink *self, tw_error *err) {
    ledger *k = (ledger *)self;
    return k->first ? ledger_commit_before(k, UINT64_MAX, NULL, err) : TW_OK;
}
static tw_status ledger_transact(sink *self, const char *id, tw_error *err) { return TW_OK; }
static void ledger_free(sink *self) {
    ledger *k = (ledger *)self;
    for (ledger_row *next; k->first; k->first = next) {
        next = k->first->next;
        free(k->first);
    }
    schema_unref(k->schema);
    free(k);
}
static const sink_class ledger_class = {
    .start = ledger_start, .open = ledger_open, .push = ledger_push, .close = ledger_close, .drop = ledger_drop,
    .publish = ledger_publish, .transact = ledger_transact, .finish = ledger_finish, .commit = ledger_commit, .free = ledger_free,
};
static tw_status ledger_build(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err) {
    ledger *k = calloc(1, sizeof *k);
    HOLDS(k);
    k->sink = (sink){.class = &ledger_class, .name = "ledger"};
    k->schema = schema_ref(s);
    k->last = &k->first;
    pthread_mutex_init(&k->lock, NULL);
    *out = &k->sink;
    return TW_OK;
}
static const sink_descriptor sim_ledger = {.descriptor = {.name = "ledger", .summary = "rows"}, .build = ledger_build};

static const step_descriptor *const sim_steps[] = {&step_group, &step_distinct, &step_dedupe, &step_window, &step_filter,
                                                   &step_select, &step_rename, &step_join, NULL};
static const source_descriptor *const sim_sources[] = {&sim_replay, NULL};
static const sink_descriptor *const sim_sinks[] = {&sim_ledger, &sink_file, NULL};
static const registry sim_registry = {sim_steps, sim_sources, sim_sinks};

#endif
