#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "step/event_clock.h"
#include "unit/engine/fakes.h"

typedef struct world {
    memory *memory;
    schema *schema;
    event_clock *clock;
    int64_t own, others;
} world;

static void set_up(world *w, int64_t lateness) {
    const char *name = "t";
    const type *t = type_of(TYPE_TIMESTAMP);
    MUST(memory_create(16 << 20, &w->memory, NULL));
    MUST(schema_new(&name, &t, 1, &w->schema, NULL));
    MUST(event_clock_new(0, lateness, EVENT_CLOCK_IDLE_US, &w->clock, NULL));
}

static void tear_down(world *w) {
    event_clock_free(w->clock);
    schema_unref(w->schema);
    memory_destroy(w->memory);
}

/* The watermark behind a batch of one row. */
static int64_t row(world *w, uint32_t partition, int64_t time) {
    batch *b;
    MUST(batch_new(w->schema, 1, &b, NULL));
    MUST(column_new(w->memory, type_of(TYPE_TIMESTAMP), 1, &b->columns[0], NULL));
    *(int64_t *)b->columns[0].values = time;
    int64_t after = event_clock_stamp(w->clock, b, partition, &w->own, &w->others);
    batch_unref(b);
    return after;
}

static void the_least_partition_says(void **state) {
    world w;
    set_up(&w, 10);
    assert_true(row(&w, 0, 100) == 90);
    assert_true(w.own == WATERMARK_NONE && w.others == WATERMARK_END);
    assert_true(row(&w, 0, 50) == 90 && row(&w, 0, 200) == 190);
    assert_true(row(&w, 2, 300) == 190 && row(&w, 0, 280) == 270);
    assert_true(row(&w, 0, 400) == 290 && w.own == 270 && w.others == 290);
    tear_down(&w);
}

static void a_partition_that_comes_later_takes_nothing_back(void **state) {
    world w;
    set_up(&w, 0);
    assert_true(row(&w, 1, 1000) == 1000);
    assert_true(row(&w, 0, 10) == 1000);
    assert_true(w.own == 1000 && w.others == 1000);
    assert_true(row(&w, 1, 2000) == 1000 && row(&w, 0, 1500) == 1500);
    tear_down(&w);
}

static int64_t tick_after(world *w, int64_t us) { return event_clock_tick(w->clock, clock_ns() + (uint64_t)us * 1000); }

static void a_silent_partition_holds_nothing_back(void **state) {
    world w;
    set_up(&w, 0);
    assert_true(tick_after(&w, 2 * EVENT_CLOCK_IDLE_US) == WATERMARK_NONE);
    assert_true(row(&w, 0, 100) == 100);
    assert_true(row(&w, 1, 500) == 100 && row(&w, 2, 300) == 100);
    assert_true(tick_after(&w, EVENT_CLOCK_IDLE_US / 2) == 100);
    /* The one that was heard last counts always, though all are silent. */
    assert_true(tick_after(&w, EVENT_CLOCK_IDLE_US) == 300);
    /* Rows that come now are late, and their partition counts again: it says less than the others. */
    assert_true(row(&w, 0, 50) == 300 && w.own == 300);
    assert_true(row(&w, 1, 900) == 300 && row(&w, 0, 350) == 300);
    assert_true(tick_after(&w, EVENT_CLOCK_IDLE_US / 2) == 300 && row(&w, 2, 400) == 350);
    tear_down(&w);
}

static void times_at_the_edge(void **state) {
    world w;
    set_up(&w, 10);
    assert_true(row(&w, 0, INT64_MIN + 3) == WATERMARK_NONE);
    assert_true(row(&w, 0, INT64_MAX) == INT64_MAX - 10);
    tear_down(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_partition_says),
        cmocka_unit_test(a_partition_that_comes_later_takes_nothing_back),
        cmocka_unit_test(a_silent_partition_holds_nothing_back),
        cmocka_unit_test(times_at_the_edge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
