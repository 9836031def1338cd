/* Every allocation of a group fails once, from planning to the last result: TW_ERR_MEMORY must come out, and
 * nothing may be left behind. The sanitizers bring their own malloc, so this runs without them. */
#include "unit/failing_malloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/pipeline.h"
#include "step/group_state.h"
#include "unit/data/random_columns.h"

#ifdef NO_FAILING_MALLOC
int main(void) { return 0; }
#else

enum { n_rows = 300, n_aggregates = 7, n_columns = 1 + n_aggregates };

typedef struct world {
    memory *of_input;
    schema *in, *out;
    aggregate aggregates[n_aggregates];
    batch *input;
    atomic_bool cancelled;
    run_context run;
    group_ends ends;
    uint64_t groups;
} world;

static void set_up(world *w) {
    static const aggregate_kind kinds[n_aggregates] = {AGGREGATE_COUNT_ROWS, AGGREGATE_SUM, AGGREGATE_MIN, AGGREGATE_FIRST,
                                                       AGGREGATE_QUANTILE, AGGREGATE_COLLECT, AGGREGATE_COUNT_DISTINCT};
    const type *number = type_of(TYPE_INT32), *text = type_of(TYPE_STRING);
    const type *types[n_columns] = {text, number, number, text, text, number, type_list(text), text}, *results[n_columns];
    const char *names[n_columns] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    uint64_t seed = 7;
    *w = (world){0};
    MUST(memory_create(64 << 20, &w->of_input, NULL));
    results[0] = text;
    for (uint32_t i = 0; i < n_aggregates; i++) {
        w->aggregates[i].column = i + 1;
        w->aggregates[i].fraction = 0.5;
        MUST(aggregate_init(&w->aggregates[i], kinds[i], i ? types[i + 1] : NULL, NULL));
        results[i + 1] = w->aggregates[i].output;
    }
    MUST(schema_new(names, types, n_columns, &w->in, NULL));
    MUST(schema_new(names, results, n_columns, &w->out, NULL));
    MUST(batch_new(w->in, n_rows, &w->input, NULL));
    for (uint32_t i = 0; i < n_columns; i++) random_column(w->of_input, &seed, types[i], n_rows, &w->input->columns[i]);
}

static tw_status push_into(sink *k, batch *b, sink_writer **w) {
    if (!*w) TRY(k->class->open(k, w, NULL));
    return k->class->push(*w, &(batch_order){0}, b, NULL);
}

static tw_status close_writer(sink *k, sink_writer **w) {
    if (!*w) return TW_OK;
    TRY(k->class->close(*w, NULL));
    *w = NULL;
    return TW_OK;
}

/* All splits of a source into a sink, or nowhere. */
static tw_status read_all(world *w, source *from, sink *to, sink_writer **writer) {
    uint64_t n;
    TRY(from->class->start(from, &w->run, &n, NULL));
    for (uint64_t i = 0; i < n; i++) {
        reader *r;
        batch *b;
        tw_status status;
        TRY(from->class->open(from, i, &r, NULL));
        while ((status = r->class->next(r, &b, NULL)) == TW_OK) {
            if (to) status = push_into(to, b, writer);
            else w->groups += b->rows;
            batch_unref(b);
            if (status != TW_OK) break;
        }
        r->class->free(r);
        if (status != TW_END) return status;
    }
    return TW_OK;
}

static tw_status run_ends(world *w, sink_writer **writer, sink **open_sink) {
    group_ends *e = &w->ends;
    TRY(e->sink->class->start(e->sink, &w->run, 1, NULL));
    TRY(e->pair_sink->class->start(e->pair_sink, &w->run, 1, NULL));
    *open_sink = e->sink;
    TRY(push_into(e->sink, w->input, writer));
    TRY(close_writer(e->sink, writer));
    TRY(e->sink->class->finish(e->sink, NULL));
    *open_sink = e->pair_sink;
    TRY(read_all(w, e->pair_source, e->pair_sink, writer));
    TRY(close_writer(e->pair_sink, writer));
    TRY(e->pair_sink->class->finish(e->pair_sink, NULL));
    return read_all(w, e->source, NULL, NULL);
}

static tw_status run_once(world *w) {
    w->groups = 0;
    w->run = (run_context){.cancelled = &w->cancelled, .parallelism = 1, .batch_rows = 100, .batch_bytes = 1 << 20};
    long fail_later = calls_left;
    calls_left = -1; /* what is not of the group does not fail */
    MUST(memory_create(64 << 20, &w->run.memory, NULL));
    MUST(spill_create(NULL, &w->run.spill, NULL));
    aggregate *copy = malloc(sizeof w->aggregates);
    memcpy(copy, w->aggregates, sizeof w->aggregates);
    calls_left = fail_later;
    sink_writer *writer = NULL;
    sink *open_sink = NULL;
    tw_status status = group_state_create("group", 1, copy, n_aggregates, NULL, w->out, &w->ends, NULL);
    if (status == TW_OK) {
        status = run_ends(w, &writer, &open_sink);
        if (writer) open_sink->class->drop(writer);
        w->ends.sink->class->free(w->ends.sink);
        w->ends.pair_source->class->free(w->ends.pair_source);
        w->ends.pair_sink->class->free(w->ends.pair_sink);
        w->ends.source->class->free(w->ends.source);
        schema_unref(w->ends.pairs);
    }
    spill_free(w->run.spill);
    memory_destroy(w->run.memory);
    return status;
}

static void test_each_failure(void **state) {
    (void)state;
    world w;
    set_up(&w);
    assert_int_equal(run_once(&w), TW_OK);
    uint64_t groups = w.groups;
    assert_true(groups > 10);
    for (long k = 0; k < 100000; k++) {
        long before = live_blocks;
        calls_left = k;
        call_failed = false;
        tw_status status = run_once(&w);
        calls_left = -1;
        if (live_blocks != before) fail_msg("%ld blocks left when allocation %ld fails", live_blocks - before, k);
        if (!call_failed) {
            assert_int_equal(status, TW_OK);
            assert_int_equal(w.groups, groups);
            assert_true(k > 100);
            batch_unref(w.input);
            schema_unref(w.in);
            schema_unref(w.out);
            memory_destroy(w.of_input);
            return;
        }
        /* Some do without. */
        if (status != TW_ERR_MEMORY && !(status == TW_OK && w.groups == groups))
            fail_msg("allocation %ld fails, yet %s", k, tw_status_name(status));
    }
    fail_msg("no end");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_failure)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
