/* Dates and timestamps: the calendar against a walk through every day of it, text both ways, and a
 * list of what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "data/time_text.h"

static uint64_t seed;

static uint64_t random_next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * UINT64_C(2685821657736338717);
}

static int choose_seed(void **state) {
    (void)state;
    seed = (uint64_t)time(NULL) * 2654435761U | 1;
    if (getenv("TEST_SEED") != NULL) seed = strtoull(getenv("TEST_SEED"), NULL, 0);
    print_message("TEST_SEED=%llu\n", (unsigned long long)seed);
    return 0;
}

/* The field alone in its memory, so that a sanitizer sees a read past it. */
static parse_status read_timestamp(const char *text, int64_t *us) {
    size_t n = strlen(text);
    char *field = malloc(n == 0 ? 1 : n);
    assert_non_null(field);
    memcpy(field, text, n);
    parse_status status = parse_timestamp(field, n, us);
    free(field);
    return status;
}

static parse_status read_date(const char *text, int32_t *days) {
    size_t n = strlen(text);
    char *field = malloc(n == 0 ? 1 : n);
    assert_non_null(field);
    memcpy(field, text, n);
    parse_status status = parse_date(field, n, days);
    free(field);
    return status;
}

static void test_every_day(void **state) {
    (void)state;
    static const int32_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int32_t days = DATE_MIN;
    for (int32_t year = 1; year <= 9999; year++) {
        int32_t leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        assert_int_equal(is_leap_year(year), leap);
        for (int32_t month = 1; month <= 12; month++) {
            int32_t length = lengths[month - 1] + (month == 2 ? leap : 0);
            for (int32_t day = 1; day <= 32; day++) {
                char text[64], written[FORMAT_TIME_MAX + 1];
                int32_t read = 77;
                snprintf(text, sizeof text, "%04d-%02d-%02d", year, month, day);
                parse_status status = parse_date(text, 10, &read);
                if (day > length) {
                    assert_int_equal(status, PARSE_MALFORMED);
                    assert_int_equal(read, 77);
                    continue;
                }
                assert_int_equal(status, PARSE_OK);
                assert_int_equal(read, days);
                assert_int_equal(days_from_civil(year, month, day), days);
                civil_date date = civil_from_days(days);
                assert_true(date.year == year && date.month == month && date.day == day);
                written[format_date(days, written)] = 0;
                assert_string_equal(written, text);
                days++;
            }
        }
    }
    assert_int_equal(days, DATE_MAX + 1);
}

/* The calendar holds over all of int32, and repeats every 400 years. */
static void test_far_days(void **state) {
    (void)state;
    for (int i = 0; i < 100000; i++) {
        int32_t days = (int32_t)random_next();
        if (i == 0) days = INT32_MAX;
        if (i == 1) days = INT32_MIN;
        civil_date date = civil_from_days(days);
        assert_int_equal(days_from_civil(date.year, date.month, date.day), days);
        int64_t cycle = ((int64_t)days - DATE_MIN) / 146097 - 1;
        civil_date near = civil_from_days((int32_t)(days - cycle * 146097));
        assert_int_equal(near.year + cycle * 400, date.year);
        assert_true(near.month == date.month && near.day == date.day);
        int64_t midnight;
        if (timestamp_from_date(days, &midnight)) {
            assert_int_equal(date_from_timestamp(midnight), days);
            assert_int_equal(timestamp_hour(midnight), 0);
            if (midnight > INT64_MIN) assert_int_equal(date_from_timestamp(midnight - 1), days - 1);
        } else {
            assert_true(days > 106751991 || days < -106751991);
        }
    }
    char text[FORMAT_TIME_MAX + 1];
    text[format_date(DATE_MAX + 1, text)] = 0;
    assert_string_equal(text, "+10000-01-01");
    text[format_date(DATE_MIN - 1, text)] = 0;
    assert_string_equal(text, "0000-12-31");
    text[format_date(DATE_MIN - 367, text)] = 0;
    assert_string_equal(text, "-0001-12-31");
    text[format_date(INT32_MAX, text)] = 0;
    assert_string_equal(text, "+5881580-07-11");
    text[format_date(INT32_MIN, text)] = 0;
    assert_string_equal(text, "-5877641-06-23");
    assert_true(format_timestamp(INT64_MAX, text) <= FORMAT_TIME_MAX);
    text[format_timestamp(INT64_MAX, text)] = 0;
    assert_string_equal(text, "+294247-01-10T04:00:54.775807Z");
    text[format_timestamp(INT64_MIN, text)] = 0;
    assert_string_equal(text, "-290308-12-21T19:59:05.224192Z");
}

static void test_dates_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "", "2026", "2026-01", "2026-1-31", "2026-01-1", "26-01-31", "2026/01/31", "2026-01-31 ",
        " 2026-01-31", "2026-13-01", "2026-00-01", "2026-01-00", "2026-01-32", "2026-02-29",
        "1900-02-29", "2026-04-31", "2026-01-3a", "x026-01-31", "2026-01-31T", "+2026-01-3",
        "2026-0x-31", "20260-1-31", "2026--1-31", "20260131", "2026-01:31", "\xb2"
        "026-01-31", "2026-01-\xb3" "1", "999999-01-01", "0000-13-01",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int32_t days = 77;
        assert_int_equal(read_date(wrong[i], &days), PARSE_MALFORMED);
        assert_int_equal(days, 77);
    }
    int32_t days;
    assert_int_equal(read_date("0000-01-01", &days), PARSE_RANGE);
    assert_int_equal(read_date("2000-02-29", &days), PARSE_OK);
    assert_int_equal(days, 11016);
    assert_int_equal(read_date("1970-01-01", &days), PARSE_OK);
    assert_int_equal(days, 0);
    assert_int_equal(read_date("0001-01-01", &days), PARSE_OK);
    assert_int_equal(days, DATE_MIN);
    assert_int_equal(read_date("9999-12-31", &days), PARSE_OK);
    assert_int_equal(days, DATE_MAX);
    /* One wrong byte anywhere. */
    char text[] = "2026-01-11";
    for (size_t at = 0; at < 10; at++) {
        char kept = text[at];
        for (unsigned byte = 0; byte < 256; byte++) {
            text[at] = (char)byte;
            bool may = at == 4 || at == 7 ? byte == '-' : byte >= '0' && byte <= '9';
            if (!may) assert_int_equal(parse_date(text, 10, &days), PARSE_MALFORMED);
        }
        text[at] = kept;
    }
}

static void test_timestamps(void **state) {
    (void)state;
    const int64_t base = INT64_C(1769835600000000); /* 2026-01-31T05:00:00Z */
    static const struct {
        const char *text;
        int64_t more_us;
    } cases[] = {
        {"2026-01-31T05:00:00Z", 0},
        {"2026-01-31 05:00:00Z", 0},
        {"2026-01-31T05:00:00", 0},
        {"2026-01-31 05:00", 0},
        {"2026-01-31T05:00Z", 0},
        {"2026-01-31T07:00:00+02:00", 0},
        {"2026-01-31T07:00:00+0200", 0},
        {"2026-01-31T07:00:00+02", 0},
        {"2026-01-31T07:00+02", 0},
        {"2026-01-30T23:30:00-05:30", 0},
        {"2026-01-31T05:00:00-00:00", 0},
        {"2026-01-31T05:00:00.5Z", 500000},
        {"2026-01-31T05:00:00,5Z", 500000},
        {"2026-01-31T05:00:00.000001", 1},
        {"2026-01-31T05:00:00.123456Z", 123456},
        {"2026-01-31T05:00:00.123456789Z", 123456},
        {"2026-01-31T05:00:00.9999999999999999999999999999+00:00", 999999},
        {"2026-01-31T07:00:00.25+02:00", 250000},
        {"2026-01-31", INT64_C(-18000000000)},
        {"2026-01-31T05:00:59Z", 59000000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t us = 77;
        assert_int_equal(read_timestamp(cases[i].text, &us), PARSE_OK);
        assert_int_equal(us - base, cases[i].more_us);
    }
    static const char *const wrong[] = {
        "", "2026-01-31T", "2026-01-31T05", "2026-01-31T05:0", "2026-01-31T05:00:", "2026-01-31Z",
        "2026-01-31T05:00:0", "2026-01-31T05:00:00.", "2026-01-31T05:00:00.Z", "2026-01-31t05:00:00",
        "2026-01-31T24:00:00", "2026-01-31T23:60:00", "2026-01-31T23:59:60", "2026-01-31T05:00:00z",
        "2026-01-31T05:00:00 Z", "2026-01-31T05:00:00+", "2026-01-31T05:00:00+2",
        "2026-01-31T05:00:00+02:", "2026-01-31T05:00:00+02:0", "2026-01-31T05:00:00+02:000",
        "2026-01-31T05:00:00+24:00", "2026-01-31T05:00:00+02:60", "2026-01-31T05:00:00+02.00",
        "2026-01-31T05:00:00ZZ", "2026-01-31T05-00-00", "2026-01-31  05:00:00", "2026-02-30T05:00:00",
        "2026-01-31T05:00:00Z ", "2026-01-31T05:00.5Z", "2026-01-31T0a:00:00", "2026-01-31T05:00:00+020",
        "2026-01-31T05:00:00UTC", "2026-01-31T5:00:00", "20260131T050000Z", "1769835600",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int64_t us = 77;
        if (read_timestamp(wrong[i], &us) != PARSE_MALFORMED) fail_msg("%s passed", wrong[i]);
        assert_int_equal(us, 77);
    }
    int64_t us = 77;
    assert_int_equal(read_timestamp("0001-01-01T00:00:00+00:01", &us), PARSE_RANGE);
    assert_int_equal(read_timestamp("9999-12-31T23:59:59-00:01", &us), PARSE_RANGE);
    assert_int_equal(read_timestamp("0000-06-01T00:00:00", &us), PARSE_RANGE);
    assert_int_equal(read_timestamp("0000-06-01", &us), PARSE_RANGE);
    assert_int_equal(us, 77);
    assert_int_equal(read_timestamp("0001-01-01T00:00:00Z", &us), PARSE_OK);
    assert_true(us == TIMESTAMP_MIN);
    assert_int_equal(read_timestamp("9999-12-31T23:59:59.999999Z", &us), PARSE_OK);
    assert_true(us == TIMESTAMP_MAX);
}

static void test_timestamps_both_ways(void **state) {
    (void)state;
    for (int i = 0; i < 200000; i++) {
        uint64_t range = (uint64_t)(TIMESTAMP_MAX - TIMESTAMP_MIN) + 1;
        int64_t us = TIMESTAMP_MIN + (int64_t)(random_next() % range), unit = 1;
        for (int k = 0; k < i % 8; k++) unit *= 10; /* fewer digits of a fraction */
        us -= us % unit;
        int32_t days = (int32_t)((us - TIMESTAMP_MIN) / DAY_US) + DATE_MIN;
        int64_t rest = us - days * DAY_US;
        civil_date date = civil_from_days(days);
        char expected[128], text[FORMAT_TIME_MAX + 1];
        int n = snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d", date.year,
                         date.month, date.day, (int)(rest / 3600000000), (int)(rest / 60000000 % 60),
                         (int)(rest / 1000000 % 60));
        if (rest % 1000000 != 0) {
            n += snprintf(expected + n, sizeof expected - (size_t)n, ".%06d", (int)(rest % 1000000));
            while (expected[n - 1] == '0') n--;
        }
        snprintf(expected + n, sizeof expected - (size_t)n, "Z");
        text[format_timestamp(us, text)] = 0;
        assert_string_equal(text, expected);
        int64_t back = 77;
        assert_int_equal(read_timestamp(text, &back), PARSE_OK);
        assert_true(back == us);
        assert_int_equal(timestamp_year(us), date.year);
        assert_int_equal(timestamp_month(us), date.month);
        assert_int_equal(timestamp_day(us), date.day);
        assert_int_equal(timestamp_hour(us), rest / 3600000000);
    }
    assert_int_equal(timestamp_hour(-1), 23);
    assert_int_equal(date_from_timestamp(-1), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_day),      cmocka_unit_test(test_far_days),
        cmocka_unit_test(test_dates_refused),  cmocka_unit_test(test_timestamps),
        cmocka_unit_test(test_timestamps_both_ways),
    };
    return cmocka_run_group_tests(tests, choose_seed, NULL);
}
