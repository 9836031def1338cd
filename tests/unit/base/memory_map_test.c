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
        uint8_t *at = map_bytes(*state, n, fills);
        assert_non_null(at);
        for (size_t i = 0; i < n; i++) assert_int_equal(at[i], 0);
        memset(at, 1, n);
        unmap_one(at, n);
        assert_false(is_mapped(at));
    }
}

static void what_fills_has_its_pages_at_once(void **state) {
    size_t n = 32 * page_bytes();
    uint8_t *empty = map_bytes(*state, n, false), *filled = map_bytes(*state, n, true);
    assert_non_null(empty);
    assert_non_null(filled);
    for (size_t at = 0; at < n; at += page_bytes()) assert_true(is_resident(filled + at));
    assert_false(is_resident(empty + n / 2));
    unmap_one(empty, n);
    unmap_one(filled, n);
}

static void large_ones_are_aligned_to_huge_pages(void **state) {
    for (size_t n = HUGE; n <= 3 * HUGE; n += HUGE / 2) {
        uint8_t *at = map_bytes(*state, n, true);
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
    uint8_t *at = map_bytes(*state, PAGES * page, true);
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

/* One mapping serves many calls; what does not fit its rest gets a new one, and the rest goes. */
static void small_ones_lie_side_by_side(void **state) {
    enum { N = 200 };
    map_region *r = *state;
    size_t piece = HUGE / 2;
    uint8_t *all[N];
    uint32_t neighbours = 0;
    for (size_t i = 0; i < N; i++) {
        all[i] = map_bytes(r, piece, false);
        assert_non_null(all[i]);
        all[i][piece - 1] = (uint8_t)i;
        neighbours += i && all[i] == all[i - 1] + piece;
    }
    assert_true(neighbours > N * 9 / 10);
    uint8_t *odd = map_bytes(r, page_bytes(), false); /* so that a rest is left at the end */
    uint8_t *last[N];
    size_t n_last = 0;
    while (r->left >= piece) last[n_last++] = map_bytes(r, piece, false);
    uint8_t *rest = r->at;
    assert_true(r->left > 0);
    uint8_t *next = map_bytes(r, piece, false);
    assert_false(is_mapped(rest));
    assert_true(is_mapped(r->at));
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(all[i][piece - 1], (uint8_t)i);
        unmap_one(all[i], piece);
    }
    while (n_last) unmap_one(last[--n_last], piece);
    unmap_one(odd, page_bytes());
    unmap_one(next, piece);
}

/* So many that two threads do it, and pages between them that stay. */
static void much_goes_at_once(void **state) {
    enum { N = 300 };
    size_t piece = HUGE / 4 + page_bytes();
    uint8_t *all[N];
    unmapping u = {0};
    for (size_t i = 0; i < N; i++) {
        all[i] = map_bytes(*state, piece, i % 2);
        assert_non_null(all[i]);
        memset(all[i], 3, piece);
        if (i % 10) unmap_later(&u, all[i], piece);
    }
    unmap_now(&u);
    for (size_t i = 0; i < N; i++) {
        for (size_t at = 0; at < piece; at += page_bytes()) assert_int_equal(is_mapped(all[i] + at), !(i % 10));
        if (i % 10) continue;
        for (size_t at = 0; at < piece; at++) assert_int_equal(all[i][at], 3);
        unmap_one(all[i], piece);
    }
}

static int make_region(void **state) {
    static map_region region;
    map_region_init(&region);
    *state = &region;
    return 0;
}

static int drop_region(void **state) {
    map_region *r = *state;
    uint8_t *rest = r->left ? r->at : NULL;
    map_region_destroy(r);
    return rest && is_mapped(rest);
}

#define test_with_region(test) cmocka_unit_test_setup_teardown(test, make_region, drop_region)

int main(void) {
    const struct CMUnitTest tests[] = {
        test_with_region(bytes_are_zero_and_writable),
        test_with_region(what_fills_has_its_pages_at_once),
        test_with_region(large_ones_are_aligned_to_huge_pages),
        test_with_region(pieces_go_and_what_lies_between_stays),
        test_with_region(small_ones_lie_side_by_side),
        test_with_region(much_goes_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
