#include "base/memory_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { HUGE = 2 << 20 };

static size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static bool is_mapped(void *at) {
    unsigned char in[1];
    return mincore(at, page_bytes(), in) == 0;
}

static bool is_resident(void *at) {
    unsigned char in[1];
    return mincore(at, page_bytes(), in) == 0 && (in[0] & 1);
}

static void unmap_one(void *at, size_t bytes) {
    unmapping u = {0};
    unmap_later(&u, at, bytes);
    unmap_now(&u);
}

static void bytes_are_zero_and_writable(void **state) {
    size_t n = 10 * page_bytes();
    for (int fills = 0; fills < 2; fills++) {
        uint8_t *at = map_bytes(n, fills);
        assert_non_null(at);
        for (size_t i = 0; i < n; i++) assert_int_equal(at[i], 0);
        memset(at, 1, n);
        unmap_one(at, n);
        assert_false(is_mapped(at));
    }
}

static void what_fills_has_its_pages_at_once(void **state) {
    size_t n = 32 * page_bytes();
    uint8_t *empty = map_bytes(n, false), *filled = map_bytes(n, true);
    assert_non_null(empty);
    assert_non_null(filled);
    for (size_t at = 0; at < n; at += page_bytes()) assert_true(is_resident(filled + at));
    assert_false(is_resident(empty + n / 2));
    unmap_one(empty, n);
    unmap_one(filled, n);
}

static void large_ones_are_aligned_to_huge_pages(void **state) {
    for (size_t n = HUGE; n <= 3 * HUGE; n += HUGE / 2) {
        uint8_t *at = map_bytes(n, true);
        assert_non_null(at);
        assert_int_equal((uintptr_t)at % HUGE, 0);
        at[n - 1] = 1;
        unmap_one(at, n);
    }
}

/* In any order, and nothing between them. */
static void pieces_go_and_what_lies_between_stays(void **state) {
    enum { PAGES = 300 };
    size_t page = page_bytes();
    uint8_t *at = map_bytes(PAGES * page, true);
    assert_non_null(at);
    memset(at, 7, PAGES * page);
    unmapping u = {0};
    for (size_t i = 0; i < PAGES; i++) {
        size_t p = i * 7 % PAGES;
        if (p % 5 != 4) unmap_later(&u, at + p * page, page);
    }
    for (size_t p = 0; p < PAGES; p++) assert_true(is_mapped(at + p * page));
    unmap_now(&u);
    assert_int_equal(u.n, 0);
    for (size_t p = 0; p < PAGES; p++) {
        assert_int_equal(is_mapped(at + p * page), p % 5 == 4);
        if (p % 5 == 4) assert_int_equal(at[p * page], 7);
    }
    for (size_t p = 4; p < PAGES; p += 5) unmap_later(&u, at + p * page, page);
    unmap_now(&u);
    for (size_t p = 0; p < PAGES; p++) assert_false(is_mapped(at + p * page));
    unmap_now(&u); /* of nothing */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_zero_and_writable),
        cmocka_unit_test(what_fills_has_its_pages_at_once),
        cmocka_unit_test(large_ones_are_aligned_to_huge_pages),
        cmocka_unit_test(pieces_go_and_what_lies_between_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
