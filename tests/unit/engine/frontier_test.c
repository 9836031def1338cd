/* frontier: against a plain model that looks at all splits, opened and ended in random order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/frontier.h"

enum { splits_max = 400 };

static mark expected(const mark *after, const bool *ended, uint32_t n, uint32_t next_epoch) {
    mark m = {.watermark = WATERMARK_NONE};
    uint32_t i = 0;
    for (; i < n && ended[i]; i++)
        if (after[i].watermark > m.watermark) m.watermark = after[i].watermark;
    m.epoch = i < n ? after[i].epoch : next_epoch;
    return m;
}

static void test_random_orders(void **state) {
    for (unsigned seed = 1; seed <= 200; seed++) {
        mark after[splits_max];
        bool ended[splits_max] = {0};
        uint32_t n = 0, left = 0, epoch = 0;
        int64_t time = -1000;
        frontier f;
        srand(seed);
        frontier_init(&f);
        while (n < splits_max || left) {
            unsigned what = (unsigned)rand() % 8;
            if (what < 4 && n < splits_max) {
                time += rand() % 10;
                after[n] = (mark){.watermark = time, .epoch = epoch};
                assert_int_equal(frontier_open(&f, n, after[n], NULL), TW_OK);
                n++, left++;
            } else if (what == 4) {
                frontier_cut(&f, ++epoch);
            } else if (left) {
                uint32_t i = (uint32_t)rand() % n;
                while (ended[i]) i = (i + 1) % n;
                ended[i] = true;
                left--;
                frontier_end(&f, i);
            }
            mark m = expected(after, ended, n, epoch);
            if (f.now.watermark != m.watermark || f.now.epoch != m.epoch) {
                printf("seed %u\n", seed);
                assert_int_equal(f.now.watermark, m.watermark);
                assert_int_equal(f.now.epoch, m.epoch);
            }
        }
        frontier_free(&f);
    }
}

/* A split of a later epoch tells by itself, where nobody cuts. */
static void test_epochs_of_splits(void **state) {
    frontier f;
    frontier_init(&f);
    assert_int_equal(frontier_open(&f, 0, (mark){.watermark = 1, .epoch = 0}, NULL), TW_OK);
    assert_int_equal(frontier_open(&f, 1, (mark){.watermark = 2, .epoch = 1}, NULL), TW_OK);
    frontier_end(&f, 1);
    assert_int_equal(f.now.epoch, 0);
    frontier_end(&f, 0);
    assert_int_equal(f.now.epoch, 1);
    assert_int_equal(f.now.watermark, 2);
    assert_int_equal(frontier_open(&f, 2, (mark){.watermark = 2, .epoch = 3}, NULL), TW_OK);
    assert_int_equal(f.now.epoch, 3);
    frontier_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_orders), cmocka_unit_test(test_epochs_of_splits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
