#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/histogram.h"

static histogram h;

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void small_values_are_exact(void **state) {
    h = (histogram){0};
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
    for (uint64_t v = 1; v <= 100; v++) histogram_add(&h, v, 1);
    assert_int_equal(histogram_quantile(&h, 0.5), 50);
    assert_int_equal(histogram_quantile(&h, 0.99), 99);
    assert_int_equal(histogram_quantile(&h, 1), 100);
    assert_int_equal(histogram_quantile(&h, 0), 1);
    assert_int_equal(histogram_quantile(&h, 0.505), 51); /* half of them and one more */
}

static void any_value_has_a_bucket(void **state) {
    const uint64_t values[] = {0, 1, 127, 128, 129, 255, 256, 257, 1u << 20, (1u << 20) - 1, UINT64_C(1) << 63, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        h = (histogram){0};
        histogram_add(&h, values[i], 1);
        assert_true(histogram_quantile(&h, 0.5) == values[i]); /* never beyond the greatest */
    }
}

/* Against sorting, over seven decades. */
static void quantiles_are_within_a_hundredth(void **state) {
    enum { N = 20000 };
    static uint64_t values[N];
    uint64_t random = 88172645463325252u;
    h = (histogram){0};
    for (int i = 0; i < N; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        values[i] = random >> (20 + random % 24);
        histogram_add(&h, values[i], 1);
    }
    qsort(values, N, sizeof *values, compare);
    const double shares[] = {0.01, 0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        double exact = (double)values[(size_t)(shares[i] * N + 0.5) - 1], found = (double)histogram_quantile(&h, shares[i]);
        assert_true(found >= exact && found <= exact * 1.01 + 1);
    }
    assert_int_equal(histogram_quantile(&h, 1), values[N - 1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(small_values_are_exact), cmocka_unit_test(any_value_has_a_bucket),
                                       cmocka_unit_test(quantiles_are_within_a_hundredth)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
