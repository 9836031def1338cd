/* Numbers against strtod, printf and exhaustive neighbours of the limits; fields end where readable
 * memory ends. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "data/number_text_internal.h"

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

/* A copy of the field right before memory that may not be read. */
static const char *at_the_edge(const char *text, size_t n) {
    static char *end;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (end == NULL) {
        char *base = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(base != MAP_FAILED);
        end = base + page;
        assert_int_equal(mprotect(end, page, PROT_NONE), 0);
    }
    assert_true(n <= page);
    memcpy(end - n, text, n);
    return end - n;
}

static parse_status read_int64(const char *text, int64_t *out) {
    size_t n = strlen(text);
    int64_t kept = *out;
    parse_status status = parse_int64_at(CPU_PLAIN, at_the_edge(text, n), n, out);
    for (cpu_level level = CPU_AVX2; level <= cpu_level_here(); level++) {
        int64_t other = kept;
        assert_int_equal(parse_int64_at(level, at_the_edge(text, n), n, &other), status);
        assert_memory_equal(&other, out, sizeof other);
    }
    return status;
}
static parse_status read_int32(const char *text, int32_t *out) {
    return parse_int32(at_the_edge(text, strlen(text)), strlen(text), out);
}
static parse_status read_float64(const char *text, double *out) {
    size_t n = strlen(text);
    double kept = *out;
    parse_status status = parse_float64_at(CPU_PLAIN, at_the_edge(text, n), n, out);
    for (cpu_level level = CPU_AVX2; level <= cpu_level_here(); level++) {
        double other = kept;
        assert_int_equal(parse_float64_at(level, at_the_edge(text, n), n, &other), status);
        assert_memory_equal(&other, out, sizeof other);
    }
    return status;
}
static parse_status read_float32(const char *text, float *out) {
    size_t n = strlen(text);
    float kept = *out;
    parse_status status = parse_float32_at(CPU_PLAIN, at_the_edge(text, n), n, out);
    for (cpu_level level = CPU_AVX2; level <= cpu_level_here(); level++) {
        float other = kept;
        assert_int_equal(parse_float32_at(level, at_the_edge(text, n), n, &other), status);
        assert_memory_equal(&other, out, sizeof other);
    }
    return status;
}

static void test_integers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        parse_status status, status32;
        int64_t value;
    } cases[] = {
        {"0", PARSE_OK, PARSE_OK, 0},
        {"-0", PARSE_OK, PARSE_OK, 0},
        {"+7", PARSE_OK, PARSE_OK, 7},
        {"-12345678", PARSE_OK, PARSE_OK, -12345678},
        {"2147483647", PARSE_OK, PARSE_OK, INT32_MAX},
        {"2147483648", PARSE_OK, PARSE_RANGE, 2147483648},
        {"-2147483648", PARSE_OK, PARSE_OK, INT32_MIN},
        {"-2147483649", PARSE_OK, PARSE_RANGE, -2147483649},
        {"9223372036854775807", PARSE_OK, PARSE_RANGE, INT64_MAX},
        {"9223372036854775808", PARSE_RANGE, PARSE_RANGE, 0},
        {"-9223372036854775808", PARSE_OK, PARSE_RANGE, INT64_MIN},
        {"-9223372036854775809", PARSE_RANGE, PARSE_RANGE, 0},
        {"18446744073709551617", PARSE_RANGE, PARSE_RANGE, 0},
        {"100000000000000000000", PARSE_RANGE, PARSE_RANGE, 0},
        {"0000000000000000000000000000000000012", PARSE_OK, PARSE_OK, 12},
        {"-00000000000000000000000000000000000000", PARSE_OK, PARSE_OK, 0},
        {"", PARSE_MALFORMED, PARSE_MALFORMED, 0},
        {"-", PARSE_MALFORMED, PARSE_MALFORMED, 0},
        {"+", PARSE_MALFORMED, PARSE_MALFORMED, 0},
        {"+-1", PARSE_MALFORMED, PARSE_MALFORMED, 0},
        {"1 ", PARSE_MALFORMED, PARSE_MALFORMED, 0},
        {" 1", PARSE_MALFORMED, PARSE_MALFORMED, 0},
        {"1.0", PARSE_MALFORMED, PARSE_MALFORMED, 0},
        {"12345678a", PARSE_MALFORMED, PARSE_MALFORMED, 0},
        {"1234567890123456x890123456789", PARSE_MALFORMED, PARSE_MALFORMED, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t wide = 77;
        int32_t narrow = 77;
        assert_int_equal(read_int64(cases[i].text, &wide), cases[i].status);
        assert_int_equal(wide, cases[i].status == PARSE_OK ? cases[i].value : 77);
        assert_int_equal(read_int32(cases[i].text, &narrow), cases[i].status32);
        assert_int_equal(narrow, cases[i].status32 == PARSE_OK ? cases[i].value : 77);
    }
}

/* Every byte value at every place of every length: only digits may pass. */
static void test_integers_refuse_all_but_digits(void **state) {
    (void)state;
    char text[20];
    for (size_t n = 1; n <= 19; n++) {
        for (size_t at = 0; at < n; at++) {
            for (unsigned byte = 0; byte < 256; byte++) {
                memset(text, '1', n);
                text[at] = (char)byte;
                int64_t value;
                bool sign = at == 0 && n > 1 && (byte == '-' || byte == '+');
                bool good = sign || (byte >= '0' && byte <= '9');
                parse_status expected = good ? PARSE_OK : PARSE_MALFORMED;
                for (cpu_level level = CPU_PLAIN; level <= cpu_level_here(); level++) {
                    assert_int_equal(parse_int64_at(level, at_the_edge(text, n), n, &value),
                                     expected);
                }
            }
        }
    }
}

static void test_integers_both_ways(void **state) {
    (void)state;
    for (int i = 0; i < 200000; i++) {
        int64_t value = (int64_t)(random_next() >> (random_next() % 64));
        if (i % 2 == 0) value = (int64_t)(0 - (uint64_t)value);
        if (i < 80) { /* around the powers of ten */
            value = 1;
            for (int k = 0; k < i % 19; k++) value *= 10;
            value -= i / 20 % 2;
        }
        char text[FORMAT_NUMBER_MAX + 1], expected[40];
        text[FORMAT_NUMBER_MAX] = 'x';
        size_t n = format_int64(value, text);
        assert_int_equal(text[FORMAT_NUMBER_MAX], 'x');
        text[n] = 0;
        snprintf(expected, sizeof expected, "%" PRId64, value);
        assert_string_equal(text, expected);
        int64_t back = ~value;
        assert_int_equal(read_int64(text, &back), PARSE_OK);
        assert_int_equal(back, value);
    }
    char text[FORMAT_NUMBER_MAX];
    assert_int_equal(format_int64(INT64_MIN, text), 20);
    assert_memory_equal(text, "-9223372036854775808", 20);
    assert_int_equal(format_int64(INT64_MAX, text), 19);
    assert_memory_equal(text, "9223372036854775807", 19);
}

static void check_float_text(const char *text) {
    double expected = strtod(text, NULL), value = 77;
    float expected32 = strtof(text, NULL), value32 = 77;
    parse_status status = read_float64(text, &value), status32 = read_float32(text, &value32);
    if (status != (isinf(expected) ? PARSE_RANGE : PARSE_OK) ||
        (!isinf(expected) && memcmp(&value, &expected, sizeof value) != 0)) {
        fail_msg("float64 of %s: status %d, %.17g, not %.17g", text, status, value, expected);
    }
    if (status32 != (isinf(expected32) ? PARSE_RANGE : PARSE_OK) ||
        (!isinf(expected32) && memcmp(&value32, &expected32, sizeof value32) != 0)) {
        fail_msg("float32 of %s: status %d, %.9g, not %.9g", text, status32, value32, expected32);
    }
}

static void test_floats(void **state) {
    (void)state;
    static const char *const texts[] = {
        "0", "-0", "0.0", "-0.000", "00", "1", "+1", "1.", ".5", "-.5", "12.34", "0.1", "1e5",
        "1E+5", "1e-5", "123456789012345678", "9007199254740993", "9007199254740992.5",
        "9007199254740993.0000000000000000000000000000001", "1.7976931348623157e308",
        "1.7976931348623158e308", "1.7976931348623159e308", "1e309", "-1e309", "4.9e-324",
        "2.4703282292062327e-324", "2.4703282292062328e-324", "1e-400", "-1e-400", "3.4028235e38",
        "3.4028236e38", "1.4e-45", "7e-46", "1e-1000000000000000000000", "1e1000000000000000000000",
        "0e1000000000000000000000", "16777217", "16777219", "16777216.999999999",
        "8388608.5", "8388609.5", "99999999999999999999", "9999999999999999999e27",
        "9999999999999999999e-27", "1e27", "1e-27", "1e28", "1e-28", "18446744073709551615",
        "18446744073709551616", "12345678.", ".12345678", "1234567.8", "123456789.1234567",
        "0.000000000000000000000000000000000000000000000000000000000001e60",
        "100000000000000000000000000000000000000000000000000000000000000000e-65",
        "2.2250738585072011e-308", "2.2250738585072014e-308", "1.1754943e-38", "1.17549435e-38",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) check_float_text(texts[i]);
    static const char *const wrong[] = {
        "", "-", "+", ".", "-.", "e5", ".e5", "1e", "1e+", "1e-", "1.2.3", "1..2", "1 ", " 1", "0x10",
        "1e5.0", "1e5e5", "--1", "+-1", "1,5", "infin", "in", "nano", "nan(1)", "in f", "1f", "1_0",
        "12345678901234567890.1.", "123456781234567a", "1234567812345678.a", "abc", "i", "n",
        "..", "1.2.", "12345678.1234.6", "0.123456.", "\xae", "1\xb0", "1e1\xb0",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        double value = 77;
        float value32 = 77;
        assert_int_equal(read_float64(wrong[i], &value), PARSE_MALFORMED);
        assert_int_equal(read_float32(wrong[i], &value32), PARSE_MALFORMED);
        assert_true(value == 77 && value32 == 77);
    }
    double value = 77;
    assert_int_equal(read_float64("inf", &value), PARSE_OK);
    assert_true(isinf(value) && value > 0);
    assert_int_equal(read_float64("-INF", &value), PARSE_OK);
    assert_true(isinf(value) && value < 0);
    assert_int_equal(read_float64("-Infinity", &value), PARSE_OK);
    assert_true(isinf(value) && value < 0);
    assert_int_equal(read_float64("NaN", &value), PARSE_OK);
    assert_true(isnan(value));
}

/* One wrong byte anywhere in a short decimal. */
static void test_floats_refuse_all_but_digits(void **state) {
    (void)state;
    char text[32];
    for (size_t n = 1; n <= 20; n++) {
        for (size_t point = 0; point <= n; point += 3) {
            for (size_t at = 0; at < n; at++) {
                for (unsigned byte = 0; byte < 256; byte++) {
                    memset(text, '7', n);
                    if (point < n) text[point] = '.';
                    text[at] = (char)byte;
                    double value;
                    bool dot_left = point < n && at != point;
                    bool others = (point < n ? n - 1 - (at != point) : n - 1) > 0;
                    bool good = (byte >= '0' && byte <= '9') || (byte == '.' && !dot_left && others);
                    if ((byte == '-' || byte == '+') && at == 0) good = others;
                    if (byte == 'e' || byte == 'E') {
                        bool digits_before = dot_left && point < at ? at > 1 : at > 0;
                        good = digits_before && at + 1 < n && !(dot_left && point > at);
                    }
                    for (cpu_level level = CPU_PLAIN; level <= cpu_level_here(); level++) {
                        parse_status status =
                            parse_float64_at(level, at_the_edge(text, n), n, &value);
                        if ((status != PARSE_MALFORMED) != good) {
                            fail_msg("%.*s: status %d", (int)n, text, status);
                        }
                    }
                }
            }
        }
    }
}

static void test_random_decimals(void **state) {
    (void)state;
    for (int i = 0; i < 300000; i++) {
        char text[96];
        size_t n = 0, digits = 1 + random_next() % (i % 16 == 0 ? 60 : 22);
        size_t point = random_next() % (digits + 4);
        bool zeros = random_next() % 8 == 0;
        if (random_next() % 2 == 0) text[n++] = random_next() % 4 == 0 ? '+' : '-';
        for (size_t k = 0; k < digits; k++) {
            if (k == point) text[n++] = '.';
            text[n++] = zeros && k < digits / 2 ? '0' : (char)('0' + random_next() % 10);
        }
        text[n] = 0;
        if (random_next() % 3 == 0) {
            int range = random_next() % 4 == 0 ? 700 : 60;
            snprintf(text + n, sizeof text - n, "e%d",
                     (int)(random_next() % (unsigned)range) - range / 2);
        }
        check_float_text(text);
    }
}

/* Halfway between two neighbours, written out: ties go to the even one. */
static void test_ties(void **state) {
    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint64_t mantissa = (random_next() >> 12) | UINT64_C(1) << 52;
        char text[64];
        snprintf(text, sizeof text, "%" PRIu64 ".5", mantissa);
        check_float_text(text);
        snprintf(text, sizeof text, "%" PRIu64 ".50000000000000000000001", mantissa);
        check_float_text(text);
        snprintf(text, sizeof text, "%" PRIu64, (mantissa << 1 | 1) * 2);
        check_float_text(text);
        snprintf(text, sizeof text, "%.2f", ((double)(mantissa >> 29) + 0.5) / 4);
        check_float_text(text);
    }
}

static void check_float64_both_ways(double value) {
    char text[FORMAT_NUMBER_MAX + 1];
    text[FORMAT_NUMBER_MAX] = 'x';
    size_t n = format_float64(value, text);
    assert_true(n < FORMAT_NUMBER_MAX && text[FORMAT_NUMBER_MAX] == 'x');
    text[n] = 0;
    double back = 77;
    assert_int_equal(read_float64(text, &back), PARSE_OK);
    if (memcmp(&back, &value, sizeof back) != 0) fail_msg("%.17g became %s", value, text);
    /* No text with fewer digits reads back; a whole number may be written out instead. */
    if (strpbrk(text, ".e") == NULL) return;
    size_t digits = 0;
    for (size_t i = 0; i < n && text[i] != 'e'; i++) {
        digits += text[i] >= '0' && text[i] <= '9' && (digits > 0 || text[i] != '0');
    }
    if (digits > 1) {
        char shorter[64];
        snprintf(shorter, sizeof shorter, "%.*e", (int)digits - 2, value);
        if (strtod(shorter, NULL) == value) fail_msg("%s, but %s is shorter", text, shorter);
    }
}

static void check_float32_both_ways(float value) {
    char text[FORMAT_NUMBER_MAX + 1];
    size_t n = format_float32(value, text);
    assert_true(n < FORMAT_NUMBER_MAX);
    text[n] = 0;
    float back = 77;
    assert_int_equal(read_float32(text, &back), PARSE_OK);
    if (memcmp(&back, &value, sizeof back) != 0) fail_msg("%.9g became %s", (double)value, text);
}

static void test_floats_both_ways(void **state) {
    (void)state;
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = random_next();
        uint32_t bits32 = (uint32_t)random_next();
        double value;
        float value32;
        memcpy(&value, &bits, sizeof value);
        memcpy(&value32, &bits32, sizeof value32);
        if (i % 4 == 1) value = (double)(int64_t)(bits >> (bits % 64));
        if (i % 4 == 2) value = (double)(bits % 100000000) / (double)(i % 8 < 4 ? 100 : 1000000);
        if (i % 4 == 3) value = (double)(bits >> 11) * 0x1p-53;
        if (i % 2 == 1) value32 = (float)value;
        if (isfinite(value)) check_float64_both_ways(value);
        if (isfinite(value32)) check_float32_both_ways(value32);
    }
}

static void test_float_texts(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {1.0, "1"}, {0.0, "0"}, {-0.0, "-0"}, {0.1, "0.1"}, {-12.34, "-12.34"}, {1e21, "1e+21"},
        {10000, "10000"}, {100000, "1e+05"}, {123456, "123456"}, {0.001, "0.001"},
        {0.0001, "1e-04"}, {0.00012, "0.00012"}, {5e-324, "5e-324"}, {1.5, "1.5"},
        {1.7976931348623157e308, "1.7976931348623157e+308"}, {123456.75, "123456.75"},
        {999999999999999, "999999999999999"}, {1234567890123456, "1234567890123456"},
        {(double)INFINITY, "inf"}, {-(double)INFINITY, "-inf"}, {(double)NAN, "nan"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[FORMAT_NUMBER_MAX + 1];
        text[format_float64(cases[i].value, text)] = 0;
        assert_string_equal(text, cases[i].text);
    }
    char text[FORMAT_NUMBER_MAX + 1];
    text[format_float32(0.1F, text)] = 0;
    assert_string_equal(text, "0.1");
    text[format_float32(16777216.0F, text)] = 0;
    assert_string_equal(text, "16777216");
    text[format_float32(3.4028235e38F, text)] = 0;
    assert_string_equal(text, "3.4028235e+38");
    text[format_float32(-12.5F, text)] = 0;
    assert_string_equal(text, "-12.5");
}

/* A field where readable memory begins, and one that is all there is of it. */
static void test_fields_at_the_front(void **state) {
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *base = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    char *front = base + page;
    memset(front, '7', page);
    assert_int_equal(mprotect(base, page, PROT_NONE), 0);
    for (cpu_level level = CPU_PLAIN; level <= cpu_level_here(); level++) {
        for (size_t n = 1; n <= 32; n++) {
            char text[40];
            int64_t whole = 0;
            double value = 0;
            memset(text, '7', n);
            text[n] = 0;
            parse_status expected = n > 19 ? PARSE_RANGE : PARSE_OK; /* 19 sevens fit */
            assert_int_equal(parse_int64_at(level, front, n, &whole), expected);
            if (expected == PARSE_OK) assert_int_equal(whole, strtoll(text, NULL, 10));
            assert_int_equal(parse_float64_at(level, front, n, &value), PARSE_OK);
            assert_true(value == strtod(text, NULL));
        }
    }
    munmap(base, 2 * page);
}

static void test_bool(void **state) {
    (void)state;
    bool value = false;
    assert_int_equal(parse_bool(at_the_edge("true", 4), 4, &value), PARSE_OK);
    assert_true(value);
    assert_int_equal(parse_bool(at_the_edge("false", 5), 5, &value), PARSE_OK);
    assert_false(value);
    static const char *const wrong[] = {"", "t", "True", "truex", "tru", "FALSE", "1", "falsee"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(parse_bool(wrong[i], strlen(wrong[i]), &value), PARSE_MALFORMED);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_integers_refuse_all_but_digits),
        cmocka_unit_test(test_integers_both_ways),
        cmocka_unit_test(test_floats),
        cmocka_unit_test(test_floats_refuse_all_but_digits),
        cmocka_unit_test(test_random_decimals),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_floats_both_ways),
        cmocka_unit_test(test_float_texts),
        cmocka_unit_test(test_fields_at_the_front),
        cmocka_unit_test(test_bool),
    };
    return cmocka_run_group_tests(tests, choose_seed, NULL);
}
