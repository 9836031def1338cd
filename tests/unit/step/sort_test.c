#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <time.h>

#include "step/sort_internal.h"
#include "step/sort_rows.h"
#include "unit/data/random_columns.h"
#include "unit/holds.h"

/* Drives the sink and the source of a sort as the engine does, and compares with qsort over the input
 * and a comparison written for this test. Column 0 is the row's number in the input. */
enum { columns_max = 7, keys_max = 4, threads_max = 4, tries_max = 2000 };

typedef struct world {
    uint64_t seed;
    memory *of_input;
    const type *types[columns_max];
    uint32_t n_columns, n_keys, n_threads;
    sort_key keys[keys_max];
    uint32_t n_rows, batch_rows;
    column input[columns_max];
    bool needed[columns_max];
    size_t memory_bytes;
    uint64_t limit;
    bool shuffled;
    uint32_t *expected, *output;

    atomic_bool cancelled;
    run_context run;
    schema *schema;
    sink *sink;
    source *source;
    atomic_uint next_batch, n_output;
    uint64_t spilled;
    pthread_mutex_t open_lock;
} world;

/* ---- what is right ---- */

static int compare_floats(double a, double b, bool descending) {
    if (isnan(a) || isnan(b)) return isnan(a) - isnan(b); /* last, whichever the direction */
    int order = (a > b) - (a < b);
    return descending ? -order : order;
}

static int compare_ints(int64_t a, int64_t b) { return (a > b) - (a < b); }

static int compare_values(const column *c, uint32_t a, uint32_t b, bool descending) {
    bool a_valid = column_is_valid(c, a), b_valid = column_is_valid(c, b);
    if (!a_valid || !b_valid) return b_valid - a_valid;
    int order = 0;
    switch (c->type->kind) {
    case TYPE_BOOL: order = compare_ints(((uint8_t *)c->values)[a], ((uint8_t *)c->values)[b]); break;
    case TYPE_INT32:
    case TYPE_DATE: order = compare_ints(((int32_t *)c->values)[a], ((int32_t *)c->values)[b]); break;
    case TYPE_INT64:
    case TYPE_TIMESTAMP: order = compare_ints(((int64_t *)c->values)[a], ((int64_t *)c->values)[b]); break;
    case TYPE_FLOAT32:
        return compare_floats((double)((float *)c->values)[a], (double)((float *)c->values)[b], descending);
    case TYPE_FLOAT64: return compare_floats(((double *)c->values)[a], ((double *)c->values)[b], descending);
    default: order = view_compare((view *)c->values + a, (view *)c->values + b);
    }
    return descending ? -order : order;
}

static int compare_input(const world *w, uint32_t a, uint32_t b) {
    for (uint32_t k = 0; k < w->n_keys; k++) {
        int order = compare_values(&w->input[w->keys[k].column], a, b, w->keys[k].descending);
        if (order) return order;
    }
    return 0;
}

static int by_input(const void *a, const void *b, void *w) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = compare_input(w, x, y);
    return order ? order : (x > y) - (x < y);
}

/* ---- the input ---- */

static void add_numbers(world *w) {
    MUST(column_new(w->of_input, type_of(TYPE_INT64), w->n_rows, &w->input[0], NULL));
    for (uint32_t i = 0; i < w->n_rows; i++) ((int64_t *)w->input[0].values)[i] = i;
    w->types[0] = type_of(TYPE_INT64);
    w->n_columns = 1;
}

static void add_column(world *w, column c) {
    w->types[w->n_columns] = c.type;
    w->input[w->n_columns++] = c;
}

static void begin(world *w, uint64_t seed, uint32_t n_rows) {
    *w = (world){.seed = seed, .n_rows = n_rows, .batch_rows = 1000, .n_threads = 1};
    w->memory_bytes = 256 << 20;
    w->limit = UINT64_MAX;
    w->shuffled = true;
    MUST(memory_create((size_t)1 << 30, &w->of_input, NULL));
    add_numbers(w);
    memset(w->needed, 1, sizeof w->needed);
    pthread_mutex_init(&w->open_lock, NULL);
}

static void add_key(world *w, uint32_t of_column, bool descending) {
    w->keys[w->n_keys++] = (sort_key){w->types[of_column], of_column, descending};
}

static void random_world(world *w, uint64_t seed) {
    begin(w, seed, 1 + draw_below(&seed, seed & 1 ? 300 : 12000));
    w->seed = seed;
    uint32_t n = 2 + draw_below(&w->seed, columns_max - 2);
    while (w->n_columns < n) {
        column c;
        random_column(w->of_input, &w->seed, random_type(&w->seed), w->n_rows, &c);
        add_column(w, c);
    }
    for (uint32_t tries = 0; tries < 8 && w->n_keys < keys_max; tries++) {
        uint32_t c = draw_below(&w->seed, 12) ? 1 + draw_below(&w->seed, n - 1) : 0;
        if (sort_key_allowed(w->types[c]) && draw(&w->seed) & 1) add_key(w, c, draw(&w->seed) & 1);
    }
    if (!w->n_keys) add_key(w, 0, true);
    w->batch_rows = 1 + draw_below(&w->seed, draw(&w->seed) & 1 ? 50 : 3000);
    w->n_threads = 1 + draw_below(&w->seed, threads_max);
    if (draw_below(&w->seed, 4) == 0) w->limit = draw_below(&w->seed, w->n_rows + 10);
    for (uint32_t c = 1; c < n; c++) w->needed[c] = draw_below(&w->seed, 4) != 0;
}

static void end(world *w) {
    for (uint32_t c = 0; c < w->n_columns; c++) column_clear(&w->input[c]);
    memory_destroy(w->of_input);
    pthread_mutex_destroy(&w->open_lock);
    free(w->expected);
    free(w->output);
}

/* ---- the engine's part ---- */

static void wake(void *engine) {}

/* As the engine does: passing failures are tried again. */
static bool passing(tw_status status, uint32_t *tries) {
    if (status != TW_ERR_MEMORY || ++*tries > tries_max) return false;
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    return true;
}

static uint32_t n_batches(const world *w) { return (w->n_rows + w->batch_rows - 1) / w->batch_rows; }

/* A bijection that is far from the identity. */
static uint32_t shuffle(const world *w, uint32_t i) {
    uint32_t n = n_batches(w), m = n / 2 + n / 8 + 1;
    for (;; m++) {
        uint32_t a = m, b = n;
        while (b) {
            uint32_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1) return w->shuffled ? (uint32_t)((uint64_t)i * m % n) : i;
    }
}

static batch *input_batch(world *w, uint32_t i) {
    uint32_t first = i * w->batch_rows, left = w->n_rows - first;
    uint32_t n = left < w->batch_rows ? left : w->batch_rows;
    batch *b;
    MUST(batch_new(w->schema, n, &b, NULL));
    bool read[columns_max] = {0};
    w->sink->class->needs(w->sink, read);
    for (uint32_t c = 0; c < w->n_columns; c++) {
        if (read[c]) MUST(column_slice(w->of_input, &w->input[c], first, n, &b->columns[c], NULL));
        else b->columns[c] = (column){.type = w->types[c], .rows = n};
    }
    return b;
}

static void *pusher(void *context) {
    world *w = context;
    sink_writer *writer;
    MUST(w->sink->class->open(w->sink, &writer, NULL));
    for (uint32_t i; (i = atomic_fetch_add(&w->next_batch, 1)) < n_batches(w);) {
        uint32_t split = shuffle(w, i), tries = 0;
        batch *b = input_batch(w, split);
        batch_order order = {0, split, (uint64_t)split * w->batch_rows};
        tw_error err = {0};
        tw_status status;
        do status = w->sink->class->push(writer, &order, b, &err);
        while (passing(status, &tries));
        if (status == TW_ERR_CANCELLED && atomic_load(&w->cancelled)) {
            batch_unref(b);
            w->sink->class->drop(writer);
            return NULL;
        }
        if (status != TW_OK) fprintf(stderr, "push: %s\n", err.message);
        MUST(status);
        batch_unref(b);
    }
    MUST(w->sink->class->close(writer, NULL));
    return NULL;
}

static void check_value(const world *w, uint32_t c, const column *got, uint32_t at, uint32_t row) {
    HOLDS(column_values_equal(got, at, &w->input[c], row));
    size_t bytes = type_bytes(got->type);
    bool same_bits = got->type->kind == TYPE_FLOAT32 || got->type->kind == TYPE_FLOAT64;
    if (same_bits && column_is_valid(got, at))
        HOLDS(!memcmp((uint8_t *)got->values + at * bytes, (uint8_t *)w->input[c].values + row * bytes, bytes));
}

static void check_batch(world *w, const batch *b) {
    HOLDS(b->rows > 0 && b->rows <= w->run.batch_rows);
    HOLDS(b->position + b->rows <= w->n_rows);
    const int64_t *numbers = b->columns[0].values;
    for (uint32_t c = 0; c < w->n_columns; c++) {
        HOLDS(b->columns[c].type == w->types[c] && b->columns[c].rows == b->rows);
        HOLDS((b->columns[c].values != NULL) == w->needed[c]);
        for (uint32_t i = 0; i < b->rows && w->needed[c]; i++)
            check_value(w, c, &b->columns[c], i, (uint32_t)numbers[i]);
    }
    for (uint32_t i = 0; i < b->rows; i++) w->output[b->position + i] = (uint32_t)numbers[i];
    atomic_fetch_add(&w->n_output, b->rows);
}

static tw_status open_next(world *w, uint64_t *split, reader **out, tw_error *err) {
    uint32_t tries = 0;
    for (;;) {
        pthread_mutex_lock(&w->open_lock);
        tw_status status = w->source->class->open(w->source, *split, out, err);
        if (status == TW_OK) ++*split;
        pthread_mutex_unlock(&w->open_lock);
        if (status == STATUS_WAIT) nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        else if (!passing(status, &tries)) return status;
    }
}

static void *puller(void *context) {
    world *w = context;
    uint64_t split = 0;
    for (;;) {
        reader *r;
        tw_error err = {0};
        tw_status status = open_next(w, &split, &r, &err);
        if (status == TW_END) return NULL;
        if (status != TW_OK) fprintf(stderr, "open: %s\n", err.message);
        MUST(status);
        for (uint64_t rows = r->position;;) {
            uint32_t tries = 0;
            batch *b;
            do status = r->class->next(r, &b, &err);
            while (passing(status, &tries));
            if (status == TW_END) break;
            if (status == TW_ERR_CANCELLED && atomic_load(&w->cancelled)) break;
            if (status != TW_OK) fprintf(stderr, "next: %s\n", err.message);
            MUST(status);
            HOLDS(b->position == rows);
            rows += b->rows;
            check_batch(w, b);
            batch_unref(b);
        }
        r->class->free(r);
        if (atomic_load(&w->cancelled)) return NULL;
    }
}

static void in_threads(world *w, void *(*work)(void *)) {
    pthread_t threads[threads_max];
    for (uint32_t i = 0; i < w->n_threads; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, w), 0);
    for (uint32_t i = 0; i < w->n_threads; i++) pthread_join(threads[i], NULL);
}

static void start(world *w) {
    const char *names[columns_max] = {"0", "1", "2", "3", "4", "5", "6"};
    w->output = malloc(w->n_rows * sizeof *w->output + 1);
    MUST(schema_new(names, w->types, w->n_columns, &w->schema, NULL));
    w->run.cancelled = &w->cancelled;
    w->run.parallelism = w->n_threads;
    w->run.batch_rows = 700;
    w->run.batch_bytes = 64 << 10;
    w->run.wake = wake;
    MUST(memory_create(w->memory_bytes, &w->run.memory, NULL));
    MUST(spill_create(NULL, &w->run.spill, NULL));
    sort_key *keys = malloc(w->n_keys * sizeof *keys);
    memcpy(keys, w->keys, w->n_keys * sizeof *keys);
    MUST(sort_create(w->schema, keys, w->n_keys, w->limit, &w->sink, &w->source, NULL));
    w->source->class->prune(w->source, w->needed);
    MUST(w->sink->class->start(w->sink, &w->run, 1, NULL));
}

static void stop(world *w) {
    w->source->class->free(w->source);
    w->sink->class->free(w->sink);
    w->spilled += spill_bytes(w->run.spill);
    spill_free(w->run.spill);
    memory_destroy(w->run.memory);
    schema_unref(w->schema);
}

static void sort_world(world *w) {
    uint64_t n_splits;
    start(w);
    in_threads(w, pusher);
    MUST(w->sink->class->finish(w->sink, NULL));
    MUST(w->source->class->start(w->source, &w->run, &n_splits, NULL));
    assert_int_equal(n_splits, UINT64_MAX);
    in_threads(w, puller);
    stop(w);
    uint64_t n = w->limit < w->n_rows ? w->limit : w->n_rows;
    assert_int_equal(atomic_load(&w->n_output), n);
    if (!w->expected) {
        w->expected = malloc(w->n_rows * sizeof *w->expected);
        for (uint32_t i = 0; i < w->n_rows; i++) w->expected[i] = i;
        qsort_r(w->expected, w->n_rows, sizeof *w->expected, by_input, w);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (w->output[i] != w->expected[i]) fprintf(stderr, "row %u of seed %lu\n", i, (unsigned long)w->seed);
        assert_int_equal(w->output[i], w->expected[i]);
    }
}

/* ---- tests ---- */

static void test_random_tables(void **state) {
    for (uint64_t seed = 0; seed < 80; seed++) {
        world w;
        random_world(&w, seed);
        sort_world(&w);
        end(&w);
    }
}

static void test_little_memory(void **state) {
    uint64_t spilled = 0;
    for (uint64_t seed = 1000; seed < 1030; seed++) {
        world w;
        random_world(&w, seed * 2);
        w.memory_bytes = (size_t)(3 + seed % 4) << 20;
        sort_world(&w);
        spilled += w.spilled;
        end(&w);
    }
    assert_true(spilled > 2 << 20);
}

typedef int64_t (*value_of)(uint64_t *seed, uint32_t i);
static int64_t any_value(uint64_t *seed, uint32_t i) { return (int64_t)draw(seed); }
static int64_t own_number(uint64_t *seed, uint32_t i) { return i; }
static int64_t same_value(uint64_t *seed, uint32_t i) { return 7; }
static int64_t half_same(uint64_t *seed, uint32_t i) { return draw(seed) & 1 ? 7 : (int64_t)draw_below(seed, 1000); }
static int64_t two_values(uint64_t *seed, uint32_t i) { return draw(seed) & 1; }

static void add_values(world *w, value_of value) {
    column c;
    MUST(column_new(w->of_input, type_of(TYPE_INT64), w->n_rows, &c, NULL));
    for (uint32_t i = 0; i < w->n_rows; i++) ((int64_t *)c.values)[i] = value(&w->seed, i);
    add_column(w, c);
}

/* The same values as text of `size` bytes at least, which part only in the last. */
static void add_texts(world *w, value_of value, uint32_t size) {
    column_builder *b;
    column c;
    char text[512];
    MUST(column_builder_new(w->of_input, type_of(TYPE_STRING), &b, NULL));
    for (uint32_t i = 0; i < w->n_rows; i++) {
        int n = snprintf(text, sizeof text, "%0*lu", (int)size, (unsigned long)value(&w->seed, i));
        MUST(column_builder_bytes(b, text, (uint32_t)n, NULL));
    }
    MUST(column_builder_finish(b, &c, NULL));
    column_builder_free(b);
    add_column(w, c);
}

/* Enough rows for ranges, and for ranges that must be cut again. */
static void test_distributions(void **state) {
    static const value_of values[] = {any_value, own_number, same_value, half_same, two_values};
    for (uint32_t i = 0; i < 20; i++) {
        world w;
        begin(&w, i, 150000);
        w.shuffled = i % 4 < 2;
        w.n_threads = 1 + i % threads_max;
        w.memory_bytes = (size_t)(i % 2 ? 4 : 64) << 20;
        if (i < 10) add_values(&w, values[i % 5]);
        else add_texts(&w, values[i % 5], i < 15 ? 10 : 40);
        add_key(&w, 1, i % 3 == 0);
        if (i % 7 == 6) w.limit = 1 + 1000 * (i % 5);
        sort_world(&w);
        if (i % 2 && w.limit == UINT64_MAX) assert_true(w.spilled > 0);
        if (i % 2 == 0) assert_int_equal(w.spilled, 0);
        end(&w);
    }
}

/* Texts that part behind what samples keep of them: ranges that samples cannot cut. */
static void test_long_common_prefix(void **state) {
    for (uint32_t i = 0; i < 4; i++) {
        world w;
        begin(&w, i, 30000);
        w.memory_bytes = (size_t)(i % 2 ? 8 : 64) << 20;
        w.n_threads = 1 + i;
        add_texts(&w, i < 2 ? any_value : own_number, 400);
        add_key(&w, 1, i == 2);
        sort_world(&w);
        end(&w);
    }
}

/* Nearly all texts begin alike; the others differ only behind the first 14 bytes. */
static void test_outliers(void **state) {
    for (uint32_t i = 0; i < 4; i++) {
        world w;
        begin(&w, i, 20000);
        column_builder *b;
        column c;
        MUST(column_builder_new(w.of_input, type_of(TYPE_STRING), &b, NULL));
        for (uint32_t k = 0; k < w.n_rows; k++) {
            char text[64];
            int n = snprintf(text, sizeof text, "m23456789012345678901234%05u", draw_below(&w.seed, 99999));
            if (k % 200 == 7) {
                text[0] = k % 400 == 7 ? 'z' : 'a';
                text[16] = (char)('a' + draw_below(&w.seed, 26));
            }
            MUST(column_builder_bytes(b, text, (uint32_t)n, NULL));
        }
        MUST(column_builder_finish(b, &c, NULL));
        column_builder_free(b);
        add_column(&w, c);
        add_key(&w, 1, i & 1);
        w.n_threads = 1 + i / 2;
        sort_world(&w);
        end(&w);
    }
}

static void test_cancelled(void **state) {
    for (uint32_t i = 0; i < 2; i++) {
        world w;
        begin(&w, i, 100000);
        w.n_threads = 2;
        w.memory_bytes = 16 << 20;
        add_values(&w, any_value);
        add_key(&w, 1, false);
        start(&w);
        if (i == 0) atomic_store(&w.cancelled, true);
        in_threads(&w, pusher);
        atomic_store(&w.cancelled, true);
        MUST(w.sink->class->finish(w.sink, NULL));
        in_threads(&w, puller);
        assert_int_equal(atomic_load(&w.n_output), 0);
        stop(&w);
        end(&w);
    }
}

static void test_no_rows(void **state) {
    world w;
    begin(&w, 1, 1);
    add_key(&w, 0, false);
    start(&w);
    uint64_t n_splits;
    MUST(w.sink->class->finish(w.sink, NULL));
    MUST(w.source->class->start(w.source, &w.run, &n_splits, NULL));
    reader *r;
    assert_int_equal(w.source->class->open(w.source, 0, &r, NULL), TW_END);
    stop(&w);
    end(&w);
}

/* With a limit the rows that cannot be among the first are dropped early. */
static void test_limit_drops_rows(void **state) {
    world w;
    begin(&w, 3, 400000);
    add_values(&w, any_value);
    add_key(&w, 1, true);
    w.limit = 100;
    w.memory_bytes = 8 << 20;
    sort_world(&w);
    assert_int_equal(w.spilled, 0);
    end(&w);
}

static void check_numbers(world *w, const sort_code *code, uint64_t *whole, uint64_t *partial) {
    sort_values values[keys_max];
    sort_number *numbers = aligned_alloc(16, w->n_rows * sizeof *numbers);
    sort_values_of_columns(w->keys, w->n_keys, w->input, values);
    sort_code_encode(code, values, w->n_rows, numbers);
    for (uint32_t i = 0; i < w->n_rows; i++) {
        uint32_t k = draw_below(&w->seed, w->n_rows);
        int order = compare_input(w, i, k);
        if (numbers[i] < numbers[k]) assert_true(order < 0);
        if (numbers[i] > numbers[k]) assert_true(order > 0);
        if (numbers[i] != numbers[k]) continue;
        bool is_whole = sort_code_is_whole(code, numbers[i]);
        if (is_whole) assert_int_equal(order, 0);
        if (sort_code_is_fixed(code)) assert_true(is_whole);
        *whole += is_whole;
        *partial += !is_whole;
    }
    free(numbers);
}

/* Numbers never contradict the order, and equal whole ones are equal keys. */
static void test_numbers(void **state) {
    uint64_t whole[2] = {0}, partial[2] = {0};
    for (uint64_t seed = 0; seed < 300; seed++) {
        world w;
        random_world(&w, seed * 2 + 1);
        sort_code code;
        sort_code_make(w.keys, w.n_keys, 0, 0, &code);
        check_numbers(&w, &code, &whole[0], &partial[0]);
        if (type_is_view(w.keys[0].type)) {
            static const char *const commons[] = {"a", "aaaa", "aaaaaaaaaaaaaaaaaaaaaaaaa", "ab", "b"};
            const char *common = commons[draw_below(&w.seed, 5)];
            sort_code_make_common(w.keys, w.n_keys, (const uint8_t *)common, (uint32_t)strlen(common), &code);
            check_numbers(&w, &code, &whole[1], &partial[1]);
        }
        end(&w);
    }
    assert_true(whole[0] > 1000 && partial[0] > 1000);
    assert_true(whole[1] > 100 && partial[1] > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_random_tables),
        cmocka_unit_test(test_little_memory),  cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_long_common_prefix), cmocka_unit_test(test_outliers),
        cmocka_unit_test(test_limit_drops_rows),
        cmocka_unit_test(test_no_rows),        cmocka_unit_test(test_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
