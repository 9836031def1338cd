/* Every kernel that this processor can run against loops over single bytes: at all lengths 0 to
 * 300, all alignments, and with the text ending where readable memory ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "data/scan_internal.h"

#define LENGTH_MAX 300

static uint64_t seed;

static uint64_t random_next(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static int choose_seed(void **state) {
    (void)state;
    seed = (uint64_t)time(NULL) * 2654435761U | 1;
    if (getenv("TEST_SEED") != NULL) seed = strtoull(getenv("TEST_SEED"), NULL, 0);
    print_message("TEST_SEED=%llu\n", (unsigned long long)seed);
    return 0;
}

/* Bytes of which few kinds are common, so that every kind is hit and missed. */
static void fill(uint8_t *p, size_t n) {
    static const char common[] = ",\"\n\r\t \v\f;azAZ@[`{";
    for (size_t i = 0; i < n; i++) {
        uint64_t r = random_next() >> 11;
        p[i] = r % 3 == 0 ? (uint8_t)(r >> 8) : (uint8_t)common[(r >> 8) % (sizeof common - 1)];
    }
}

/* The last bytes before memory that may not be read. */
typedef struct guarded {
    uint8_t *base;
    uint8_t *end;
    size_t page;
} guarded;

static guarded guarded_create(void) {
    guarded g;
    g.page = (size_t)sysconf(_SC_PAGESIZE);
    g.base = mmap(NULL, 2 * g.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.base != MAP_FAILED);
    g.end = g.base + g.page;
    assert_int_equal(mprotect(g.end, g.page, PROT_NONE), 0);
    fill(g.base, g.page);
    return g;
}

static void guarded_free(guarded *g) { munmap(g->base, 2 * g->page); }

static bool bit(const uint64_t *bits, size_t i) { return (bits[i / 64] >> (i % 64) & 1) != 0; }

static void check_block(const uint8_t *p, size_t n) {
    uint64_t in_set[8], spaces[8];
    uint8_t lower[LENGTH_MAX + 1], members[4];
    for (size_t k = 0; k < 4; k++) members[k] = n > 0 ? p[random_next() % n] : 0;
    size_t kinds = 1 + random_next() % 4;
    scan_set set = scan_set_make(members, kinds);
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += p[i] == members[0];
    for (cpu_level level = CPU_PLAIN; level <= cpu_level_here(); level++) {
        const scan_kernels *kernels = scan_kernels_at(level);
        memset(in_set, 0xa5, sizeof in_set);
        memset(spaces, 0xa5, sizeof spaces);
        kernels->bitmap(p, n, set, in_set);
        kernels->space_bitmap(p, n, spaces);
        for (size_t i = 0; i < SCAN_WORDS(n) * 64; i++) {
            bool member = i < n && memchr(members, p[i], kinds) != NULL;
            bool space = i < n && p[i] != 0 && strchr(" \t\n\v\f\r", p[i]) != NULL;
            assert_int_equal(bit(in_set, i), member);
            assert_int_equal(bit(spaces, i), space);
        }
        assert_true(in_set[SCAN_WORDS(n)] == UINT64_C(0xa5a5a5a5a5a5a5a5));
        assert_true(spaces[SCAN_WORDS(n)] == UINT64_C(0xa5a5a5a5a5a5a5a5));
        assert_int_equal(kernels->count(p, n, members[0]), count);
        lower[n] = 0xa5;
        kernels->lower(lower, p, n);
        assert_int_equal(lower[n], 0xa5);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(lower[i], p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i]);
        }
    }
}

static void test_all_lengths_and_alignments(void **state) {
    (void)state;
    guarded g = guarded_create();
    for (size_t n = 0; n <= LENGTH_MAX; n++) {
        check_block(g.end - n, n);
        fill(g.base, g.page);
    }
    for (size_t n = 0; n <= LENGTH_MAX; n += 1 + random_next() % 3) {
        for (size_t shift = 0; shift < 64; shift++) check_block(g.base + shift, n);
    }
    guarded_free(&g);
}

static void test_every_byte_value(void **state) {
    (void)state;
    uint8_t all[256];
    for (size_t i = 0; i < 256; i++) all[i] = (uint8_t)i;
    check_block(all, 256);
    uint64_t bits[4];
    for (unsigned value = 0; value < 256; value++) {
        uint8_t byte = (uint8_t)value;
        scan_bitmap(all, 256, scan_set_make(&byte, 1), bits);
        for (size_t i = 0; i < 256; i++) assert_int_equal(bit(bits, i), i == value);
        assert_int_equal(count_byte(all, 256, byte), 1);
        assert_int_equal(find_byte(all, 256, byte), value);
        assert_int_equal(find_last_byte(all, 256, byte), value);
        assert_int_equal(find_byte(all, value, byte), value);
    }
    ascii_lower_copy(all, all, 256);
    assert_int_equal(all['Q'], 'q');
    assert_int_equal(all[0xc4], 0xc4);
    assert_int_equal(find_byte(NULL, 0, 'x'), 0);
    assert_int_equal(find_last_byte(NULL, 0, 'x'), 0);
}

static void test_count_of_many(void **state) {
    (void)state;
    static uint8_t same[100001];
    memset(same, 'x', sizeof same);
    for (cpu_level level = CPU_PLAIN; level <= cpu_level_here(); level++) {
        assert_int_equal(scan_kernels_at(level)->count(same, sizeof same, 'x'), sizeof same);
    }
}

/* ---- CSV ---- */

typedef struct csv_truth {
    uint32_t positions[LENGTH_MAX];
    size_t count, quotes;
    bool in_quote;
} csv_truth;

static void csv_by_bytes(const uint8_t *p, size_t n, uint8_t delimiter, uint8_t quote, bool inside,
                         csv_truth *truth) {
    truth->count = truth->quotes = 0;
    for (size_t i = 0; i < n; i++) {
        if (quote != 0 && p[i] == quote) {
            truth->quotes++;
            inside = !inside;
        } else if (!inside && (p[i] == delimiter || p[i] == '\n')) {
            truth->positions[truth->count++] = (uint32_t)i;
        }
    }
    truth->in_quote = inside;
}

static void check_csv(const uint8_t *p, size_t n, uint8_t delimiter, uint8_t quote) {
    csv_truth truth;
    uint32_t positions[LENGTH_MAX + SCAN_CSV_SLACK + 1];
    uint64_t quote_bits[8];
    bool inside = random_next() % 2 == 0;
    csv_by_bytes(p, n, delimiter, quote, inside, &truth);
    for (cpu_level level = CPU_PLAIN; level <= cpu_level_here(); level++) {
        /* With room for all at once, then with room for little at a time. */
        for (int whole = 1; whole >= 0; whole--) {
            size_t capacity = whole ? n + SCAN_CSV_SLACK : SCAN_CSV_SLACK;
            uint64_t in_quote = inside ? ~(uint64_t)0 : 0;
            size_t at = 0, count = 0, quotes = 0;
            do {
                memset(positions, 0xee, sizeof positions);
                memset(quote_bits, 0xa5, sizeof quote_bits);
                scan_csv_result part =
                    scan_csv_kernel_at(level)(p + at, n - at, delimiter, quote, &in_quote,
                                              positions, capacity, quote_bits);
                assert_true(positions[capacity] == 0xeeeeeeee);
                assert_true(part.scanned > 0 || n == 0);
                assert_true(!whole || part.scanned == n);
                for (size_t i = 0; i < part.count; i++, count++) {
                    assert_true(count < truth.count);
                    assert_int_equal(positions[i] + at, truth.positions[count]);
                }
                for (size_t i = 0; i < part.scanned; i++) {
                    assert_int_equal(bit(quote_bits, i), quote != 0 && p[at + i] == quote);
                }
                at += part.scanned;
                quotes += part.quotes;
            } while (at < n);
            assert_int_equal(count, truth.count);
            assert_int_equal(quotes, truth.quotes);
            assert_true(in_quote == (truth.in_quote ? ~(uint64_t)0 : 0));
        }
    }
}

static void test_csv_kernels(void **state) {
    (void)state;
    guarded g = guarded_create();
    for (size_t n = 0; n <= LENGTH_MAX; n++) {
        fill(g.base, g.page);
        check_csv(g.end - n, n, ',', '"');
        check_csv(g.end - n, n, ';', 0);
        check_csv(g.end - n, n, '\t', '\'');
    }
    for (size_t n = 0; n <= LENGTH_MAX; n += 1 + random_next() % 5) {
        for (size_t shift = 0; shift < 64; shift++) check_csv(g.base + shift, n, ',', '"');
    }
    memset(g.base, ',', g.page);
    for (size_t n = 0; n <= LENGTH_MAX; n++) check_csv(g.end - n, n, ',', '"');
    guarded_free(&g);
}

static void test_csv_example(void **state) {
    (void)state;
    static const char text[] = "a,\"b,\"\"\n\",c\n1,,2\n";
    uint32_t positions[sizeof text + SCAN_CSV_SLACK];
    uint64_t in_quote = 0;
    scan_csv_result result = scan_csv((const uint8_t *)text, sizeof text - 1, ',', '"', &in_quote,
                                      positions, sizeof positions / sizeof *positions, NULL);
    static const uint32_t expected[] = {1, 9, 11, 13, 14, 16};
    assert_int_equal(result.count, 6);
    assert_int_equal(result.quotes, 4);
    assert_memory_equal(positions, expected, sizeof expected);
    assert_true(in_quote == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_lengths_and_alignments),
        cmocka_unit_test(test_every_byte_value),
        cmocka_unit_test(test_count_of_many),
        cmocka_unit_test(test_csv_kernels),
        cmocka_unit_test(test_csv_example),
    };
    return cmocka_run_group_tests(tests, choose_seed, NULL);
}
