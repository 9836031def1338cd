#include "data/bitmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned next_random(unsigned *seed) { return (*seed = *seed * 1664525u + 1013904223u) >> 8; }
static bool bit(const uint64_t *words, size_t i) { return words[i / 64] >> i % 64 & 1; }

static void fill(uint64_t *words, size_t n, unsigned ones_in_8, unsigned *seed) {
    memset(words, 0, n * 8);
    for (size_t i = 0; i < n * 64; i++) words[i / 64] |= (uint64_t)(next_random(seed) % 8 < ones_in_8) << i % 64;
}

static void copies_touch_nothing_else(void **state) {
    (void)state;
    uint64_t before[8], after[8];
    unsigned seed = 1;
    for (int round = 0; round < 20000; round++) {
        size_t from = next_random(&seed) % 200, to = next_random(&seed) % 200, n = next_random(&seed) % 300;
        size_t words = bitmap_words(from + n); /* exactly, so that a read past the end is found */
        uint64_t *in = malloc(words ? words * 8 : 1);
        fill(in, words, 4, &seed);
        fill(before, 8, 4, &seed);
        memcpy(after, before, sizeof after);
        bitmap_copy(in, from, after, to, n);
        for (size_t i = 0; i < 512; i++)
            assert_int_equal(bit(after, i), i >= to && i < to + n ? bit(in, from + i - to) : bit(before, i));
        free(in);
    }
}

static void gathers_agree_with_the_bits(void **state) {
    (void)state;
    static uint64_t in[1024], out[1024];
    static uint32_t rows[65536];
    unsigned seed = 2;
    for (int level = 0; level <= (int)cpu_level_here(); level++) {
        static const size_t counts[] = {0, 1, 63, 64, 65, 127, 128, 1000, 65536};
        for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
            for (unsigned kind = 0; kind < 12; kind++) {
                size_t n = counts[k];
                unsigned nulls = kind % 3, ones = kind / 3 == 0 ? 8 : kind / 3 == 1 ? 7 : kind / 3 == 2 ? 1 : 8;
                fill(in, 1024, ones, &seed);
                const uint64_t *valid = kind / 3 == 3 ? NULL : in;
                for (size_t i = 0; i < n; i++)
                    rows[i] = nulls && next_random(&seed) % (nulls * 40) == 0 ? UINT32_MAX
                                                                              : next_random(&seed) % 65536;
                bool any = bitmap_gather_level((cpu_level)level, valid, rows, n, out), want = false;
                for (size_t i = 0; i < n; i++) {
                    bool b = rows[i] != UINT32_MAX && (!valid || bit(in, rows[i]));
                    if (bit(out, i) != b) fail_msg("level %d, row %zu of %zu", level, i, n);
                    want |= !b;
                }
                for (size_t i = n; i < bitmap_words(n) * 64; i++) assert_true(bit(out, i));
                assert_int_equal(any, want);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_touch_nothing_else),
        cmocka_unit_test(gathers_agree_with_the_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
