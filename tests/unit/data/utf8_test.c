/* UTF-8: every kernel against the plain version, that against every code point, and case against
 * examples from the Unicode data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "data/utf8.h"
#include "data/utf8_internal.h"

static uint64_t seed;

static uint64_t random_next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed * UINT64_C(2685821657736338717)) >> 7;
}

static int choose_seed(void **state) {
    (void)state;
    seed = (uint64_t)time(NULL) * 2654435761U | 1;
    if (getenv("TEST_SEED") != NULL) seed = strtoull(getenv("TEST_SEED"), NULL, 0);
    print_message("TEST_SEED=%llu\n", (unsigned long long)seed);
    return 0;
}

/* As an encoder would: also what is no code point. */
static size_t encode(uint32_t code, char *to) {
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xc0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xe0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 0x3f));
        to[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 0x3f));
    to[2] = (char)(0x80 | (code >> 6 & 0x3f));
    to[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

static uint32_t random_code(void) {
    switch (random_next() % 5) {
    case 0: return (uint32_t)(0x80 + random_next() % 0x780);
    case 1: return (uint32_t)(0x800 + random_next() % 0xd000);
    case 2: return (uint32_t)(0x10000 + random_next() % 0x100000);
    default: return (uint32_t)(random_next() % 0x80);
    }
}

static size_t random_text(char *to, size_t capacity) {
    size_t n = 0;
    for (;;) {
        char one[4];
        size_t length = encode(random_code(), one);
        if (length > capacity - n) return n;
        memcpy(to + n, one, length);
        n += length;
    }
}

static void check_validity(const char *p, size_t n, bool expected) {
    assert_int_equal(utf8_valid(p, n), expected);
    assert_int_equal(utf8_valid_plain(p, n), expected);
    for (size_t kernel = 0;; kernel++) {
        bool there, valid = utf8_valid_kernel(kernel, p, n, &there);
        if (!there) break;
        assert_int_equal(valid, expected);
    }
}

static void test_validity_of_every_code_point(void **state) {
    (void)state;
    for (uint32_t code = 0; code < 0x200000; code++) {
        char text[4];
        bool expected = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
        size_t n = encode(code, text);
        assert_int_equal(utf8_valid(text, n), expected);
        if (n > 1) assert_false(utf8_valid(text, n - 1));
        if (n > 1) assert_false(utf8_valid(text + 1, n - 1));
    }
}

static void test_invalid_text(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x41", "\xe0\x80\x80", "\xe0\x9f\xbf",
        "\xed\xa0\x80", "\xed\xbf\xbf", "\xe2\x82", "\xe2\x28\xa1", "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80", "\xff",
        "\xfe", "\xf0\x9f\x98", "\xc3\xa9\xa9",
    };
    char text[300];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        size_t n = strlen(wrong[i]);
        check_validity(wrong[i], n, false);
        for (size_t at = 0; at < 260; at += 1 + random_next() % 7) {
            memset(text, 'a', sizeof text);
            memcpy(text + at, wrong[i], n);
            check_validity(text, sizeof text, false);
            check_validity(text, at + n, false);
        }
    }
}

static size_t length_by_bytes(const char *p, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += ((uint8_t)p[i] & 0xc0) != 0x80;
    return count;
}

static void check_positions(const char *p, size_t n) {
    size_t length = length_by_bytes(p, n), code = 0;
    for (cpu_level level = CPU_PLAIN; level <= cpu_level_here(); level++) {
        assert_int_equal(utf8_length_at(level, p, n), length);
        assert_int_equal(utf8_offset_at(level, p, n, length), n);
        assert_int_equal(utf8_offset_at(level, p, n, SIZE_MAX), n);
    }
    for (size_t i = 0; i < n; i++) {
        if (((uint8_t)p[i] & 0xc0) == 0x80) continue;
        for (cpu_level level = CPU_PLAIN; level <= cpu_level_here(); level++) {
            assert_int_equal(utf8_offset_at(level, p, n, code), i);
        }
        code++;
    }
    assert_int_equal(utf8_length(p, n), length);
}

/* Text that ends where readable memory ends, whole and with one byte changed. */
static void test_random_text(void **state) {
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *base = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(base != MAP_FAILED);
    assert_int_equal(mprotect(base + page, page, PROT_NONE), 0);
    for (int round = 0; round < 20; round++) {
        for (size_t size = 0; size <= 300; size++) {
            char text[300];
            size_t n = random_text(text, size);
            char *p = base + page - n;
            memcpy(p, text, n);
            check_validity(p, n, true);
            if (round < 3) check_positions(p, n);
            if (n == 0) continue;
            p[random_next() % n] = (char)random_next();
            check_validity(p, n, utf8_valid_plain(p, n));
            if (round < 3) check_positions(p, n);
        }
    }
    munmap(base, 2 * page);
}

typedef size_t change_case(const char *p, size_t n, char *to, size_t capacity);

static void check_case(change_case *change, const char *text, const char *expected) {
    size_t n = strlen(text), wanted = strlen(expected);
    char *to = malloc(wanted == 0 ? 1 : wanted);
    assert_non_null(to);
    assert_int_equal(change(text, n, NULL, 0), wanted);
    assert_int_equal(change(text, n, to, wanted), wanted);
    if (memcmp(to, expected, wanted) != 0) fail_msg("%s: %.*s", text, (int)wanted, to);
    if (wanted > 0) assert_int_equal(change(text, n, to, wanted - 1), wanted);
    free(to);
}

static void test_case(void **state) {
    (void)state;
    static const char *const upper[][2] = {
        {"", ""}, {"abcxyz`{@[AZ09", "ABCXYZ`{@[AZ09"}, {"straße", "STRASSE"}, {"ŉ", "ʼN"},
        {"ﬁn ﬄ", "FIN FFL"}, {"éàü", "ÉÀÜ"}, {"ÿ", "Ÿ"}, {"ı", "I"}, {"ΐ", "\xce\x99\xcc\x88\xcc\x81"},
        {"οδος", "ΟΔΟΣ"}, {"привет", "ПРИВЕТ"}, {"ǆ", "Ǆ"}, {"日本語", "日本語"}, {"𐐨", "𐐀"},
        {"a long text of ascii with one é in it and more after",
         "A LONG TEXT OF ASCII WITH ONE É IN IT AND MORE AFTER"},
        {"\xe1\xba\x96", "H\xcc\xb1"}, {"\xef\xac\x97", "\xd5\x84\xd4\xbd"}, /* U+1E96, U+FB17 */
        {"\xd6\x87", "\xd4\xb5\xd5\x92"}, {"\xce\xb0", "\xce\xa5\xcc\x88\xcc\x81"}, /* U+0587, U+03B0 */
        {"\xff\x80" "a\xc3", "\xff\x80" "A\xc3"},
    };
    static const char *const lower[][2] = {
        {"", ""}, {"ABCXYZ@[`{az09", "abcxyz@[`{az09"}, {"STRASSE", "strasse"}, {"ẞ", "ß"},
        {"İ", "i̇"}, {"ÉÀÜ", "éàü"}, {"ΟΔΟΣ", "οδος"}, {"ΣΑΣ ΣΑΣ.", "σας σας."}, {"Σ", "σ"},
        {"ΑΣ'Α", "ασ'α"}, {"Α'Σ", "α'ς"}, {"ПРИВЕТ", "привет"}, {"\xe2\x84\xaa", "k"}, {"𐐀", "𐐨"},
        {"SOME LONG ASCII AND Ω", "some long ascii and ω"}, {"ΑΣ\xff" "Α", "ας\xff" "α"},
    };
    for (size_t i = 0; i < sizeof upper / sizeof *upper; i++) {
        check_case(utf8_upper, upper[i][0], upper[i][1]);
    }
    for (size_t i = 0; i < sizeof lower / sizeof *lower; i++) {
        check_case(utf8_lower, lower[i][0], lower[i][1]);
    }
}

static void test_case_of_random_text(void **state) {
    (void)state;
    for (int i = 0; i < 20000; i++) {
        char text[100], to[sizeof text * UTF8_CASE_GROWTH + 1], cut[sizeof to];
        size_t n = random_text(text, random_next() % sizeof text);
        if (n > 0 && i % 4 == 0) text[random_next() % n] = (char)random_next();
        bool valid = utf8_valid(text, n);
        for (int up = 0; up < 2; up++) {
            change_case *change = up ? utf8_upper : utf8_lower;
            size_t size = change(text, n, to, sizeof to);
            assert_true(size <= n * UTF8_CASE_GROWTH);
            if (valid) assert_true(utf8_valid(to, size));
            size_t room = random_next() % (size + 1);
            cut[room] = 0x55;
            assert_int_equal(change(text, n, cut, room), size);
            assert_int_equal(cut[room], 0x55);
        }
    }
    for (uint32_t code = 0; code <= 0x10ffff; code++) {
        char text[4], to[16];
        size_t n = encode(code, text);
        size_t size = utf8_upper(text, n, to, sizeof to);
        assert_true(size >= 1 && size <= n * UTF8_CASE_GROWTH);
        size = utf8_lower(text, n, to, sizeof to);
        assert_true(size >= 1 && size <= n * UTF8_CASE_GROWTH);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_validity_of_every_code_point),
        cmocka_unit_test(test_invalid_text),
        cmocka_unit_test(test_random_text),
        cmocka_unit_test(test_case),
        cmocka_unit_test(test_case_of_random_text),
    };
    return cmocka_run_group_tests(tests, choose_seed, NULL);
}
