/* Any bytes as a number, a time and as text: nothing may crash or read outside, what is read must
 * come back after writing it, and every kernel must agree with the plain one. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/number_text_internal.h"
#include "data/scan_internal.h"
#include "data/time_text.h"
#include "data/utf8.h"
#include "data/utf8_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) abort();                                                                 \
    } while (0)

#define SIZE_CHECKED_MAX 4096

/* Our reading of a decimal against the C library's. */
static void check_against_strtod(const char *p, size_t n, double value, float narrow,
                                 parse_status status, parse_status narrow_status) {
    char text[SIZE_CHECKED_MAX + 1];
    if (n > SIZE_CHECKED_MAX || (status == PARSE_OK && !isfinite(value))) return;
    memcpy(text, p, n);
    text[n] = 0;
    double expected = strtod(text, NULL);
    float expected_narrow = strtof(text, NULL);
    if (status == PARSE_OK) {
        MUST(memcmp(&expected, &value, sizeof value) == 0);
    } else if (status == PARSE_RANGE) {
        MUST(isinf(expected));
    }
    if (narrow_status == PARSE_OK) {
        MUST(memcmp(&expected_narrow, &narrow, sizeof narrow) == 0);
    } else if (narrow_status == PARSE_RANGE) {
        MUST(isinf(expected_narrow));
    }
}

static void check_numbers(const char *p, size_t n) {
    char text[FORMAT_NUMBER_MAX];
    int64_t whole = 0, whole_back = 0;
    int32_t small;
    double value = 0, value_back = 0;
    float narrow = 0, narrow_back = 0;
    bool flag;
    if (parse_int64(p, n, &whole) == PARSE_OK) {
        size_t length = format_int64(whole, text);
        MUST(parse_int64(text, length, &whole_back) == PARSE_OK && whole_back == whole);
        MUST(parse_float64(p, n, &value) == PARSE_OK && value == (double)whole);
    }
    if (parse_int32(p, n, &small) == PARSE_OK) MUST(small == whole);
    int64_t plain = whole;
    MUST(parse_int64_at(CPU_PLAIN, p, n, &plain) == parse_int64(p, n, &whole) && plain == whole);
    parse_bool(p, n, &flag);
    double plain_value = value = 0;
    parse_status status = parse_float64(p, n, &value);
    MUST(parse_float64_at(CPU_PLAIN, p, n, &plain_value) == status);
    MUST(memcmp(&plain_value, &value, sizeof value) == 0);
    parse_status narrow_status = parse_float32(p, n, &narrow);
    MUST((status == PARSE_MALFORMED) == (narrow_status == PARSE_MALFORMED));
    if (status != PARSE_MALFORMED) check_against_strtod(p, n, value, narrow, status, narrow_status);
    /* Any bits at all, written and read. */
    if (n >= sizeof value) memcpy(&value, p, sizeof value);
    if (n >= sizeof narrow) memcpy(&narrow, p, sizeof narrow);
    size_t length = format_float64(value, text);
    MUST(parse_float64(text, length, &value_back) == PARSE_OK);
    MUST(isnan(value) ? isnan(value_back) : memcmp(&value, &value_back, sizeof value) == 0);
    length = format_float32(narrow, text);
    MUST(parse_float32(text, length, &narrow_back) == PARSE_OK);
    MUST(isnan(narrow) ? isnan(narrow_back) : memcmp(&narrow, &narrow_back, sizeof narrow) == 0);
}

static void check_times(const char *p, size_t n) {
    char text[FORMAT_TIME_MAX];
    int64_t us = 0, us_back = 0;
    int32_t days = 0, days_back = 0;
    if (parse_timestamp(p, n, &us) == PARSE_OK) {
        MUST(us >= TIMESTAMP_MIN && us <= TIMESTAMP_MAX);
        size_t length = format_timestamp(us, text);
        MUST(parse_timestamp(text, length, &us_back) == PARSE_OK && us_back == us);
    }
    if (parse_date(p, n, &days) == PARSE_OK) {
        MUST(format_date(days, text) == n && memcmp(text, p, n) == 0);
        MUST(parse_date(text, n, &days_back) == PARSE_OK && days_back == days);
    }
    if (n >= sizeof us) {
        memcpy(&us, p, sizeof us);
        memcpy(&days, p, sizeof days);
        MUST(format_timestamp(us, text) <= sizeof text);
        MUST(format_date(days, text) <= sizeof text);
    }
}

static void check_utf8(const char *p, size_t n) {
    bool valid = utf8_valid_plain(p, n);
    MUST(utf8_valid(p, n) == valid && utf8_valid_vectors(p, n) == valid);
    size_t length = utf8_length_at(CPU_PLAIN, p, n);
    MUST(utf8_length(p, n) == length);
    for (size_t i = 0; i <= length; i += 1 + length / 16) {
        MUST(utf8_offset(p, n, i) == utf8_offset_at(CPU_PLAIN, p, n, i));
    }
    size_t room = n * UTF8_CASE_GROWTH;
    char *changed = malloc(room == 0 ? 1 : room);
    if (changed == NULL) return;
    size_t size = utf8_upper(p, n, changed, room);
    MUST(size <= room && (!valid || utf8_valid(changed, size)));
    MUST(utf8_upper(p, n, changed, size / 2) == size);
    size = utf8_lower(p, n, changed, room);
    MUST(size <= room && (!valid || utf8_valid(changed, size)));
    free(changed);
}

/* The first bytes choose the delimiter and so on; the plain kernels say what is right. */
static void check_scans(const uint8_t *p, size_t n) {
    if (n < 4 || n > SIZE_CHECKED_MAX) return;
    static const scan_csv_result none = {0, 0, 0};
    uint64_t bits[2][SCAN_WORDS(SIZE_CHECKED_MAX)], in_quote[2] = {0, 0};
    uint32_t positions[2][SIZE_CHECKED_MAX + SCAN_CSV_SLACK];
    scan_csv_result results[2] = {none, none};
    const size_t words = SCAN_WORDS(n) * sizeof bits[0][0];
    const cpu_level levels[2] = {CPU_PLAIN, cpu_level_here()};
    for (int k = 0; k < 2; k++) {
        scan_kernels_at(levels[k])->bitmap(p, n, scan_set_make(p, 1 + p[0] % 4), bits[k]);
    }
    MUST(memcmp(bits[0], bits[1], words) == 0);
    for (int k = 0; k < 2; k++) scan_kernels_at(levels[k])->space_bitmap(p, n, bits[k]);
    MUST(memcmp(bits[0], bits[1], words) == 0);
    MUST(scan_kernels_at(CPU_PLAIN)->count(p, n, p[0]) == count_byte(p, n, p[0]));
    for (int k = 0; k < 2; k++) {
        results[k] = scan_csv_kernel_at(levels[k])(p, n, p[1], p[2], &in_quote[k], positions[k],
                                                   n + SCAN_CSV_SLACK, bits[k]);
        MUST(results[k].scanned == n);
    }
    MUST(memcmp(bits[0], bits[1], words) == 0 && in_quote[0] == in_quote[1]);
    MUST(results[0].count == results[1].count && results[0].quotes == results[1].quotes);
    MUST(memcmp(positions[0], positions[1], results[0].count * sizeof positions[0][0]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    /* A copy of its own, so that a sanitizer sees a byte read before or after it. */
    char *field = malloc(size == 0 ? 1 : size);
    if (field == NULL) return 0;
    if (size > 0) memcpy(field, data, size);
    check_numbers(field, size);
    check_times(field, size);
    check_utf8(field, size);
    check_scans((const uint8_t *)field, size);
    free(field);
    return 0;
}
