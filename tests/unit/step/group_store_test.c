#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "step/group_merge.h"
#include "unit/data/random_columns.h"

/* Lanes, exchange and merging with tables of a few kilobytes, and with aggregates that are refused memory in the
 * middle of a step: what was done must not be done again. Keys are int64; aggregates count(*), sum, collect. */
enum { keys_max = 40000, many_keys = 2000000, columns = 3, batch_max = 3000 };

static uint64_t seed;
static unsigned refusals_of_100;
static bool refused_last;
static unsigned turns_apart, turns_back; /* of lanes that stopped combining rows, and began again */
static tw_status (*real_add[3])(const aggregate *, aggregate_input *, tw_error *);
static tw_status (*real_merge[3])(const aggregate *, uint8_t *, const uint8_t *, arena_rows *, tw_error *);

static tw_status unsteady_add(const aggregate *a, aggregate_input *in, tw_error *err) {
    aggregate_input some = *in;
    bool refuse = in->n > 1 && draw_below(&seed, 100) < refusals_of_100;
    if (refuse) some.n = 1 + draw_below(&seed, in->n - 1);
    tw_status status = real_add[a->column](a, &some, err);
    in->done = status == TW_OK ? some.n : some.done;
    if (status != TW_OK) return status;
    if (refuse) in->arena->refusal = TW_ERR_MEMORY;
    return refuse ? TW_ERR_MEMORY : TW_OK;
}
static tw_status unsteady_merge(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err) {
    /* A group that is refused more while it is alone is an error. */
    refused_last = !refused_last && arena->n > 1 && draw_below(&seed, 100000) < refusals_of_100;
    if (!refused_last) return real_merge[a->column](a, to, from, arena, err);
    arena->refusal = TW_ERR_MEMORY;
    return TW_ERR_MEMORY;
}

static group_shape *make_shape(void) {
    static const aggregate_kind kinds[3] = {AGGREGATE_COUNT_ROWS, AGGREGATE_SUM, AGGREGATE_COLLECT};
    const type *number = type_of(TYPE_INT64);
    aggregate *a = calloc(3, sizeof *a);
    group_shape *shape;
    for (uint32_t i = 0; i < 3; i++) {
        MUST(aggregate_init(&a[i], kinds[i], i ? number : NULL, NULL));
        a[i].column = i;
        a[i].name = "x";
        real_add[i] = a[i].add;
        real_merge[i] = a[i].merge;
        a[i].add = unsteady_add;
        a[i].merge = unsteady_merge;
    }
    MUST(group_shape_new(&number, 1, a, 3, &shape, NULL));
    return shape;
}

typedef struct totals {
    uint64_t rows[many_keys];
    int64_t sums[many_keys];
    bool seen[many_keys];
} totals;

/* Values are positions, so that what is collected must ascend. */
static void add_rows(group_lane *lanes, uint32_t n_lanes, uint32_t n_keys, uint32_t n_rows, totals *want) {
    static int64_t keys[batch_max], values[batch_max];
    static uint64_t hashes[batch_max];
    for (uint32_t first = 0; first < n_rows; first += batch_max) {
        uint32_t n = n_rows - first < batch_max ? n_rows - first : batch_max;
        for (uint32_t i = 0; i < n; i++) {
            keys[i] = (int64_t)draw_below(&seed, n_keys);
            values[i] = first + i;
            want->rows[keys[i]]++;
            want->sums[keys[i]] += values[i];
        }
        const column input[columns] = {{.type = type_of(TYPE_INT64), .rows = n, .values = keys},
                                       {.type = type_of(TYPE_INT64), .rows = n, .values = values},
                                       {.type = type_of(TYPE_INT64), .rows = n, .values = values}};
        hash_columns(input, 1, n, hashes);
        group_input in = {.columns = input, .hashes = hashes, .n = n, .position = first};
        group_lane *lane = &lanes[draw_below(&seed, n_lanes)];
        bool was_apart = lane->table.apart;
        MUST(group_lane_add(lane, &in, NULL));
        turns_apart += !was_apart && lane->table.apart;
        turns_back += was_apart && !lane->table.apart;
    }
}

static void check_row(const group_store *s, memory *m, const uint8_t *row, buffer *heap, totals *want) {
    const group_shape *shape = s->shape;
    column out[4];
    MUST(rows_decode(m, shape->layout, &row, 1, 0, 1, heap, &out[0], NULL));
    for (uint32_t i = 0; i < 3; i++)
        MUST(shape->aggregates[i].finish(&shape->aggregates[i], m, &row, 1, heap, &out[i + 1], NULL));
    int64_t key = *(int64_t *)out[0].values;
    assert_in_range(key, 0, many_keys - 1);
    assert_false(want->seen[key]);
    want->seen[key] = true;
    assert_int_equal(*(int64_t *)out[1].values, want->rows[key]);
    assert_int_equal(*(int64_t *)out[2].values, want->sums[key]);
    const uint32_t *offsets = out[3].values;
    const int64_t *items = out[3].children[0].values;
    assert_int_equal(offsets[1] - offsets[0], want->rows[key]);
    for (uint32_t i = offsets[0] + 1; i < offsets[1]; i++) assert_true(items[i - 1] < items[i]);
    for (uint32_t i = 0; i < 4; i++) column_clear(&out[i]);
}

static uint32_t read_split(group_store *s, memory *m, uint64_t split, totals *want) {
    enum { most = 777 };
    const uint8_t *rows[most];
    group_merge *merge;
    tw_status status;
    uint32_t n, groups = 0;
    buffer *heap;
    MUST(group_merge_open(s, split, &merge, NULL));
    tw_error err = {0};
    while ((status = group_merge_rows(merge, most, rows, &n, &heap, &err)) == TW_OK) {
        for (uint32_t i = 0; i < n; i++) check_row(s, m, rows[i], heap, want);
        groups += n;
        group_merge_advance(merge, n);
    }
    if (status != TW_END) fail_msg("%s", err.message);
    group_merge_free(merge);
    return groups;
}

static void run_store(uint64_t from_seed, uint32_t n_keys, uint32_t n_rows, size_t table_bytes, size_t merged_bytes) {
    seed = from_seed;
    atomic_bool cancelled = false;
    run_context run = {.cancelled = &cancelled, .parallelism = 1, .batch_rows = 1000, .batch_bytes = 1 << 20};
    group_lane lanes[3];
    totals *want = calloc(1, sizeof *want);
    memory *of_results;
    group_store s = {.shape = make_shape()};
    MUST(memory_create(64 << 20, &of_results, NULL));
    MUST(memory_create(256 << 20, &run.memory, NULL));
    MUST(spill_create(NULL, &run.spill, NULL));
    MUST(group_store_start(&s, &run, 1, NULL));
    s.table_bytes_max = table_bytes;
    s.merged_bytes_max = merged_bytes;
    for (uint32_t i = 0; i < 3; i++) MUST(group_lane_init(&lanes[i], &s, NULL));
    add_rows(lanes, 3, n_keys, n_rows, want);
    for (uint32_t i = 0; i < 3; i++) {
        MUST(group_lane_flush(&lanes[i], NULL));
        group_lane_clear(&lanes[i]);
    }
    MUST(group_store_seal(&s, NULL));
    uint32_t groups = 0, expected = 0;
    for (uint64_t split = 0; split < s.n_splits; split++) groups += read_split(&s, of_results, split, want);
    for (uint32_t i = 0; i < many_keys; i++) expected += want->rows[i] > 0;
    assert_int_equal(groups, expected);
    group_store_clear(&s);
    spill_free(run.spill);
    memory_destroy(run.memory);
    memory_destroy(of_results);
    free(want);
}

static void test_plenty(void **state) {
    refusals_of_100 = 0;
    run_store(1, keys_max, 100000, SIZE_MAX / 2, SIZE_MAX / 2);
    run_store(2, 1, 100000, SIZE_MAX / 2, SIZE_MAX / 2);
}
static void test_small_tables(void **state) {
    refusals_of_100 = 0;
    run_store(3, keys_max, 150000, 64 << 10, SIZE_MAX / 2);
    run_store(4, keys_max, 600000, SIZE_MAX / 2, 96 << 10);
    run_store(5, keys_max, 600000, 128 << 10, 96 << 10);
    run_store(6, 2000, 600000, 128 << 10, 80 << 10);
    run_store(7, 3, 100000, 64 << 10, 80 << 10);
}
/* So many keys that hardly any comes twice while the table is small, and so little room that it stays small. */
static void test_no_repeats(void **state) {
    for (uint64_t i = 0; i < 2; i++) {
        refusals_of_100 = i ? 2 : 0;
        turns_apart = turns_back = 0;
        run_store(30 + i, many_keys, 1100000, 24 << 20, i ? 1 << 20 : SIZE_MAX / 2);
        assert_in_range(turns_apart, 3, 30);
        assert_in_range(turns_back, 1, 30);
    }
}
static void test_refusals(void **state) {
    for (uint64_t i = 10; i < 20; i++) {
        refusals_of_100 = i % 2 ? 5 : 20;
        run_store(i, i % 3 ? keys_max : 50, 60000, SIZE_MAX / 2, i % 4 ? SIZE_MAX / 2 : 96 << 10);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plenty),
        cmocka_unit_test(test_small_tables),
        cmocka_unit_test(test_no_repeats),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
