#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "engine/store.h"
#include "unit/engine/fakes.h"

typedef struct world {
    run_context run;
    atomic_bool cancelled;
    schema *schema;
    sink *sink;
    store *store;
    source *sources[3];
    sink_writer *writer;
    uint64_t n_splits;
} world;

static void woken(void *engine) {}

static void set_up(world *w, size_t memory_bytes, const bool *needed) {
    *w = (world){.run = {.batch_rows = 1000, .parallelism = 2, .wake = woken}};
    w->run.cancelled = &w->cancelled;
    MUST(memory_create(memory_bytes, &w->run.memory, NULL));
    MUST(spill_create(NULL, &w->run.spill, NULL));
    MUST(row_schema(&w->schema, NULL));
    MUST(store_create(w->schema, &w->sink, &w->store, NULL));
    for (int i = 0; i < 3; i++) {
        MUST(store_source(w->store, &w->sources[i], NULL));
        bool mine[3] = {i == 0 && needed[0], i == 1 && needed[1], i == 2 && needed[2]};
        w->sources[i]->class->prune(w->sources[i], mine);
    }
    MUST(w->sink->class->start(w->sink, &w->run, 1, NULL));
    MUST(w->sink->class->open(w->sink, &w->writer, NULL));
}

static void push(world *w, uint64_t position, uint64_t first, uint32_t n, size_t pad, const bool *needed) {
    batch *b;
    MUST(make_rows(w->run.memory, w->schema, needed, 0, first, n, pad, &b, NULL));
    MUST(w->sink->class->push(w->writer, &(batch_order){0, 0, position}, b, NULL));
    batch_unref(b);
}

static void finish(world *w) {
    MUST(w->sink->class->close(w->writer, NULL));
    w->writer = NULL;
    MUST(w->sink->class->finish(w->sink, NULL));
    for (int i = 0; i < 3; i++) MUST(w->sources[i]->class->start(w->sources[i], &w->run, &w->n_splits, NULL));
}

static void tear_down(world *w) {
    if (w->writer) w->sink->class->drop(w->writer);
    for (int i = 0; i < 3; i++)
        if (w->sources[i]) w->sources[i]->class->free(w->sources[i]);
    w->sink->class->free(w->sink);
    schema_unref(w->schema);
    spill_free(w->run.spill);
    memory_destroy(w->run.memory);
}

/* Reads all with one of the sources; the rows are numbered from 0. */
static uint64_t read_all(world *w, source *s, const bool *needed, size_t pad) {
    uint64_t row = 0;
    for (uint64_t split = 0; split < w->n_splits; split++) {
        reader *r;
        batch *b;
        MUST(s->class->open(s, split, &r, NULL));
        assert_int_equal(r->position, row);
        assert_true(r->spread > 0);
        MUST(r->class->next(r, &b, NULL));
        for (uint32_t i = 0; i < b->rows; i++, row++) {
            char text[PAD_MAX + 32];
            int64_t id = (int64_t)row;
            if (needed[0]) assert_int_equal(((int64_t *)b->columns[0].values)[i], id);
            if (needed[1]) {
                const view *v = (const view *)b->columns[1].values + i;
                assert_int_equal(v->size, text_of(id, text, pad));
                assert_memory_equal(view_data(v), text, v->size);
            }
            if (needed[2]) assert_int_equal(((int64_t *)b->columns[2].values)[i], twin_of(id));
        }
        for (int c = 0; c < 3; c++)
            if (!needed[c]) assert_null(b->columns[c].values);
        batch_unref(b);
        assert_int_equal(r->class->next(r, &b, NULL), TW_END);
        r->class->free(r);
    }
    reader *none;
    assert_int_equal(s->class->open(s, w->n_splits, &none, NULL), TW_END);
    return row;
}

static void test_every_reader_gets_all_in_order(void **state) {
    world w;
    const bool all[3] = {1, 1, 1};
    set_up(&w, 64 << 20, all);
    /* as lanes bring them: not in order */
    push(&w, 200, 20, 10, 30, all);
    push(&w, 300, 30, 7, 30, all);
    push(&w, 5, 0, 20, 30, all);
    finish(&w);
    assert_int_equal(w.n_splits, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(read_all(&w, w.sources[i], all, 30), 37);
    assert_int_equal(spill_bytes(w.run.spill), 0);
    tear_down(&w);
}

/* Columns that nobody reads come in absent, and go out so. */
static void test_columns_that_nobody_reads(void **state) {
    for (int mask = 0; mask < 8; mask++) {
        bool needed[3] = {mask & 1, mask & 2, mask & 4}, asked[3] = {0};
        world w;
        set_up(&w, 64 << 20, needed);
        w.sink->class->needs(w.sink, asked);
        assert_memory_equal(asked, needed, 3);
        for (uint64_t i = 0; i < 5; i++) push(&w, i << 32, i * 10, 10, 300, needed);
        finish(&w);
        for (int i = 0; i < 3; i++) assert_int_equal(read_all(&w, w.sources[i], needed, 300), 50);
        tear_down(&w);
    }
}

static void test_no_rows(void **state) {
    world w;
    const bool all[3] = {1, 1, 1};
    set_up(&w, 64 << 20, all);
    finish(&w);
    assert_int_equal(w.n_splits, 0);
    tear_down(&w);
}

static void test_what_does_not_fit_is_spilled(void **state) {
    world w;
    const bool all[3] = {1, 1, 1};
    set_up(&w, 4 << 20, all);
    enum { BATCHES = 100, ROWS = 100 };
    for (uint64_t i = 0; i < BATCHES; i++) push(&w, i << 32, i * ROWS, ROWS, 2000, all); /* 20 MB */
    finish(&w);
    assert_true(spill_bytes(w.run.spill) > 8 << 20);
    assert_true(memory_peak(w.run.memory) <= 4 << 20);
    for (int i = 0; i < 2; i++) assert_int_equal(read_all(&w, w.sources[i], all, 2000), BATCHES * ROWS);
    /* others may take what it holds while it is read */
    reader *r;
    batch *b;
    MUST(w.sources[2]->class->open(w.sources[2], BATCHES - 1, &r, NULL));
    MUST(r->class->next(r, &b, NULL));
    buffer *big;
    MUST(buffer_new(w.run.memory, MEMORY_FLOW, 3 << 20, &big, NULL));
    buffer_unref(big);
    r->class->free(r);
    batch_unref(b);
    assert_int_equal(read_all(&w, w.sources[2], all, 2000), BATCHES * ROWS);
    tear_down(&w);
}

static void test_memory_comes_back_with_the_last_reader(void **state) {
    world w;
    const bool all[3] = {1, 1, 1};
    set_up(&w, 64 << 20, all);
    for (uint64_t i = 0; i < 50; i++) push(&w, i << 32, i * 100, 100, 2000, all);
    finish(&w);
    for (int i = 0; i < 3; i++) {
        assert_true(memory_state_left(w.run.memory) < 44u << 20);
        w.sources[i]->class->free(w.sources[i]);
        w.sources[i] = NULL;
    }
    assert_true(memory_state_left(w.run.memory) >= 48u << 20);
    tear_down(&w);
}

/* The sink lives as long as the run, its sources as long as the plan wants: in any order. */
static void test_it_may_be_given_up_at_any_time(void **state) {
    world w;
    const bool all[3] = {1, 1, 1};
    set_up(&w, 64 << 20, all);
    push(&w, 0, 0, 10, 10, all);
    tear_down(&w);
    set_up(&w, 64 << 20, all);
    push(&w, 0, 0, 10, 10, all);
    finish(&w);
    w.sink->class->free(w.sink);
    for (int i = 0; i < 3; i++) w.sources[i]->class->free(w.sources[i]);
    schema_unref(w.schema);
    spill_free(w.run.spill);
    memory_destroy(w.run.memory);
}

/* ---- in jobs ---- */

static void test_flows_that_several_read(void **state) {
    for (uint32_t parallelism = 1; parallelism <= 8; parallelism += 2) {
        slots_clear();
        run_options o = {.parallelism = parallelism, .memory_bytes = 8 << 20, .batch_rows = 50};
        const char *text = "flows:\n"
                           "  a: {source: {numbers: {splits: 60, batches: 4, rows: 50, pad: 2000}}, sink: {record: {slot: 0, all: true}}}\n"
                           "  b: {source: {flow: a}, steps: [{alter: {every: 2}}], sink: {record: {slot: 1, all: true}}}\n"
                           "  c: {source: {flow: a}, steps: [{union: [b2]}], sink: {record: {slot: 2}}}\n"
                           "  b2: {source: {flow: a}, steps: [{limit: 100}]}\n";
        fake_run f;
        fake_start(&f, text, &o);
        MUST(fake_wait(&f, text));
        run_figures figures;
        run_get_figures(f.run, &figures);
        assert_true(figures.spilled_bytes > 0);
        assert_true(figures.peak_memory_bytes <= 8 << 20);
        fake_end(&f);
        assert_int_equal(slots[0].n, 12000);
        assert_int_equal(slots[1].n, 6000);
        assert_int_equal(slots[2].n, 12100);
        for (int i = 0; i < 12000; i++) assert_int_equal(slots[0].ids[i], i);
        for (int i = 0; i < 6000; i++) assert_int_equal(slots[1].ids[i], 2 * i);
        for (int i = 0; i < 12100; i++) assert_int_equal(slots[2].ids[i], i % 12000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_reader_gets_all_in_order),
        cmocka_unit_test(test_columns_that_nobody_reads),
        cmocka_unit_test(test_no_rows),
        cmocka_unit_test(test_what_does_not_fit_is_spilled),
        cmocka_unit_test(test_memory_comes_back_with_the_last_reader),
        cmocka_unit_test(test_it_may_be_given_up_at_any_time),
        cmocka_unit_test(test_flows_that_several_read),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    slots_clear();
    return failed;
}
