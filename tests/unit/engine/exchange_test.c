#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "engine/exchange.h"
#include "unit/data/random_columns.h"
#include "unit/holds.h"

/* Rows (id, random columns ...), all keys, so that a row's hash tells whether it came through whole;
 * the hash is the header, its top bits the partition, and `extra` says the hash again. */
enum { threads_max = 4, columns_max = 7, batch_rows_max = 1500 };

typedef struct world {
    memory *m;
    spill *s;
    row_layout *l;
    exchange *x;
    const type *types[columns_max];
    uint32_t n_columns, n_partitions, n_threads, n_batches;
    uint64_t seed;
    atomic_uint_least64_t next_id;
    atomic_bool appending;
    bool encoded;    /* appends rows instead of columns */
    uint8_t *seen;   /* by id */
    uint64_t n_seen;
    pthread_mutex_t lock;
} world;

static uint32_t partition_of(const world *w, uint64_t hash) {
    return (uint32_t)((__uint128_t)hash * w->n_partitions >> 64);
}

static void set_up(world *w, uint64_t seed, size_t memory_bytes) {
    *w = (world){.seed = seed, .n_threads = 1, .n_batches = 20};
    static const uint32_t counts[] = {1, 3, 16, 64, 256};
    w->n_partitions = counts[draw_below(&w->seed, 5)];
    w->n_columns = 1 + draw_below(&w->seed, columns_max);
    w->types[0] = type_of(TYPE_INT64);
    for (uint32_t k = 1; k < w->n_columns; k++) w->types[k] = random_type(&w->seed);
    MUST(memory_create(memory_bytes, &w->m, NULL));
    MUST(spill_create(NULL, &w->s, NULL));
    MUST(row_layout_new(w->types, w->n_columns, w->n_columns, 8, &w->l, NULL));
    MUST(exchange_create(w->m, w->s, w->l, w->n_partitions, 0, &w->x, NULL));
    pthread_mutex_init(&w->lock, NULL);
}

static void tear_down(world *w) {
    exchange_free(w->x);
    spill_free(w->s);
    row_layout_free(w->l);
    memory_destroy(w->m);
    pthread_mutex_destroy(&w->lock);
    free(w->seen);
}

static void append_encoded(world *w, exchange *x, const column *columns, uint32_t n, const uint32_t *to,
                           const uint64_t *hashes) {
    size_t stride = w->l->stride;
    uint8_t *bytes = malloc(n * stride), **rows = malloc(n * sizeof *rows), *at;
    uint8_t *heap = malloc(rows_heap_bytes(w->l, columns, NULL, n, NULL) + 1);
    for (uint32_t i = 0; i < n; i++) rows[i] = bytes + i * stride;
    at = heap;
    rows_encode(w->l, columns, NULL, n, rows, &at);
    for (uint32_t i = 0; i < n; i++) {
        row_set_header(rows[i], hashes[i]);
        memcpy(rows[i] + w->l->extra_offset, &hashes[i], 8);
    }
    MUST(exchange_append_rows(x, (const uint8_t *const *)rows, n, to, NULL));
    free(bytes);
    free(rows);
    free(heap);
}

/* The columns are not of this memory: here it is the exchange that is short of it. */
static void append_batch(world *w, memory *of_columns, uint64_t *seed, uint32_t n) {
    column columns[columns_max];
    uint64_t *hashes = malloc(n * sizeof *hashes), id = atomic_fetch_add(&w->next_id, n);
    uint32_t *to = malloc(n * sizeof *to);
    MUST(column_new(of_columns, w->types[0], n, &columns[0], NULL));
    for (uint32_t i = 0; i < n; i++) ((uint64_t *)columns[0].values)[i] = id + i;
    for (uint32_t k = 1; k < w->n_columns; k++) random_column(of_columns, seed, w->types[k], n, &columns[k]);
    hash_columns(columns, w->n_columns, n, hashes);
    for (uint32_t i = 0; i < n; i++) to[i] = partition_of(w, hashes[i]);
    if (w->encoded) append_encoded(w, w->x, columns, n, to, hashes);
    else MUST(exchange_append(w->x, columns, n, to, hashes, (const uint8_t *)hashes, 8, NULL));
    for (uint32_t k = 0; k < w->n_columns; k++) column_clear(&columns[k]);
    free(hashes);
    free(to);
}

static void *appender(void *context) {
    world *w = context;
    memory *m;
    pthread_mutex_lock(&w->lock);
    uint64_t seed = draw(&w->seed);
    pthread_mutex_unlock(&w->lock);
    MUST(memory_create(256 << 20, &m, NULL));
    for (uint32_t i = 0; i < w->n_batches; i++) {
        append_batch(w, m, &seed, 1 + draw_below(&seed, draw(&seed) & 1 ? 10 : batch_rows_max));
    }
    memory_destroy(m);
    return NULL;
}

static void append_all(world *w) {
    pthread_t threads[threads_max];
    for (uint32_t i = 0; i < w->n_threads; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, appender, w), 0);
    }
    for (uint32_t i = 0; i < w->n_threads; i++) pthread_join(threads[i], NULL);
}

static void check_block(world *w, uint32_t partition, const row_block *b) {
    HOLDS(b->n > 0 && b->n <= b->capacity);
    pthread_mutex_lock(&w->lock);
    for (uint32_t i = 0; i < b->n; i++) {
        const uint8_t *row = b->rows->data + (size_t)i * w->l->stride;
        uint64_t hash = hash_row_keys(w->l, row), id, extra;
        memcpy(&id, row + w->l->fields[0].offset, 8);
        memcpy(&extra, row + w->l->extra_offset, 8);
        HOLDS(row_header(row) == hash && extra == hash);
        HOLDS(partition_of(w, hash) == partition);
        HOLDS(id < atomic_load(&w->next_id));
        HOLDS(!w->seen[id]);
        w->seen[id] = 1;
        w->n_seen++;
    }
    pthread_mutex_unlock(&w->lock);
}

static void take_partition(world *w, exchange *x, uint32_t partition) {
    row_block *b;
    for (;;) {
        tw_error err;
        tw_status status = exchange_take(x, partition, &b, &err);
        if (status == TW_END) break;
        if (status != TW_OK) fprintf(stderr, "%s\n", err.message);
        MUST(status);
        check_block(w, partition, b);
        row_block_free(b);
    }
}

static void check_all(world *w) {
    assert_int_equal(w->n_seen, atomic_load(&w->next_id));
    for (uint32_t p = 0; p < w->n_partitions; p++) {
        assert_int_equal(exchange_rows(w->x, p), 0);
        assert_int_equal(exchange_partition_bytes(w->x, p), 0);
        assert_int_equal(exchange_partition_spilled(w->x, p), 0);
    }
}

static void make_seen(world *w) {
    w->seen = calloc(1, (size_t)w->n_threads * w->n_batches * batch_rows_max);
    assert_non_null(w->seen);
}

static void test_all_rows_come_through(void **state) {
    uint64_t spilled = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        world w;
        set_up(&w, seed, seed & 1 ? 2 << 20 : 256 << 20);
        w.n_threads = 1 + seed % threads_max;
        w.n_batches = 12;
        w.encoded = seed % 3 == 0;
        make_seen(&w);
        append_all(&w);
        exchange_seal(w.x);
        uint64_t rows = 0;
        for (uint32_t p = 0; p < w.n_partitions; p++) rows += exchange_rows(w.x, p);
        assert_int_equal(rows, atomic_load(&w.next_id));
        if (!(seed & 1)) assert_int_equal(spill_bytes(w.s), 0);
        spilled += spill_bytes(w.s);
        for (uint32_t p = 0; p < w.n_partitions; p++) take_partition(&w, w.x, p);
        check_all(&w);
        tear_down(&w);
    }
    assert_true(spilled > 10 << 20);
}

/* Takes partitions, gives some blocks back, while others append. */
static void *taker(void *context) {
    world *w = context;
    uint64_t seed = 5;
    while (atomic_load(&w->appending)) {
        uint32_t p = draw_below(&seed, w->n_partitions);
        row_block *b;
        tw_status status = exchange_take(w->x, p, &b, NULL);
        if (status == TW_END) continue;
        MUST(status);
        if (draw(&seed) & 1) {
            exchange_give_back(w->x, p, b);
            continue;
        }
        check_block(w, p, b);
        row_block_free(b);
    }
    return NULL;
}

static void test_taking_while_others_append(void **state) {
    for (uint64_t seed = 100; seed < 112; seed++) {
        world w;
        pthread_t thread;
        set_up(&w, seed, seed & 1 ? 2 << 20 : 256 << 20);
        w.n_threads = 3;
        w.n_batches = 10;
        make_seen(&w);
        atomic_store(&w.appending, true);
        assert_int_equal(pthread_create(&thread, NULL, taker, &w), 0);
        append_all(&w);
        atomic_store(&w.appending, false);
        pthread_join(thread, NULL);
        exchange_seal(w.x);
        for (uint32_t p = 0; p < w.n_partitions; p++) take_partition(&w, w.x, p);
        check_all(&w);
        tear_down(&w);
    }
}

/* Spills what it can all the time: what is on its way to the disk is not lost to who takes. */
static void *presser(void *context) {
    world *w = context;
    while (atomic_load(&w->appending)) {
        (void)memory_make_room(w->m, memory_limit(w->m) / 4 * 3 - 4096, NULL);
    }
    return NULL;
}

static void test_taking_under_pressure(void **state) {
    for (uint64_t seed = 300; seed < 308; seed++) {
        world w;
        pthread_t thread;
        set_up(&w, seed, 32 << 20);
        w.n_threads = 2;
        w.n_batches = 20;
        make_seen(&w);
        append_all(&w);
        exchange_seal(w.x);
        atomic_store(&w.appending, true);
        assert_int_equal(pthread_create(&thread, NULL, presser, &w), 0);
        for (uint32_t p = 0; p < w.n_partitions; p++) take_partition(&w, w.x, p);
        atomic_store(&w.appending, false);
        pthread_join(thread, NULL);
        check_all(&w);
        tear_down(&w);
    }
}

static void route_again(void *context, const uint8_t *const *rows, uint32_t n, uint32_t *to) {
    for (uint32_t i = 0; i < n; i++) to[i] = partition_of(context, row_header(rows[i]));
}

static void test_repartition(void **state) {
    for (uint64_t seed = 200; seed < 206; seed++) {
        world w;
        set_up(&w, seed, 2 << 20);
        w.n_threads = 2;
        make_seen(&w);
        append_all(&w);
        exchange_seal(w.x);
        exchange *finer;
        uint32_t before = w.n_partitions;
        w.n_partitions = 128;
        MUST(exchange_create(w.m, w.s, w.l, w.n_partitions, 0, &finer, NULL));
        for (uint32_t p = 0; p < before; p++) MUST(exchange_repartition(w.x, p, finer, route_again, &w, NULL));
        exchange_seal(finer);
        exchange_free(w.x);
        w.x = finer;
        for (uint32_t p = 0; p < w.n_partitions; p++) take_partition(&w, w.x, p);
        check_all(&w);
        tear_down(&w);
    }
}

/* The numbers a planner goes by. */
static void test_statistics(void **state) {
    world w;
    set_up(&w, 7, 4 << 20);
    w.n_threads = 2;
    w.n_batches = 40;
    make_seen(&w);
    append_all(&w);
    exchange_seal(w.x);
    uint64_t disk = 0;
    for (uint32_t p = 0; p < w.n_partitions; p++) {
        uint64_t rows = exchange_rows(w.x, p), bytes = exchange_partition_bytes(w.x, p), sum = 0, n = 0;
        disk += exchange_partition_spilled(w.x, p);
        row_block *b, *all = NULL;
        while (exchange_take(w.x, p, &b, NULL) == TW_OK) {
            sum += (uint64_t)b->n * w.l->stride + b->heap_used;
            n += b->n;
            b->next = all;
            all = b;
            if (draw(&w.seed) & 1) continue;
            all = b->next; /* what is held cannot be spilled: not all at once */
            row_block_free(b);
        }
        assert_int_equal(n, rows);
        assert_int_equal(sum, bytes);
        while ((b = all)) {
            all = b->next;
            row_block_free(b);
        }
    }
    assert_int_equal(disk <= spill_bytes(w.s), true);
    tear_down(&w);
}

static void append_text(exchange *x, memory *m, uint32_t size, tw_status expected) {
    column c;
    tw_error err;
    uint8_t *text = malloc(size);
    memset(text, 'r', size);
    view v = view_make(text, size);
    c = (column){.type = type_of(TYPE_STRING), .rows = 1, .values = &v};
    assert_int_equal(exchange_append(x, &c, 1, &(uint32_t){0}, &(uint64_t){size}, NULL, 0, &err), expected);
    free(text);
}

static void test_rows_larger_than_blocks(void **state) {
    const type *types[] = {type_of(TYPE_STRING)};
    memory *m;
    spill *s;
    row_layout *l;
    exchange *x;
    uint64_t expected = 0, sum = 0;
    MUST(memory_create(8 << 20, &m, NULL));
    MUST(spill_create(NULL, &s, NULL));
    MUST(row_layout_new(types, 1, 0, 0, &l, NULL));
    MUST(exchange_create(m, s, l, 4, 0, &x, NULL));
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t size = i % 4 ? i : 100000 + 10000 * i;
        expected += size;
        append_text(x, m, size, TW_OK);
    }
    append_text(x, m, 7 << 20, TW_ERR_MEMORY);
    exchange_seal(x);
    for (row_block *b; exchange_take(x, 0, &b, NULL) == TW_OK; row_block_free(b)) {
        for (uint32_t i = 0; i < b->n; i++) {
            const uint8_t *row = b->rows->data + (size_t)i * l->stride;
            view v;
            memcpy(&v, row + l->fields[0].offset, sizeof v);
            assert_int_equal(v.size, row_header(row));
            if (v.size) assert_int_equal(view_data(&v)[v.size - 1], 'r');
            sum += v.size;
        }
    }
    assert_int_equal(sum, expected);
    assert_true(spill_bytes(s) > 0);
    exchange_free(x);
    row_layout_free(l);
    spill_free(s);
    memory_destroy(m);
}

/* Few rows cost little, however many partitions there are. */
static void test_small_input(void **state) {
    const type *types[] = {type_of(TYPE_INT64)};
    memory *m;
    spill *s;
    row_layout *l;
    exchange *x;
    MUST(memory_create(1 << 30, &m, NULL));
    MUST(spill_create(NULL, &s, NULL));
    MUST(row_layout_new(types, 1, 1, 0, &l, NULL));
    MUST(exchange_create(m, s, l, 256, 0, &x, NULL));
    assert_int_equal(memory_used(m), 0);
    int64_t values[256];
    uint32_t to[256];
    for (uint32_t i = 0; i < 256; i++) values[i] = to[i] = i;
    column c = {.type = types[0], .rows = 256, .values = values};
    MUST(exchange_append(x, &c, 256, to, NULL, NULL, 0, NULL));
    assert_true(memory_used(m) < 2 << 20);
    tw_error err;
    exchange *none;
    assert_int_equal(exchange_create(m, s, l, 0, 0, &none, &err), TW_ERR_INTERNAL);
    assert_int_equal(exchange_create(m, s, l, 4097, 0, &none, &err), TW_ERR_INTERNAL);
    exchange_free(x);
    row_layout_free(l);
    spill_free(s);
    memory_destroy(m);
}

static void test_a_lost_disk(void **state) {
    world w;
    tw_error err;
    set_up(&w, 1, 2 << 20);
    spill_free(w.s);
    exchange_free(w.x);
    MUST(spill_create("/nowhere/at/all", &w.s, NULL));
    MUST(exchange_create(w.m, w.s, w.l, 16, 0, &w.x, NULL));
    int64_t values[1000] = {0};
    uint32_t to[1000] = {0};
    column columns[columns_max] = {{.type = w.types[0], .rows = 1000, .values = values}};
    memory *m;
    uint64_t seed = 3;
    MUST(memory_create(64 << 20, &m, NULL));
    for (uint32_t k = 1; k < w.n_columns; k++) random_column(m, &seed, w.types[k], 1000, &columns[k]);
    tw_status status = TW_OK;
    for (int i = 0; i < 1000 && status == TW_OK; i++) {
        status = exchange_append(w.x, columns, 1000, to, NULL, NULL, 0, &err);
    }
    assert_int_equal(status, TW_ERR_IO);
    assert_non_null(strstr(err.message, "spill folder /nowhere/at/all: No such file"));
    for (uint32_t k = 1; k < w.n_columns; k++) column_clear(&columns[k]);
    memory_destroy(m);
    tear_down(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_input),
        cmocka_unit_test(test_rows_larger_than_blocks),
        cmocka_unit_test(test_all_rows_come_through),
        cmocka_unit_test(test_taking_while_others_append),
        cmocka_unit_test(test_taking_under_pressure),
        cmocka_unit_test(test_repartition),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_a_lost_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
