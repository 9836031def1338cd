#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>

#include "step/seen_rows.h"
#include "unit/engine/fakes.h"

enum { rows_max = 8000 };

static uint64_t apart(int64_t a, int64_t b) { return a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a; }

/* Against a list of all that were let through; times of any size. */
static void check(int64_t within, int64_t span, int64_t base, bool forget) {
    memory *m;
    seen_rows *s;
    const type *t = type_of(TYPE_INT64);
    static int64_t keys[rows_max], times[rows_max], seen_keys[rows_max], seen_times[rows_max];
    static uint64_t hashes[rows_max];
    uint32_t n_seen = 0;
    uint64_t random = (uint64_t)within;
    MUST(memory_create(32 << 20, &m, NULL));
    MUST(seen_rows_new(&t, 1, within, &s, NULL));
    seen_rows_start(s, m);
    for (uint32_t i = 0; i < rows_max; i++) {
        keys[i] = (int64_t)(draw(&random) >> 33) % (forget ? 2000 : 20);
        times[i] = (int64_t)((uint64_t)base + (draw(&random) >> 20) % (uint64_t)span + (forget ? i * (uint64_t)within / 50 : 0));
    }
    for (uint32_t first = 0, n; first < rows_max; first += n) {
        uint32_t rows[97], kept = 0;
        n = rows_max - first < 97 ? rows_max - first : 97;
        column c = {.type = t, .rows = n, .values = keys + first};
        for (uint32_t i = 0; i < n; i++) rows[i] = i;
        hash_columns(&c, 1, n, hashes);
        uint32_t found = n;
        MUST(seen_rows_keep(s, &c, hashes, times + first, 0, rows, &found, NULL));
        for (uint32_t i = first; i < first + n; i++) {
            bool repeat = false;
            for (uint32_t k = 0; k < n_seen && !repeat; k++)
                repeat = seen_keys[k] == keys[i] && apart(seen_times[k], times[i]) < (uint64_t)within;
            if (repeat) continue;
            seen_keys[n_seen] = keys[i];
            seen_times[n_seen++] = times[i];
            assert_true(kept < found && rows[kept++] == i - first);
        }
        assert_int_equal(kept, found);
        if (forget) seen_rows_forget(s, base + (int64_t)first * (within / 50) - 2 * within);
    }
    if (forget) assert_true(seen_rows_count(s) < n_seen);
    else assert_int_equal(seen_rows_count(s), n_seen);
    seen_rows_free(s);
    memory_destroy(m);
}

static void as_a_list_would(void **state) {
    check(1000, 50000, 0, false);
    check(1000, 50000, -25000, false);
    check(7, 400, INT64_MIN, false);
    check(1, 400, INT64_MAX - 500, false);
    check(INT64_MAX / 4, INT64_MAX, INT64_MIN / 2, false);
}

static void what_is_forgotten_does_not_count(void **state) { check(5000, 5000, 12345, true); }

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_a_list_would),
        cmocka_unit_test(what_is_forgotten_does_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
