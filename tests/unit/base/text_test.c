#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/quantity.h"
#include "base/text.h"

static void text_grows(void **state) {
    struct text t = {0};
    assert_string_equal(text_string(&t), "");
    for (int i = 0; i < 1000; i++) assert_int_equal(text_printf(&t, "%d,", i), TW_OK);
    assert_int_equal(t.length, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(text_string(&t)), t.length);
    assert_memory_equal(text_string(&t) + t.length - 8, "998,999,", 8);
    text_truncate(&t, 4);
    text_append_char(&t, 'x');
    text_append_repeated(&t, '-', 3);
    text_append_string(&t, "end");
    text_append(&t, "", 0);
    assert_string_equal(text_string(&t), "0,1,x---end");
    text_truncate(&t, 100);
    char *taken = text_take(&t);
    assert_string_equal(taken, "0,1,x---end");
    assert_int_equal(t.length, 0);
    free(taken);
    taken = text_take(&t);
    assert_string_equal(taken, "");
    free(taken);
    text_free(&t);
}

static void text_remembers_failure(void **state) {
    struct text t = {0};
    assert_int_equal(text_append_string(&t, "kept"), TW_OK);
    assert_int_equal(text_append(&t, "", SIZE_MAX / 2), TW_ERR_MEMORY);
    assert_int_equal(text_append_string(&t, "x"), TW_ERR_MEMORY);
    assert_int_equal(text_printf(&t, "x"), TW_ERR_MEMORY);
    assert_string_equal(text_string(&t), "kept");
    assert_null(text_take(&t));
    assert_false(t.failed);
}

static void distances(void **state) {
    assert_int_equal(edit_distance("", "", 3), 0);
    assert_int_equal(edit_distance("limit", "limit", 3), 0);
    assert_int_equal(edit_distance("Limit", "lIMIT", 3), 0);
    assert_int_equal(edit_distance("limit", "limt", 3), 1);
    assert_int_equal(edit_distance("limit", "limiit", 3), 1);
    assert_int_equal(edit_distance("limit", "lamit", 3), 1);
    assert_int_equal(edit_distance("limit", "ilmit", 3), 1);
    assert_int_equal(edit_distance("ca", "abc", 3), 3); /* not 2: a swapped pair is not edited again */
    assert_int_equal(edit_distance("kitten", "sitting", 3), 3);
    assert_int_equal(edit_distance("kitten", "sitting", 2), 3);
    assert_int_equal(edit_distance("", "abc", 3), 3);
    char long_name[100];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    assert_int_equal(edit_distance(long_name, long_name, 3), 4);
}

static void nearest_names(void **state) {
    static const char *const names[] = {"from", "into", "lowercase", "aggregate", "by"};
    assert_string_equal(nearest_name("lowercas", names, 5), "lowercase");
    assert_string_equal(nearest_name("LOWERCASE", names, 5), "lowercase");
    assert_string_equal(nearest_name("form", names, 5), "from");
    assert_string_equal(nearest_name("agg", names, 5), "aggregate");
    assert_string_equal(nearest_name("bye", names, 5), "by");
    assert_null(nearest_name("xx", names, 5));
    assert_null(nearest_name("", names, 5));
    assert_null(nearest_name("x", (const char *const[]){"y"}, 1));
    assert_null(nearest_name("colour", names, 5));
    assert_null(nearest_name("from", names, 0));
}

static int64_t size_of(const char *string) {
    int64_t value = -1;
    tw_error err = {0};
    tw_status status = parse_size_bytes(string, &value, &err);
    assert_int_equal(status == TW_OK, *err.message == 0);
    return status == TW_OK ? value : -1;
}

static int64_t time_of(const char *string) {
    int64_t value = -1;
    return parse_duration_us(string, &value, NULL) == TW_OK ? value : -1;
}

static double rate_of(const char *string) {
    double value = -1;
    return parse_rate(string, &value, NULL) == TW_OK ? value : -1;
}

static void sizes(void **state) {
    assert_int_equal(size_of("0"), 0);
    assert_int_equal(size_of("100"), 100);
    assert_int_equal(size_of("7B"), 7);
    assert_int_equal(size_of("64KB"), 64000);
    assert_int_equal(size_of("64KiB"), 65536);
    assert_int_equal(size_of("3MB"), 3000000);
    assert_int_equal(size_of("3MiB"), 3 << 20);
    assert_int_equal(size_of("2GB"), 2000000000);
    assert_int_equal(size_of("2 GiB"), INT64_C(2) << 30);
    assert_int_equal(size_of("1.5GiB"), INT64_C(3) << 29);
    assert_int_equal(size_of(".5KB"), 500);
    assert_int_equal(size_of("0.3KB"), 300);
    assert_int_equal(size_of("1.9999"), 1);
    assert_int_equal(size_of("9223372036854775807"), INT64_MAX);
    static const char *const wrong[] = {"", " ", "x", "-1", "+1", "1 ", " 1", "1kib", "1mb", "1M", "1 2",
                                        ".", ".KB", "1..2", "1e3", "9223372036854775808", "8388608TiB",
                                        "99999999999999999999999999999999999999999999", "0x10", "1KiBs"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (size_of(wrong[i]) != -1) fail_msg("'%s' was read as a size", wrong[i]);
    }
}

static void times(void **state) {
    assert_int_equal(time_of("1us"), 1);
    assert_int_equal(time_of("10ms"), 10000);
    assert_int_equal(time_of("0s"), 0);
    assert_int_equal(time_of("1.5s"), 1500000);
    assert_int_equal(time_of("2m"), 120000000);
    assert_int_equal(time_of("1h"), INT64_C(3600000000));
    assert_int_equal(time_of("1d"), INT64_C(86400000000));
    assert_int_equal(time_of("0.0000001s"), 0);
    static const char *const wrong[] = {"", "0", "10", "10 sec", "-1s", "s", "1S", "1M", "200000000d", "1m30s"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (time_of(wrong[i]) != -1) fail_msg("'%s' was read as a time", wrong[i]);
    }
}

static void rates(void **state) {
    assert_true(rate_of("1000/s") == 1000);
    assert_true(rate_of("0.5/s") == 0.5);
    assert_true(rate_of("30/m") == 0.5);
    assert_true(rate_of("1e3/ms") == 1e6);
    static const char *const wrong[] = {"", "1000", "/s", "0/s", "-1/s", "1/", "1/x", "1e999/s", "1 /s", "1/s/s"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (rate_of(wrong[i]) != -1) fail_msg("'%s' was read as a rate", wrong[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_grows), cmocka_unit_test(text_remembers_failure),
        cmocka_unit_test(distances),  cmocka_unit_test(nearest_names),
        cmocka_unit_test(sizes),      cmocka_unit_test(times),
        cmocka_unit_test(rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
