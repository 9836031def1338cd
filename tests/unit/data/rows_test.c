#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "data/nested.h"
#include "data/rows.h"
#include "unit/data/random_columns.h"

enum { columns_max = 12, rows_max = 700 };

typedef struct table {
    memory *m;
    uint64_t seed;
    uint32_t n_columns, n, n_keys, extra;
    const type *types[columns_max];
    column columns[columns_max];
    row_layout *layout;
    uint8_t *bytes, *heap;     /* encoded */
    size_t heap_bytes;
    uint8_t *rows[2 * rows_max];
} table;

static void make_table(table *t, uint64_t seed) {
    *t = (table){.seed = seed};
    MUST(memory_create(64 << 20, &t->m, NULL));
    t->n_columns = 1 + draw_below(&t->seed, columns_max);
    t->n = 1 + draw_below(&t->seed, draw(&t->seed) & 1 ? 20 : rows_max);
    t->n_keys = draw_below(&t->seed, t->n_columns + 1);
    t->extra = draw_below(&t->seed, 20);
    for (uint32_t k = 0; k < t->n_columns; k++) {
        static const type_kind words[] = {TYPE_INT64, TYPE_FLOAT64, TYPE_TIMESTAMP};
        t->types[k] = seed % 4 ? random_type(&t->seed) : type_of(words[draw_below(&t->seed, 3)]);
        random_column(t->m, &t->seed, t->types[k], t->n, &t->columns[k]);
    }
    MUST(row_layout_new(t->types, t->n_columns, t->n_keys, t->extra, &t->layout, NULL));
}

/* Encodes rows selection[i]; guards stand around all that may be written. */
enum { guard = 64 };
static void encode_table(table *t, const uint32_t *selection, uint32_t n, bool apart) {
    const row_layout *l = t->layout;
    uint32_t *sizes = malloc((n + 1) * sizeof *sizes);
    t->heap_bytes = rows_heap_bytes(l, t->columns, selection, n, sizes);
    t->bytes = malloc((size_t)n * l->stride + 2 * guard);
    t->heap = malloc(t->heap_bytes + 2 * guard);
    memset(t->bytes, 0x5a, (size_t)n * l->stride + 2 * guard);
    memset(t->heap, 0x5a, t->heap_bytes + 2 * guard);
    uint8_t **heaps = malloc((n + 1) * sizeof *heaps), *heap = t->heap + guard;
    for (uint32_t i = 0; i < n; i++) {
        t->rows[i] = t->bytes + guard + (size_t)i * l->stride;
        heaps[i] = heap;
        heap += sizes[i];
    }
    assert_ptr_equal(heap, t->heap + guard + t->heap_bytes);
    if (apart) {
        rows_encode_apart(l, t->columns, selection, n, t->rows, heaps);
        for (uint32_t i = 0; i + 1 < n; i++) assert_true(heaps[i] == heaps[i + 1] - sizes[i + 1]);
    } else {
        heap = t->heap + guard;
        rows_encode(l, t->columns, selection, n, t->rows, &heap);
        assert_ptr_equal(heap, t->heap + guard + t->heap_bytes);
    }
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t k = 0; k < 8; k++) assert_int_equal(t->rows[i][k], 0x5a);
        for (uint32_t k = l->extra_offset; k < l->stride; k++) assert_int_equal(t->rows[i][k], 0x5a);
    }
    for (uint32_t k = 0; k < guard; k++) {
        assert_int_equal(t->bytes[k], 0x5a);
        assert_int_equal(t->bytes[guard + (size_t)n * l->stride + k], 0x5a);
        assert_int_equal(t->heap[k], 0x5a);
        assert_int_equal(t->heap[guard + t->heap_bytes + k], 0x5a);
    }
    free(heaps);
    free(sizes);
}

static void free_table(table *t) {
    for (uint32_t k = 0; k < t->n_columns; k++) column_clear(&t->columns[k]);
    row_layout_free(t->layout);
    free(t->bytes);
    free(t->heap);
    memory_destroy(t->m);
}

#define CHECK(t, seed, condition)                                                                  \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            char name_[200];                                                                       \
            fail_msg("seed %d, column %u %s: %s", (int)(seed), k,                                  \
                     type_name((t)->types[k], name_, sizeof name_), #condition);                   \
        }                                                                                          \
    } while (0)

static void test_layout(void **state) {
    for (int seed = 0; seed < 300; seed++) {
        table t;
        make_table(&t, (uint64_t)seed);
        const row_layout *l = t.layout;
        assert_int_equal(l->stride % 8, 0);
        assert_int_equal(l->extra_offset % 8, 0);
        assert_int_equal(l->stride, l->extra_offset + (t.extra + 7) / 8 * 8);
        uint8_t *used = calloc(1, l->stride);
        memset(used, 1, 8);
        for (uint32_t k = 0; k < l->n; k++) {
            const row_field *f = &l->fields[k];
            if (f->bytes == 8 || f->bytes == 16) CHECK(&t, seed, f->offset % 8 == 0);
            CHECK(&t, seed, (f->offset < l->key_end) == (k < l->n_keys));
            CHECK(&t, seed, (f->valid_bit / 8 < l->key_end) == (k < l->n_keys));
            CHECK(&t, seed, f->offset + f->bytes <= l->extra_offset);
            for (uint32_t i = 0; i < f->bytes; i++) CHECK(&t, seed, used[f->offset + i]++ == 0);
        }
        uint8_t *bits = calloc(1, l->stride);
        for (uint32_t k = 0; k < l->n; k++) {
            uint32_t place = l->fields[k].valid_bit >> 3, bit = 1u << (l->fields[k].valid_bit & 7);
            CHECK(&t, seed, !used[place] && place < l->extra_offset && !(bits[place] & bit));
            bits[place] |= (uint8_t)bit;
        }
        free(bits);
        free(used);
        free_table(&t);
    }
}

static bool columns_same(const column *a, const column *b, bool bits) {
    if (a->rows != b->rows || a->type != b->type) return false;
    size_t bytes = type_bytes(a->type);
    for (uint32_t i = 0; i < a->rows; i++) {
        if (!column_values_equal(a, i, b, i)) return false;
        if (column_is_valid(a, i) != column_is_valid(b, i)) return false;
        if (bits && column_is_valid(a, i) && !type_is_view(a->type) && !type_is_nested(a->type) &&
            memcmp((uint8_t *)a->values + i * bytes, (uint8_t *)b->values + i * bytes, bytes)) {
            return false;
        }
    }
    return true;
}

/* Who has a long view keeps what it points to. */
static void check_heaps(const column *c, const buffer *heap_owner) {
    bool some_long = false;
    for (uint32_t i = 0; type_is_view(c->type) && i < c->rows; i++) {
        some_long |= column_is_valid(c, i) && ((const view *)c->values)[i].size > VIEW_SMALL_MAX;
    }
    assert_ptr_equal(c->heap, some_long ? heap_owner : NULL);
    for (uint32_t k = 0; k < c->n_children; k++) check_heaps(&c->children[k], heap_owner);
}

static void check_decoded(table *t, int seed, const uint32_t *selection, uint32_t n) {
    column out[columns_max], picked;
    uint32_t first = draw_below(&t->seed, t->n_columns);
    uint32_t count = 1 + draw_below(&t->seed, t->n_columns - first);
    buffer *owner;
    MUST(buffer_new(t->m, MEMORY_FLOW, 1, &owner, NULL));
    MUST(rows_decode(t->m, t->layout, (const uint8_t *const *)t->rows, n, first, count, owner, out, NULL));
    for (uint32_t k = first; k < first + count; k++) {
        MUST(column_pick(t->m, &t->columns[k], selection, n, &picked, NULL));
        CHECK(t, seed, columns_same(&picked, &out[k - first], k >= t->n_keys));
        check_heaps(&out[k - first], owner);
        column_clear(&picked);
        column_clear(&out[k - first]);
    }
    assert_int_equal(owner->references, 1);
    buffer_unref(owner);
}

static void test_there_and_back(void **state) {
    for (int seed = 0; seed < 400; seed++) {
        table t;
        make_table(&t, (uint64_t)seed);
        uint32_t selection[2 * rows_max], n = draw_below(&t.seed, 2 * t.n) + 1;
        bool all = seed % 3 == 0;
        if (all) n = t.n;
        for (uint32_t i = 0; i < n; i++) selection[i] = all ? i : draw_below(&t.seed, t.n);
        encode_table(&t, all ? NULL : selection, n, seed & 1);
        check_decoded(&t, seed, selection, n);
        free_table(&t);
    }
}

/* Long strings may stay where they are. */
static void test_without_heap(void **state) {
    for (int seed = 0; seed < 60; seed++) {
        table t;
        make_table(&t, (uint64_t)seed);
        if (!t.layout->has_nested) {
            t.bytes = malloc((size_t)t.n * t.layout->stride);
            uint32_t selection[rows_max];
            for (uint32_t i = 0; i < t.n; i++) {
                selection[i] = i;
                t.rows[i] = t.bytes + (size_t)i * t.layout->stride;
            }
            rows_encode(t.layout, t.columns, NULL, t.n, t.rows, NULL);
            check_decoded(&t, seed, selection, t.n);
        }
        free_table(&t);
    }
}

static bool keys_equal(const table *t, uint32_t i, uint32_t j) {
    for (uint32_t k = 0; k < t->n_keys; k++) {
        if (!column_values_equal(&t->columns[k], i, &t->columns[k], j)) return false;
    }
    return true;
}

static void test_equality_and_hashes(void **state) {
    uint32_t n_equal = 0;
    for (int seed = 0; seed < 500; seed++) {
        table t;
        make_table(&t, (uint64_t)seed);
        if (t.n_keys > 2) { /* few keys, so that some are equal */
            row_layout_free(t.layout);
            t.n_keys = 1 + (uint32_t)seed % 2;
            MUST(row_layout_new(t.types, t.n_columns, t.n_keys, t.extra, &t.layout, NULL));
        }
        encode_table(&t, NULL, t.n, false);
        uint64_t hashes[rows_max];
        hash_columns(t.columns, t.n_keys, t.n, hashes);
        for (uint32_t i = 0; i < t.n; i++) {
            assert_int_equal(hashes[i], hash_row_keys(t.layout, t.rows[i]));
            for (uint32_t j = i + 1; j < t.n && j < i + 20; j++) {
                bool equal = keys_equal(&t, i, j);
                n_equal += equal && t.n_keys;
                if (rows_keys_equal(t.layout, t.rows[i], t.rows[j]) != equal) {
                    fail_msg("seed %d, rows %u and %u", seed, i, j);
                }
                assert_true((hashes[i] == hashes[j]) == equal);
            }
        }
        free_table(&t);
    }
    assert_true(n_equal > 1000);
}

static void test_copies_and_files(void **state) {
    for (int seed = 0; seed < 200; seed++) {
        table t;
        make_table(&t, (uint64_t)seed);
        const row_layout *l = t.layout;
        uint32_t selection[rows_max];
        for (uint32_t i = 0; i < t.n; i++) selection[i] = i;
        encode_table(&t, NULL, t.n, false);
        uint8_t *bytes = malloc((size_t)t.n * l->stride), *heap = malloc(t.heap_bytes + 1), *at = heap;
        for (uint32_t i = 0; i < t.n; i++) {
            uint8_t *to = bytes + (size_t)i * l->stride, *before = at;
            rows_copy(l, t.rows[i], to, &at);
            assert_int_equal(at - before, rows_copy_heap_bytes(l, t.rows[i]));
            assert_memory_equal(to, t.rows[i], 8);
            t.rows[i] = to;
        }
        memset(t.bytes, 0, (size_t)t.n * l->stride);
        memset(t.heap, 0, t.heap_bytes);
        check_decoded(&t, seed, selection, t.n);

        assert_true(rows_unplace(l, bytes, t.n, heap, t.heap_bytes, 1000));
        uint8_t *moved = malloc(t.heap_bytes + 1000);
        memcpy(moved + 1000, heap, t.heap_bytes);
        memset(heap, 0, t.heap_bytes);
        assert_true(rows_place(l, bytes, t.n, moved, t.heap_bytes + 1000));
        check_decoded(&t, seed, selection, t.n);
        if (t.heap_bytes) {
            assert_false(rows_unplace(l, bytes, t.n, l->blank, 8, 0));
        }
        free(moved);
        free(bytes);
        free(heap);
        free_table(&t);
    }
}

static void test_damaged_rows(void **state) {
    const type *types[] = {type_of(TYPE_STRING), type_list(type_of(TYPE_STRING)), type_vector(20)};
    row_layout *l;
    MUST(row_layout_new(types, 3, 1, 0, &l, NULL));
    uint8_t row[256], heap[256] = {0};
    assert_true(l->stride <= sizeof row);
    view good[3] = {{.size = 13}, {.size = 4}, {.size = 80}};
    struct {
        uint32_t field;
        view v;
    } bad[] = {
        {0, {.size = 257}},              /* longer than the heap */
        {0, {.size = UINT32_MAX}},
        {1, {.size = 3}},                /* no room for the count */
        {1, {.size = 4, .small = {1}}},  /* an item that is not there */
        {1, {.size = 12, .small = {1, 0, 0, 0, 1, 8}}},
        {2, {.size = 76}},               /* not 20 floats */
        {2, {.size = 0}},
    };
    for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
        memset(row, 0, sizeof row);
        memcpy(row, l->blank, l->stride);
        for (int k = 0; k < 3; k++) memcpy(row + l->fields[k].offset, &good[k], 16);
        bool is_bad = i < sizeof bad / sizeof *bad;
        if (is_bad) memcpy(row + l->fields[bad[i].field].offset, &bad[i].v, 16);
        assert_true(rows_place(l, row, 1, heap, sizeof heap) != is_bad);
    }
    view far = {.size = 13, .data = (const uint8_t *)(uintptr_t)(256 - 12)};
    memset(row, 0, sizeof row);
    memcpy(row, l->blank, l->stride);
    for (int k = 0; k < 3; k++) memcpy(row + l->fields[k].offset, &good[k], 16);
    memcpy(row + l->fields[0].offset, &far, 16);
    assert_false(rows_place(l, row, 1, heap, sizeof heap));
    row_layout_free(l);
}

static uint64_t hash_one(const type *t, const void *value) {
    column c = {.type = t, .rows = 1, .values = (void *)(uintptr_t)value};
    uint64_t hash;
    hash_columns(&c, 1, 1, &hash);
    return hash;
}

static void test_hashes_alike(void **state) {
    for (int32_t value = -3; value < 4; value++) {
        int64_t wide = value;
        assert_int_equal(hash_one(type_of(TYPE_INT32), &value), hash_one(type_of(TYPE_INT64), &wide));
    }
    float zero32[] = {0.0f, -0.0f, NAN, -NAN};
    double zero64[] = {0.0, -0.0, NAN, -NAN};
    for (int i = 0; i < 4; i += 2) {
        assert_int_equal(hash_one(type_of(TYPE_FLOAT32), &zero32[i]),
                         hash_one(type_of(TYPE_FLOAT32), &zero32[i + 1]));
        assert_int_equal(hash_one(type_of(TYPE_FLOAT64), &zero64[i]),
                         hash_one(type_of(TYPE_FLOAT64), &zero64[i + 1]));
    }
    view text = view_make((const uint8_t *)"the river runs", 14), small = view_make((const uint8_t *)"bed", 3);
    assert_int_equal(hash_one(type_of(TYPE_STRING), &text), hash_one(type_of(TYPE_BINARY), &text));
    /* The same in every build. */
    int64_t forty_two = 42;
    assert_int_equal(hash_one(type_of(TYPE_INT64), &forty_two), 0xcaf4d330430fca1b);
    assert_int_equal(hash_one(type_of(TYPE_STRING), &small), 0x20aad1dcca7915ba);
    assert_int_equal(hash_one(type_of(TYPE_STRING), &text), 0x626300de50ef6fd0);
    column two[2] = {{.type = type_of(TYPE_INT64), .rows = 1, .values = &(int64_t){1}},
                     {.type = type_of(TYPE_INT64), .rows = 1, .values = &(int64_t){2}}};
    column turned[2] = {two[1], two[0]};
    uint64_t a, b;
    hash_columns(two, 2, 1, &a);
    hash_columns(turned, 2, 1, &b);
    assert_true(a != b);
}

/* High bits choose partitions, low bits places in a partition's table: both must spread, the second
 * within one of the first. */
enum { spread_rows = 1 << 16 };
static void check_spread(const char *what, unsigned shift, const uint64_t *hashes) {
    static uint32_t high[256], low[256];
    memset(high, 0, sizeof high);
    memset(low, 0, sizeof low);
    for (uint32_t i = 0; i < spread_rows; i++) {
        high[hashes[i] >> 56]++;
        if (hashes[i] >> 61 == 3) low[hashes[i] & 255]++;
    }
    double chi_high = 0, chi_low = 0, n_low = 0;
    for (int i = 0; i < 256; i++) n_low += low[i];
    for (int i = 0; i < 256; i++) {
        double mean_high = spread_rows / 256.0, mean_low = n_low / 256;
        chi_high += (high[i] - mean_high) * (high[i] - mean_high) / mean_high;
        chi_low += (low[i] - mean_low) * (low[i] - mean_low) / mean_low;
    }
    /* 255 degrees of freedom: mean 255, deviation 23. */
    if (chi_high > 400 || chi_low > 400 || n_low < spread_rows / 8 * 0.9) {
        fail_msg("%s << %u: chi square %.0f above, %.0f below, %.0f rows", what, shift, chi_high, chi_low,
                 n_low);
    }
}

static void test_hashes_spread(void **state) {
    int64_t *numbers = malloc(spread_rows * sizeof *numbers), *others = malloc(spread_rows * sizeof *others);
    uint64_t *hashes = malloc(spread_rows * sizeof *hashes);
    view *views = malloc(spread_rows * sizeof *views);
    column columns[2] = {{.type = type_of(TYPE_INT64), .rows = spread_rows, .values = numbers},
                         {.type = type_of(TYPE_INT64), .rows = spread_rows, .values = others}};
    for (unsigned shift = 0; shift <= 48; shift++) {
        for (uint32_t i = 0; i < spread_rows; i++) numbers[i] = (int64_t)((uint64_t)i << shift);
        hash_columns(columns, 1, spread_rows, hashes);
        check_spread("integers", shift, hashes);
        for (uint32_t i = 0; i < spread_rows; i++) {
            numbers[i] = (int64_t)((uint64_t)(i % 256) << shift);
            others[i] = i / 256;
        }
        hash_columns(columns, 2, spread_rows, hashes);
        check_spread("pairs", shift, hashes);
    }
    columns[0].type = type_of(TYPE_FLOAT64);
    for (uint32_t i = 0; i < spread_rows; i++) {
        double value = i;
        memcpy(&numbers[i], &value, 8);
    }
    hash_columns(columns, 1, spread_rows, hashes);
    check_spread("floats", 0, hashes);
    columns[0].type = type_of(TYPE_STRING);
    columns[0].values = views;
    for (uint32_t i = 0; i < spread_rows; i++) {
        char text[16];
        int size = snprintf(text, sizeof text, "k%u", i);
        views[i] = view_make((uint8_t *)text, (uint32_t)size);
    }
    hash_columns(columns, 1, spread_rows, hashes);
    check_spread("texts", 0, hashes);
    free(numbers);
    free(others);
    free(hashes);
    free(views);
}

static void test_too_wide(void **state) {
    uint32_t n = 1 << 20;
    const type **types = malloc(n * sizeof *types);
    for (uint32_t i = 0; i < n; i++) types[i] = type_vector(16);
    row_layout *l;
    tw_error err;
    assert_int_equal(row_layout_new(types, n, 0, 0, &l, &err), TW_ERR_JOB);
    free(types);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),          cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_without_heap),    cmocka_unit_test(test_equality_and_hashes),
        cmocka_unit_test(test_copies_and_files), cmocka_unit_test(test_damaged_rows),
        cmocka_unit_test(test_hashes_alike),    cmocka_unit_test(test_hashes_spread),
        cmocka_unit_test(test_too_wide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
