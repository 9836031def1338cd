/* fakes.h: sources, steps and sinks that misbehave on purpose, and a harness that runs jobs made of them.
 *
 * Rows have an `id` that says which they are, a `text` and a `twin` made from it, so that a row that was
 * mixed up shows. What a fake does wrong it says by abort(): cmocka's failures jump, which only the
 * test's own thread may do. */
#ifndef TESTS_ENGINE_FAKES_H
#define TESTS_ENGINE_FAKES_H

#include "unit/engine/fakes_base.h"

/* ---- `numbers`: a source in memory ---- */

typedef struct numbers {
    source source;
    run_context *run;
    schema *schema;
    bool needed[3];
    unsigned tag, splits, batches, rows, pad, slow_us;
    bool counts;              /* the number of splits is not known before */
    unsigned io_failures;     /* of each batch and each open before they succeed */
    bool waits;               /* of a doorman */
    int64_t fail_at;          /* the row that is bad; -1: none */
    bool fails_start, fails_io;
    doorman doorman;
    slot *slot, *gate;        /* splits are there once the gate is `met` */
    struct beside *beside;    /* whose rows these are; told when they are given up */
} numbers;

static inline void beside_give_up(struct beside *j);

typedef struct numbers_reader {
    reader reader;
    numbers *source;
    uint64_t split;
    unsigned batch, failed;
    bool let_in;
} numbers_reader;

static inline tw_status numbers_next(reader *self, batch **out, tw_error *err) {
    numbers_reader *r = (numbers_reader *)self;
    numbers *s = r->source;
    if (r->batch == s->batches) return TW_END;
    if (s->fails_io) return error_set(err, TW_ERR_IO, "the disk is gone");
    if (r->failed < s->io_failures) {
        r->failed++;
        return error_set(err, TW_ERR_IO, "the disk stutters");
    }
    if (s->waits && !r->let_in && !(r->let_in = doorman_lets_in(&s->doorman))) return STATUS_WAIT;
    uint64_t first = (r->split * s->batches + r->batch) * s->rows;
    if (s->fail_at >= 0 && (uint64_t)s->fail_at >= first && (uint64_t)s->fail_at < first + s->rows) {
        error_set(err, TW_ERR_DATA, "row %lld is bad", (long long)s->fail_at);
        error_in_data(err, "numbers", (uint64_t)s->fail_at);
        return TW_ERR_DATA;
    }
    if (s->slow_us) sleep_us(s->slow_us);
    TRY(make_rows(s->run->memory, s->schema, s->needed, s->tag, first, s->rows, s->pad, out, err));
    if (s->slot) atomic_fetch_add(&s->slot->reads, 1);
    atomic_fetch_add(&s->run->rows_in, s->rows);
    r->batch++;
    r->failed = 0;
    r->let_in = false;
    return TW_OK;
}
static inline void numbers_reader_free(reader *self) { unmake(self); }
static const reader_class numbers_reader_class = {numbers_next, numbers_reader_free};

static inline tw_status numbers_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    numbers *s = (numbers *)self;
    if (s->fails_start) return error_set(err, TW_ERR_IO, "cannot start");
    s->run = run;
    if (s->waits) doorman_start(&s->doorman, run);
    self->bytes_total = (uint64_t)s->splits * s->batches * s->rows * 8;
    *n_splits = s->counts ? UINT64_MAX : s->splits;
    return TW_OK;
}
static inline tw_status numbers_open(source *self, uint64_t split, reader **out, tw_error *err) {
    numbers *s = (numbers *)self;
    if (split >= s->splits) return TW_END;
    if (s->gate && !atomic_load(&s->gate->met)) return STATUS_WAIT;
    if (s->counts && s->waits && !doorman_lets_in(&s->doorman)) return STATUS_WAIT;
    numbers_reader *r = make(sizeof *r);
    *r = (numbers_reader){.reader = {&numbers_reader_class, split << 32}, .source = s, .split = split};
    *out = &r->reader;
    return TW_OK;
}
static inline void numbers_prune(source *self, const bool *needed) { memcpy(((numbers *)self)->needed, needed, 3); }
static inline void numbers_free(source *self) {
    numbers *s = (numbers *)self;
    doorman_stop(&s->doorman);
    if (s->beside) beside_give_up(s->beside);
    schema_unref(s->schema);
    unmake(s);
}
static const source_class numbers_class = {
    .start = numbers_start, .open = numbers_open, .prune = numbers_prune, .free = numbers_free};

static inline tw_status numbers_build(plan_builder *b, const args *a, source **out, schema **out_schema, tw_error *err) {
    schema *rows;
    TRY(row_schema(&rows, err));
    numbers *s = make(sizeof *s);
    *s = (numbers){.source = {.class = &numbers_class, .name = "numbers"}, .schema = rows, .needed = {1, 1, 1}};
    s->tag = (unsigned)args_int(a, "tag");
    s->splits = (unsigned)args_int(a, "splits");
    s->batches = (unsigned)args_int(a, "batches");
    s->rows = (unsigned)args_int(a, "rows");
    s->pad = (unsigned)args_int(a, "pad");
    s->slow_us = (unsigned)args_int(a, "slow_us");
    s->io_failures = (unsigned)args_int(a, "io_failures");
    s->counts = args_bool(a, "counts");
    s->waits = args_bool(a, "waits");
    s->fail_at = args_int(a, "fail_at");
    s->gate = args_int(a, "gate") < 0 ? NULL : &slots[args_int(a, "gate")];
    s->fails_start = args_bool(a, "fails_start");
    s->fails_io = args_bool(a, "fails_io");
    s->slot = args_int(a, "slot") < 0 ? NULL : &slots[args_int(a, "slot")];
    *out = &s->source;
    *out_schema = schema_ref(s->schema);
    return TW_OK;
}

#define NUMBER(name, fallback) {name, OPTION_INT, 0, "for tests", .default_text = fallback}
#define FLAG(name) {name, OPTION_BOOL, 0, "for tests", .default_text = "false"}
static const option numbers_options[] = {
    NUMBER("tag", "0"),   NUMBER("splits", "1"),  NUMBER("batches", "1"),     NUMBER("rows", "1"),
    NUMBER("pad", "20"),  NUMBER("slow_us", "0"), NUMBER("io_failures", "0"), FLAG("counts"),
    FLAG("waits"),        NUMBER("fail_at", "-1"), FLAG("fails_start"),       FLAG("fails_io"),
    NUMBER("slot", "-1"), NUMBER("gate", "-1"),
};
static const source_descriptor fake_numbers = {
    .descriptor = {.name = "numbers", .summary = "rows", .options = numbers_options, .n_options = COUNT_OF(numbers_options)},
    .build = numbers_build};

/* ---- `alter`: an operator that keeps every k-th row, repeats what is kept, fails, meets ---- */

typedef struct alter_plan {
    operator_plan plan;
    unsigned every, times, memory_failures, slow_us, row_us, meet;
    bool endless_memory_failure, fails, fails_open, ends;
    atomic_uint lanes;
    slot *slot;
} alter_plan;

typedef struct alter {
    operator operator;
    run_context *run;
    uint32_t row;     /* where it stands in the batch that it was given */
    unsigned copy, failed;
} alter;

static inline tw_status alter_open(operator_plan *plan, run_context *run, operator **out, tw_error *err) {
    if (((alter_plan *)plan)->fails_open) return error_set(err, TW_ERR_IO, "cannot open");
    alter *o = make(sizeof *o);
    *o = (alter){.operator = {plan->class, plan}, .run = run};
    *out = &o->operator;
    return TW_OK;
}
static inline void alter_close(operator *self) { unmake(self); }

static inline void meet(alter_plan *p, unsigned lanes) {
    if (!p->slot) return;
    unsigned most = atomic_load(&p->slot->most_lanes);
    while (lanes > most && !atomic_compare_exchange_weak(&p->slot->most_lanes, &most, lanes)) {}
    if (lanes >= p->meet && p->meet) atomic_store(&p->slot->met, true);
    for (int i = 0; i < 3000 && p->meet && !atomic_load(&p->slot->met); i++) sleep_us(1000);
}

static inline tw_status alter_process(operator *self, batch *in, batch **out, bool *more, tw_error *err) {
    alter *o = (alter *)self;
    alter_plan *p = (alter_plan *)self->plan;
    if (p->fails) return error_set(err, TW_ERR_DATA, "cannot alter");
    if (p->ends) return TW_END;
    if (p->endless_memory_failure) return error_set(err, TW_ERR_MEMORY, "no memory at all");
    if (o->failed < p->memory_failures) {
        o->failed++;
        return error_set(err, TW_ERR_MEMORY, "no memory now");
    }
    HOLDS(!p->plan.rows_max || in->rows <= p->plan.rows_max);
    meet(p, atomic_fetch_add(&p->lanes, 1) + 1);
    if (p->slow_us) sleep_us(p->slow_us);
    if (p->row_us) sleep_us((uint64_t)p->row_us * in->rows);
    uint32_t *rows = FAKE_CALLOC(o->run->batch_rows, sizeof *rows), n = 0, row = o->row;
    unsigned copy = o->copy;
    const int64_t *ids = in->columns[0].values;
    while (row < in->rows && n < o->run->batch_rows) {
        if (ids[row] % p->every == 0 && copy < p->times) {
            rows[n++] = row;
            copy++;
        } else {
            copy = 0;
            row++;
        }
    }
    tw_status status = n ? batch_pick(o->run->memory, in, rows, NULL, n, out, err) : TW_OK;
    FAKE_FREE(rows);
    atomic_fetch_sub(&p->lanes, 1);
    TRY(status);
    *more = row < in->rows;
    o->row = *more ? row : 0;
    o->copy = *more ? copy : 0;
    o->failed = 0;
    return TW_OK;
}
static inline void alter_needs(operator_plan *plan, const bool *needed_out, bool *needed_in) {
    memcpy(needed_in, needed_out, 3);
    needed_in[0] = true;
}
static inline void alter_free(operator_plan *plan) { unmake(plan); }
static const operator_class alter_class = {
    .open = alter_open, .process = alter_process, .close = alter_close, .needs = alter_needs, .free = alter_free};

static inline tw_status alter_build(stream *s, const args *a, tw_error *err) {
    alter_plan *p = make(sizeof *p);
    p->plan = (operator_plan){.class = &alter_class, .name = "alter"};
    p->plan.costly = args_bool(a, "costly");
    p->plan.rows_max = (uint32_t)args_int(a, "rows_max");
    p->every = (unsigned)args_int(a, "every");
    p->times = (unsigned)args_int(a, "times");
    p->memory_failures = (unsigned)args_int(a, "memory_failures");
    p->endless_memory_failure = args_bool(a, "endless_memory_failure");
    p->slow_us = (unsigned)args_int(a, "slow_us");
    p->row_us = (unsigned)args_int(a, "row_us");
    p->meet = (unsigned)args_int(a, "meet");
    p->fails = args_bool(a, "fails");
    p->fails_open = args_bool(a, "fails_open");
    p->ends = args_bool(a, "ends");
    p->slot = args_int(a, "slot") < 0 ? NULL : &slots[args_int(a, "slot")];
    return stream_add_operator(s, &p->plan, s->schema, err);
}
static const option alter_options[] = {
    NUMBER("every", "1"), NUMBER("times", "1"), NUMBER("memory_failures", "0"), FLAG("endless_memory_failure"),
    NUMBER("slow_us", "0"), NUMBER("row_us", "0"), NUMBER("meet", "0"), FLAG("fails"), FLAG("fails_open"), FLAG("ends"),
    NUMBER("slot", "-1"), FLAG("costly"), NUMBER("rows_max", "0"),
};
#define ALTER(step) \
    {.descriptor = {.name = step, .summary = "rows", .options = alter_options, .n_options = COUNT_OF(alter_options)}, \
     .build = alter_build}
static const step_descriptor fake_alter = ALTER("alter");
static const step_descriptor fake_bound = ALTER("bound"); /* the same under a name for run.workers */

/* ---- `gather`: collects all, then gives it on, in row order; looks at positions ---- */

typedef struct gathered {
    uint64_t position;
    batch *b;
} gathered;

typedef struct gather {
    sink sink;
    source source;
    pthread_mutex_t lock;
    gathered *list;
    size_t n, capacity;
    unsigned owners;
    bool complete;
    atomic_bool given_up; /* its rows will not be read any more */
} gather;

static inline gather *gather_of(sink *k) { return (gather *)((char *)k - offsetof(gather, sink)); }
static inline tw_status gather_start(sink *self, run_context *run, uint32_t n, tw_error *err) { return TW_OK; }
static inline tw_status gather_open(sink *self, sink_writer **out, tw_error *err) {
    *out = make(sizeof **out);
    (*out)->sink = self;
    return TW_OK;
}
static inline tw_status gather_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    gather *g = gather_of(w->sink);
    pthread_mutex_lock(&g->lock);
    HOLDS(!g->complete && !g->given_up);
    if (g->n == g->capacity) {
        g->capacity = g->capacity ? g->capacity * 2 : 64;
        g->list = FAKE_REALLOC(g->list, g->capacity * sizeof *g->list);
        HOLDS(g->list);
    }
    g->list[g->n++] = (gathered){order->position, batch_ref(b)};
    pthread_mutex_unlock(&g->lock);
    return TW_OK;
}
static inline tw_status gather_close(sink_writer *w, tw_error *err) {
    unmake(w);
    return TW_OK;
}
static inline void gather_drop(sink_writer *w) { unmake(w); }
static inline int gather_compare(const void *a, const void *b) {
    uint64_t x = ((const gathered *)a)->position, y = ((const gathered *)b)->position;
    return (x > y) - (x < y);
}
static inline tw_status gather_finish(sink *self, tw_error *err) {
    gather *g = gather_of(self);
    if (g->n) qsort(g->list, g->n, sizeof *g->list, gather_compare);
    for (size_t i = 1; i < g->n; i++) HOLDS(g->list[i - 1].position + g->list[i - 1].b->rows <= g->list[i].position);
    g->complete = true;
    return TW_OK;
}
static inline void gather_release(gather *g) {
    if (--g->owners) return;
    for (size_t i = 0; i < g->n; i++) batch_unref(g->list[i].b);
    FAKE_FREE(g->list);
    unmake(g);
}
static inline void gather_free_sink(sink *self) { gather_release(gather_of(self)); }
static const sink_class gather_sink_class = {.start = gather_start, .open = gather_open, .push = gather_push,
    .close = gather_close, .drop = gather_drop, .finish = gather_finish, .free = gather_free_sink};

typedef struct gather_reader {
    reader reader;
    batch *b;
} gather_reader;
static inline gather *gather_from(source *s) { return (gather *)((char *)s - offsetof(gather, source)); }
static inline tw_status gather_next(reader *self, batch **out, tw_error *err) {
    gather_reader *r = (gather_reader *)self;
    if (!r->b) return TW_END;
    *out = r->b;
    r->b = NULL;
    return TW_OK;
}
static inline void gather_reader_free(reader *self) {
    batch_unref(((gather_reader *)self)->b);
    unmake(self);
}
static const reader_class gather_reader_class = {gather_next, gather_reader_free};
static inline tw_status gather_source_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    HOLDS(gather_from(self)->complete);
    *n_splits = gather_from(self)->n;
    return TW_OK;
}
static inline tw_status gather_source_open(source *self, uint64_t split, reader **out, tw_error *err) {
    gather_reader *r = make(sizeof *r);
    r->reader = (reader){&gather_reader_class, split << 32};
    r->b = batch_ref(gather_from(self)->list[split].b);
    *out = &r->reader;
    return TW_OK;
}
static inline void gather_source_free(source *self) {
    gather_from(self)->given_up = true;
    gather_release(gather_from(self));
}
static const source_class gather_source_class = {
    .start = gather_source_start, .open = gather_source_open, .free = gather_source_free};

static inline tw_status gather_build(stream *s, const args *a, tw_error *err) {
    gather *g = make(sizeof *g);
    g->sink = (sink){.class = &gather_sink_class, .name = "gather", .wants_shuffled = args_bool(a, "shuffled")};
    g->source = (source){.class = &gather_source_class, .name = "gather"};
    pthread_mutex_init(&g->lock, NULL);
    g->owners = 2;
    schema *same = schema_ref(s->schema);
    tw_status status = stream_break(s, &g->sink, &g->source, same, err);
    schema_unref(same);
    return status;
}
static const option gather_options[] = {FLAG("shuffled")};
static const step_descriptor fake_gather = {
    .descriptor = {.name = "gather", .summary = "all rows", .options = gather_options, .n_options = 1}, .build = gather_build};

/* ---- `beside`: waits for another flow as a join does for its right side; may give rows of its own ---- */

typedef struct beside {
    sink sink;
    operator_plan plan;
    atomic_bool complete, given_up;
    unsigned owners; /* freed by one thread, or one after the other */
} beside;

static inline void beside_release(beside *j) {
    if (--j->owners == 0) unmake(j);
}
static inline void beside_give_up(beside *j) {
    j->given_up = true;
    beside_release(j);
}
static inline beside *beside_of(sink *k) { return (beside *)((char *)k - offsetof(beside, sink)); }
static inline beside *beside_with(operator_plan *p) { return (beside *)((char *)p - offsetof(beside, plan)); }
static inline tw_status beside_push(sink_writer *w, const batch_order *order, batch *b, tw_error *err) {
    HOLDS(!beside_of(w->sink)->complete && !beside_of(w->sink)->given_up);
    return TW_OK;
}
static inline tw_status beside_finish(sink *self, tw_error *err) {
    beside_of(self)->complete = true;
    return TW_OK;
}
static inline void beside_free_sink(sink *self) { beside_release(beside_of(self)); }
static const sink_class beside_sink_class = {.start = gather_start, .open = gather_open, .push = beside_push,
    .close = gather_close, .drop = gather_drop, .finish = beside_finish, .free = beside_free_sink};

static inline tw_status beside_open(operator_plan *plan, run_context *run, operator **out, tw_error *err) {
    HOLDS(beside_with(plan)->complete);
    *out = make(sizeof **out);
    **out = (operator){plan->class, plan};
    return TW_OK;
}
static inline void beside_close(operator *self) { unmake(self); }
static inline tw_status beside_process(operator *self, batch *in, batch **out, bool *more, tw_error *err) {
    *out = batch_ref(in);
    return TW_OK;
}
static inline void beside_free_plan(operator_plan *plan) { beside_release(beside_with(plan)); }
static const operator_class beside_operator_class = {
    .open = beside_open, .process = beside_process, .close = beside_close, .free = beside_free_plan};

static inline tw_status beside_build(stream *s, const args *a, tw_error *err) {
    stream *other;
    TRY(stream_of_flow(s, a, "with", args_string(a, "with"), &other, err));
    beside *j = make(sizeof *j);
    j->sink = (sink){.class = &beside_sink_class, .name = "beside"};
    j->plan = (operator_plan){.class = &beside_operator_class, .name = "beside"};
    j->owners = 2;
    tw_status status = stream_after(s, other, &j->sink, err);
    stream_free(other);
    if (status == TW_OK) status = stream_add_operator(s, &j->plan, s->schema, err);
    else beside_release(j); /* the operator's half */
    TRY(status);
    if (args_int(a, "rest") == 0) return TW_OK;
    schema *rows;
    TRY(row_schema(&rows, err));
    numbers *n = make(sizeof *n);
    *n = (numbers){.source = {.class = &numbers_class, .name = "rest"}, .schema = rows, .needed = {1, 1, 1},
                   .tag = 99, .splits = 1, .batches = 1, .rows = (unsigned)args_int(a, "rest"), .pad = 20, .fail_at = -1,
                   .beside = j};
    j->owners++;
    return stream_also(s, &n->source, err);
}
static const option beside_options[] = {{"with", OPTION_FLOW, OPTION_REQUIRED, "for tests"}, NUMBER("rest", "0")};
static const step_descriptor fake_beside = {
    .descriptor = {.name = "beside", .summary = "waits", .options = beside_options, .n_options = 2}, .build = beside_build};

/* ---- `record`: a sink that writes down what comes, in row order or as it comes ---- */

static const char *const record_calls[] = {"start", "open", "push", "end_split", "close", "finish", "commit", "memory", NULL};
enum { CALL_START, CALL_OPEN, CALL_PUSH, CALL_END_SPLIT, CALL_CLOSE, CALL_FINISH, CALL_COMMIT, CALL_MEMORY };

typedef struct record {
    sink sink;
    run_context *run;
    sequencer *order;
    slot *slot, *gate;        /* opened when it is asked whether it is satisfied, then all are woken */
    int fails;                /* which call */
    bool ordered, all, refuses;
    unsigned memory_failures, slow_us;
    doorman doorman;
    atomic_uint writers;
    bool started;
} record;

typedef struct record_writer {
    sink_writer writer;
    unsigned failed;
    atomic_flag busy;
    bool let_in;
} record_writer;

typedef struct recorded {
    batch *b;
    uint64_t position;
} recorded;

static inline void record_rows(record *k, const batch *b) {
    const int64_t *ids = b->columns[0].values;
    for (uint32_t i = 0; i < b->rows; i++) slot_add(k->slot, ids[i]);
    for (uint32_t i = 0; i < b->rows && k->all; i++) {
        char text[PAD_MAX + 32];
        const view *v = (const view *)b->columns[1].values + i;
        size_t pad = v->size;
        HOLDS(((const int64_t *)b->columns[2].values)[i] == twin_of(ids[i]));
        int bare = text_of(ids[i], text, 0), n = text_of(ids[i], text, ids[i] % 3 ? pad - (size_t)bare : 0);
        HOLDS((uint32_t)n == v->size && memcmp(view_data(v), text, (size_t)n) == 0);
    }
}
static inline tw_status record_place(void *context, void *item, tw_error *err) {
    record *k = context;
    recorded *r = item;
    HOLDS(r->position >= k->slot->next_position);
    k->slot->next_position = r->position + r->b->rows;
    record_rows(k, r->b);
    return TW_OK;
}
static inline void record_drop_item(void *context, void *item) {
    recorded *r = item;
    batch_unref(r->b);
    unmake(r);
}
static inline tw_status record_work(void *context, void *item, tw_error *err) {
    record_drop_item(context, item);
    return TW_OK;
}

static inline tw_status record_start(sink *self, run_context *run, uint32_t n_inputs, tw_error *err) {
    record *k = (record *)self;
    k->run = run;
    if (k->fails == CALL_START) return error_set(err, TW_ERR_IO, "record fails in start");
    if (k->refuses) doorman_start(&k->doorman, run);
    sequencer_callbacks callbacks = {.place = record_place, .work = record_work, .drop = record_drop_item, .context = k};
    return sequencer_create(run, n_inputs, ROW_ORDER_ALL, 4096, callbacks, &k->order, err);
}
static inline tw_status record_open(sink *self, sink_writer **out, tw_error *err) {
    record *k = (record *)self;
    if (k->fails == CALL_OPEN) return error_set(err, TW_ERR_IO, "record fails in open");
    record_writer *w = make(sizeof *w);
    w->writer.sink = self;
    atomic_fetch_add(&k->writers, 1);
    *out = &w->writer;
    return TW_OK;
}
static inline tw_status record_push(sink_writer *self, const batch_order *order, batch *b, tw_error *err) {
    record *k = (record *)self->sink;
    record_writer *w = (record_writer *)self;
    if (k->fails == CALL_PUSH) return error_set(err, TW_ERR_IO, "record fails in push");
    if (k->fails == CALL_MEMORY) return error_set(err, TW_ERR_MEMORY, "record has no memory");
    if (w->failed < k->memory_failures) {
        w->failed++;
        return error_set(err, TW_ERR_MEMORY, "no memory for a while");
    }
    w->failed = 0;
    HOLDS(!atomic_flag_test_and_set(&w->busy));
    HOLDS(!atomic_load(&k->slot->finished));
    HOLDS(b->rows > 0 && b->rows <= k->run->batch_rows);
    if (k->slow_us) sleep_us(k->slow_us);
    atomic_fetch_add(&k->slot->pushes, 1);
    atomic_fetch_add(&k->run->rows_out, b->rows);
    tw_status status = TW_OK;
    if (k->ordered) {
        recorded *r = make(sizeof *r);
        *r = (recorded){batch_ref(b), order->position};
        status = sequencer_push(k->order, order, r, batch_bytes(b), err);
    } else {
        pthread_mutex_lock(&k->slot->lock);
        record_rows(k, b);
        pthread_mutex_unlock(&k->slot->lock);
    }
    atomic_flag_clear(&w->busy);
    return status;
}
static inline bool record_ready(sink *self, const batch_order *order) {
    record *k = (record *)self;
    if (k->ordered && !sequencer_ready(k->order, order)) return false;
    return !k->refuses || doorman_lets_in(&k->doorman);
}
/* Whoever asks holds the run's lock, and has looked at other pipelines before. */
static inline bool record_satisfied(sink *self) {
    record *k = (record *)self;
    if (k->gate && !atomic_exchange(&k->gate->met, true)) run_wake(k->run);
    return false;
}
static inline tw_status record_end_split(sink_writer *self, const batch_order *order, tw_error *err) {
    record *k = (record *)self->sink;
    if (k->fails == CALL_END_SPLIT) return error_set(err, TW_ERR_IO, "record fails in end_split");
    return k->ordered ? sequencer_end_split(k->order, order, err) : TW_OK;
}
static inline tw_status record_end_input(sink *self, uint32_t input, uint64_t n_splits, tw_error *err) {
    record *k = (record *)self;
    return k->ordered ? sequencer_end_input(k->order, input, n_splits, err) : TW_OK;
}
static inline void record_drop(sink_writer *self) {
    atomic_fetch_sub(&((record *)self->sink)->writers, 1);
    unmake(self);
}
static inline tw_status record_close(sink_writer *self, tw_error *err) {
    if (((record *)self->sink)->fails == CALL_CLOSE) return error_set(err, TW_ERR_IO, "record fails in close");
    record_drop(self);
    return TW_OK;
}
static inline tw_status record_finish(sink *self, tw_error *err) {
    record *k = (record *)self;
    HOLDS(k->writers == 0);
    HOLDS(atomic_fetch_add(&k->slot->finished, 1) == 0);
    return k->fails == CALL_FINISH ? error_set(err, TW_ERR_IO, "record fails in finish") : TW_OK;
}
static inline tw_status record_commit(sink *self, tw_error *err) {
    record *k = (record *)self;
    HOLDS(atomic_load(&k->slot->finished) == 1);
    if (k->fails == CALL_COMMIT) return error_set(err, TW_ERR_IO, "record fails in commit");
    HOLDS(atomic_fetch_add(&k->slot->committed, 1) == 0);
    return TW_OK;
}
static inline void record_needs(sink *self, bool *needed) {
    needed[0] = true;
    needed[1] = needed[2] = ((record *)self)->all;
}
static inline void record_free(sink *self) {
    record *k = (record *)self;
    HOLDS(k->writers == 0);
    doorman_stop(&k->doorman);
    sequencer_free(k->order);
    unmake(k);
}
static const sink_class record_class = {.start = record_start, .open = record_open, .push = record_push,
    .end_split = record_end_split, .ready = record_ready, .satisfied = record_satisfied, .close = record_close, .drop = record_drop,
    .end_input = record_end_input, .finish = record_finish, .commit = record_commit, .needs = record_needs,
    .free = record_free};

static inline tw_status record_build(plan_builder *b, const args *a, schema *s, sink **out, tw_error *err) {
    record *k = make(sizeof *k);
    *k = (record){.sink = {.class = &record_class, .name = "record"}};
    k->slot = &slots[args_int(a, "slot")];
    k->fails = args_enum(a, "fails");
    k->ordered = !args_bool(a, "unordered");
    k->all = args_bool(a, "all");
    k->refuses = args_bool(a, "refuses");
    k->memory_failures = (unsigned)args_int(a, "memory_failures");
    k->slow_us = (unsigned)args_int(a, "slow_us");
    k->gate = args_int(a, "gate") < 0 ? NULL : &slots[args_int(a, "gate")];
    *out = &k->sink;
    return TW_OK;
}
static const option record_options[] = {
    NUMBER("slot", "0"), {"fails", OPTION_ENUM, 0, "for tests", .values = record_calls}, FLAG("unordered"), FLAG("all"),
    FLAG("refuses"), NUMBER("memory_failures", "0"), NUMBER("slow_us", "0"), NUMBER("gate", "-1"),
};
static const sink_descriptor fake_record = {
    .descriptor = {.name = "record", .summary = "rows", .options = record_options, .n_options = COUNT_OF(record_options)},
    .build = record_build};

static const step_descriptor *const fake_steps[] = {
    &fake_alter, &fake_bound, &fake_gather, &fake_beside, &step_limit, &step_union, NULL};
static const source_descriptor *const fake_sources[] = {&fake_numbers, NULL};
static const sink_descriptor *const fake_sinks[] = {&fake_record, NULL};
static const registry fakes = {fake_steps, fake_sources, fake_sinks};

/* ---- jobs of fakes ---- */

typedef struct fake_run {
    error_list errors;
    job *job;
    plan *plan;
    run *run;
    tw_error error;
} fake_run;

static inline tw_status fake_plan(fake_run *f, const char *text) {
    *f = (fake_run){0};
    job_source source = {.text = text, .length = strlen(text), .file = "job"};
    tw_status status = job_parse(&source, &f->errors, &f->job);
    if (!f->job) return status;
    tw_status planned = plan_build(f->job, &fakes, &f->errors, &f->plan, &f->error);
    return f->errors.total ? TW_ERR_JOB : planned;
}

/* Frees all, and sees that all is free. */
static inline void fake_end(fake_run *f) {
    run_free(f->run);
    plan_free(f->plan);
    job_free(f->job);
    error_list_free(&f->errors);
}

static inline void fake_start(fake_run *f, const char *text, const run_options *o) {
    if (fake_plan(f, text) != TW_OK) {
        for (size_t i = 0; i < f->errors.n; i++)
            fprintf(stderr, "%u:%u: %s\n", f->errors.items[i].line, f->errors.items[i].column, f->errors.items[i].message);
        fprintf(stderr, "%s\n%s\n", f->error.message, text);
        abort();
    }
    tw_status status = run_start(f->plan, o, &f->run, &f->error);
    if (status != TW_OK) f->run = NULL;
}

/* The outcome of a job; a run that hangs ends the test. */
static inline tw_status fake_wait(fake_run *f, const char *text) {
    if (!f->run) return f->error.code;
    if (!run_wait(f->run, 60000)) {
        fprintf(stderr, "the run hangs:\n%s\n", text);
        abort();
    }
    return run_result(f->run, &f->error);
}

static inline tw_status fake_job(const char *text, const run_options *o, tw_error *err) {
    fake_run f;
    int before = live;
    fake_start(&f, text, o);
    tw_status status = fake_wait(&f, text);
    if (err) *err = f.error;
    fake_end(&f);
    HOLDS(live == before);
    return status;
}

#endif
