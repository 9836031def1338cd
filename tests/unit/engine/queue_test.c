#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/queue.h"
#include "unit/engine/fakes.h"

typedef struct world {
    run_context run;
    atomic_bool cancelled;
    atomic_uint wakes;
    sink *sink;
    source *source;
    sink_writer *writer;
    schema *schema;
    uint64_t opened;
} world;

static void woken(void *engine) { atomic_fetch_add(&((world *)engine)->wakes, 1); }

static void set_up(world *w, queue_options o, uint32_t n_inputs, size_t memory_bytes) {
    *w = (world){.run = {.batch_rows = 1000, .parallelism = 2, .wake = woken}};
    w->run.engine = w;
    w->run.cancelled = &w->cancelled;
    MUST(memory_create(memory_bytes, &w->run.memory, NULL));
    MUST(row_schema(&w->schema, NULL));
    o.name = "queue";
    MUST(queue_create(o, 3, &w->sink, &w->source, NULL));
    MUST(w->sink->class->start(w->sink, &w->run, n_inputs, NULL));
    uint64_t n;
    MUST(w->source->class->start(w->source, &w->run, &n, NULL));
    assert_int_equal(n, UINT64_MAX);
    MUST(w->sink->class->open(w->sink, &w->writer, NULL));
}

static void tear_down(world *w) {
    if (w->writer) w->sink->class->drop(w->writer);
    if (w->source) w->source->class->free(w->source);
    w->sink->class->free(w->sink);
    schema_unref(w->schema);
    memory_destroy(w->run.memory);
}

static void push(world *w, uint32_t input, uint64_t split, uint64_t first, uint32_t n, size_t pad) {
    batch *b;
    MUST(make_rows(w->run.memory, w->schema, (bool[]){1, 1, 1}, 0, first, n, pad, &b, NULL));
    MUST(w->sink->class->push(w->writer, &(batch_order){input, split, 77}, b, NULL));
    batch_unref(b);
}

/* The next batch, or NULL and why there is none. */
static batch *pop(world *w, tw_status *status, reader *out) {
    reader *r;
    *status = w->source->class->open(w->source, w->opened, &r, NULL);
    if (*status != TW_OK) return NULL;
    w->opened++;
    *out = *r;
    batch *b;
    MUST(r->class->next(r, &b, NULL));
    batch *none;
    assert_int_equal(r->class->next(r, &none, NULL), TW_END);
    r->class->free(r);
    return b;
}

static void expect(world *w, uint64_t number, int64_t first_id, uint32_t n) {
    tw_status status;
    reader r;
    batch *b = pop(w, &status, &r);
    assert_int_equal(status, TW_OK);
    assert_int_equal(b->rows, n);
    assert_int_equal(r.position, number);
    assert_true(r.spread > 0);
    for (uint32_t i = 0; i < n; i++) assert_int_equal(((int64_t *)b->columns[0].values)[i], first_id + i);
    batch_unref(b);
}

static void expect_none(world *w, tw_status why) {
    tw_status status;
    reader r;
    assert_null(pop(w, &status, &r));
    assert_int_equal(status, why);
}

static void end(world *w, uint32_t input, uint64_t n_splits) {
    for (uint64_t i = 0; i < n_splits; i++) MUST(w->sink->class->end_split(w->writer, &(batch_order){input, i, 0}, NULL));
    MUST(w->sink->class->end_input(w->sink, input, n_splits, NULL));
}

static void test_batches_come_in_row_order(void **state) {
    world w;
    set_up(&w, (queue_options){.rows_max = UINT64_MAX}, 2, 64 << 20);
    expect_none(&w, STATUS_WAIT);
    push(&w, 1, 0, 500, 10, 9);
    push(&w, 0, 1, 100, 10, 9);
    expect_none(&w, STATUS_WAIT);
    unsigned wakes = w.wakes;
    push(&w, 0, 0, 0, 10, 9);
    assert_true(w.wakes > wakes);
    expect(&w, 0, 0, 10);
    expect_none(&w, STATUS_WAIT);
    wakes = w.wakes;
    end(&w, 0, 2);
    assert_true(w.wakes > wakes);
    expect(&w, 10, 100, 10);
    expect(&w, 20, 500, 10);
    end(&w, 1, 1);
    expect_none(&w, STATUS_WAIT);
    wakes = w.wakes;
    MUST(w.sink->class->finish(w.sink, NULL));
    assert_true(w.wakes > wakes);
    expect_none(&w, TW_END);
    tear_down(&w);
}

static void test_batches_are_cut(void **state) {
    world w;
    set_up(&w, (queue_options){.rows_max = UINT64_MAX, .piece_rows = 3}, 1, 64 << 20);
    push(&w, 0, 0, 0, 10, 9);
    for (uint32_t i = 0; i < 3; i++) expect(&w, i * 3, i * 3, 3);
    expect(&w, 9, 9, 1);
    expect_none(&w, STATUS_WAIT);
    tear_down(&w);
}

static void test_exactly_so_many_rows_pass(void **state) {
    for (uint64_t most = 1; most < 25; most++) {
        world w;
        set_up(&w, (queue_options){.rows_max = most}, 1, 64 << 20);
        assert_false(w.sink->class->satisfied(w.sink));
        for (uint64_t i = 0; i < 3; i++) push(&w, 0, 0, i * 10, 10, 9);
        assert_true(w.sink->class->satisfied(w.sink));
        for (uint64_t i = 0; i < most; i += 10) expect(&w, i, (int64_t)i, (uint32_t)(most - i < 10 ? most - i : 10));
        expect_none(&w, STATUS_WAIT);
        tear_down(&w);
    }
    world w;
    set_up(&w, (queue_options){.rows_max = 0}, 1, 64 << 20);
    assert_true(w.sink->class->satisfied(w.sink));
    tear_down(&w);
}

/* A failure comes out in its place, and nothing after it; one behind the last row wanted is forgotten. */
static void test_a_failure_takes_its_place(void **state) {
    for (uint64_t most = 19; most < 22; most++) {
        world w;
        set_up(&w, (queue_options){.rows_max = most}, 1, 64 << 20);
        tw_error failure = {.code = TW_ERR_DATA, .record = 21, .message = "the 21st row is bad"};
        MUST(w.sink->class->push_failure(w.writer, &(batch_order){0, 1, 0}, &failure));
        push(&w, 0, 1, 500, 10, 9);
        expect_none(&w, STATUS_WAIT);
        push(&w, 0, 0, 0, 10, 9);
        push(&w, 0, 0, 10, 10, 9);
        assert_int_equal(w.sink->class->satisfied(w.sink), most <= 20);
        MUST(w.sink->class->end_split(w.writer, &(batch_order){0, 0, 0}, NULL));
        assert_true(w.sink->class->satisfied(w.sink));
        expect(&w, 0, 0, 10);
        expect(&w, 10, 10, most == 19 ? 9 : 10);
        if (most == 21) {
            reader *r;
            MUST(w.source->class->open(w.source, w.opened, &r, NULL));
            for (unsigned again = 0; again < 2; again++) {
                tw_error err = {0};
                batch *b;
                assert_int_equal(r->class->next(r, &b, &err), TW_ERR_DATA);
                assert_string_equal(err.message, failure.message);
                assert_int_equal(err.record, 21);
            }
            r->class->free(r);
        }
        expect_none(&w, STATUS_WAIT);
        tear_down(&w);
    }
}

static void test_a_full_queue_refuses_and_calls_back(void **state) {
    world w;
    set_up(&w, (queue_options){.rows_max = UINT64_MAX}, 1, 64 << 20);
    batch_order order = {0, 0, 0};
    uint32_t n = 0;
    for (; w.sink->class->ready(w.sink, &order); n++) {
        push(&w, 0, 0, n * 100, 100, 1000);
        assert_true(n < 1000);
    }
    assert_true(n > 4);
    unsigned wakes = w.wakes;
    expect(&w, 0, 0, 100);
    assert_int_equal(w.wakes, wakes); /* it would be full again at once */
    for (uint32_t i = 1; i < n; i++) expect(&w, i * 100, i * 100, 100);
    assert_int_equal(w.wakes, wakes + 1);
    assert_true(w.sink->class->ready(w.sink, &order));
    tear_down(&w);
}

static void test_who_fills_it_stops_when_nobody_reads(void **state) {
    world w;
    set_up(&w, (queue_options){.rows_max = UINT64_MAX}, 1, 64 << 20);
    push(&w, 0, 0, 0, 100, 10);
    push(&w, 0, 0, 100, 100, 10);
    w.source->class->free(w.source);
    w.source = NULL;
    assert_true(w.sink->class->satisfied(w.sink));
    push(&w, 0, 0, 200, 100, 10); /* one that was on its way */
    tear_down(&w);
}

static void test_columns_that_are_needed(void **state) {
    world w;
    set_up(&w, (queue_options){.rows_max = UINT64_MAX}, 1, 64 << 20);
    bool needed[3] = {0};
    w.sink->class->needs(w.sink, needed);
    assert_true(needed[0] && needed[1] && needed[2]);
    w.source->class->prune(w.source, (bool[]){1, 0, 1});
    memset(needed, 0, sizeof needed);
    w.sink->class->needs(w.sink, needed);
    assert_true(needed[0] && !needed[1] && needed[2]);
    tear_down(&w);
}

/* ---- threads on both ends ---- */

enum { THREADS = 3, SPLITS = 200 };

typedef struct crowd {
    world w;
    atomic_uint next_split, splits_left, popped;
    atomic_ullong sum;
    uint64_t first[SPLITS + 1]; /* row of each split */
} crowd;

static void *fill(void *context) {
    crowd *c = context;
    sink *k = c->w.sink;
    sink_writer *w;
    MUST(k->class->open(k, &w, NULL));
    for (unsigned s; (s = atomic_fetch_add(&c->next_split, 1)) < SPLITS;) {
        batch_order order = {0, s, 0};
        for (uint64_t first = c->first[s]; first < c->first[s + 1]; first += 20) {
            uint64_t n = c->first[s + 1] - first < 20 ? c->first[s + 1] - first : 20;
            batch *b;
            while (!k->class->ready(k, &order)) sched_yield();
            MUST(make_rows(c->w.run.memory, c->w.schema, (bool[]){1, 1, 1}, 0, first, (uint32_t)n, 500, &b, NULL));
            MUST(k->class->push(w, &order, b, NULL));
            batch_unref(b);
        }
        MUST(k->class->end_split(w, &order, NULL));
        if (atomic_fetch_sub(&c->splits_left, 1) == 1) {
            MUST(k->class->end_input(k, 0, SPLITS, NULL));
            MUST(k->class->finish(k, NULL));
        }
    }
    MUST(k->class->close(w, NULL));
    return NULL;
}

static void *drain(void *context) {
    crowd *c = context;
    for (;;) {
        reader *r;
        tw_status status = c->w.source->class->open(c->w.source, 0, &r, NULL);
        if (status == TW_END) return NULL;
        if (status == STATUS_WAIT) {
            sched_yield();
            continue;
        }
        batch *b;
        MUST(r->class->next(r, &b, NULL));
        for (uint32_t i = 0; i < b->rows; i++) HOLDS(((int64_t *)b->columns[0].values)[i] == (int64_t)(r->position + i));
        atomic_fetch_add(&c->popped, b->rows);
        batch_unref(b);
        r->class->free(r);
    }
}

static void test_many_threads(void **state) {
    static crowd c;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        memset(&c, 0, sizeof c);
        uint64_t s = seed;
        set_up(&c.w, (queue_options){.rows_max = UINT64_MAX, .piece_rows = 7}, 1, 32 << 20);
        for (int i = 0; i < SPLITS; i++) c.first[i + 1] = c.first[i] + draw_below(&s, 100);
        c.splits_left = SPLITS;
        pthread_t threads[THREADS * 2];
        for (int i = 0; i < THREADS * 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, i < THREADS ? fill : drain, &c), 0);
        for (int i = 0; i < THREADS * 2; i++) pthread_join(threads[i], NULL);
        assert_int_equal(c.popped, c.first[SPLITS]);
        tear_down(&c.w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batches_come_in_row_order),
        cmocka_unit_test(test_batches_are_cut),
        cmocka_unit_test(test_exactly_so_many_rows_pass),
        cmocka_unit_test(test_a_failure_takes_its_place),
        cmocka_unit_test(test_a_full_queue_refuses_and_calls_back),
        cmocka_unit_test(test_who_fills_it_stops_when_nobody_reads),
        cmocka_unit_test(test_columns_that_are_needed),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
