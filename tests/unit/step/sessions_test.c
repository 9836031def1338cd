#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "data/hash.h"
#include "engine/pipeline.h"
#include "step/sessions.h"
#include "unit/data/random_columns.h"

/* Random rows and a random watermark that now and then is looked at, against sessions that are made row by row. Keys are few
 * numbers, and half of them share the half of a hash by which rows are spread. Aggregates: count, sum, min and max of time. */
enum { keys_max = 6, rows_max = 400, gap = 20, columns = 5 };

static uint64_t seed;

typedef struct made {
    int64_t key, first, last, n, sum;
} made;

typedef struct model {
    made open[rows_max], closed[rows_max];
    uint32_t n_open, n_closed;
} model;

static void model_close(model *m, int64_t watermark) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < m->n_open; i++) {
        if (m->open[i].last + gap <= watermark) m->closed[m->n_closed++] = m->open[i];
        else m->open[kept++] = m->open[i];
    }
    m->n_open = kept;
}

static void model_add(model *m, int64_t key, int64_t time, int64_t value, int64_t watermark) {
    made mine = {key, time, time, 1, value};
    model_close(m, watermark);
    for (uint32_t i = 0; i < m->n_open;) {
        made *s = &m->open[i];
        if (s->key != key || s->first - time >= gap || time - s->last >= gap) {
            i++;
            continue;
        }
        mine.first = s->first < mine.first ? s->first : mine.first;
        mine.last = s->last > mine.last ? s->last : mine.last;
        mine.n += s->n;
        mine.sum += s->sum;
        *s = m->open[--m->n_open];
    }
    m->open[m->n_open++] = mine;
}

static group_shape *make_shape(void) {
    static const aggregate_kind kinds[4] = {AGGREGATE_COUNT_ROWS, AGGREGATE_SUM, AGGREGATE_MIN, AGGREGATE_MAX};
    const type *keys[3] = {type_of(TYPE_INT64), type_of(TYPE_INT64), type_of(TYPE_INT64)};
    aggregate *a = calloc(4, sizeof *a);
    group_shape *shape;
    for (uint32_t i = 0; i < 4; i++) {
        MUST(aggregate_init(&a[i], kinds[i], i == 0 ? NULL : type_of(i == 1 ? TYPE_INT64 : TYPE_TIMESTAMP), NULL));
        a[i].column = i == 1 ? 3 : 4;
        a[i].name = "x";
    }
    MUST(group_shape_new(keys, 3, a, 4, &shape, NULL));
    return shape;
}

static void add_row(const session_rule *r, group_table *t, int64_t key, int64_t time, int64_t value, int64_t watermark) {
    int64_t piece, behind = watermark > time ? watermark : WATERMARK_NONE;
    session_pieces(r, &time, 1, &piece);
    assert_true(piece * gap <= time && time - piece * gap < gap);
    uint64_t hash = (uint64_t)hash_int(key % 3);
    session_hashes(&piece, &behind, 1, &hash);
    int64_t *values[columns] = {&key, &piece, &behind, &value, &time};
    column in[columns];
    for (uint32_t i = 0; i < columns; i++) in[i] = (column){.type = type_of(i == 4 ? TYPE_TIMESTAMP : TYPE_INT64), .rows = 1, .values = values[i]};
    group_progress progress = {0};
    MUST(group_table_add(t, &(group_input){.columns = in, .hashes = &hash, .n = 1}, &progress, NULL));
}

static made read_row(const group_shape *s, memory *m, const session_row *r) {
    const uint8_t *row = r->row;
    column out[5];
    MUST(rows_decode(m, s->layout, &row, 1, 0, 1, NULL, &out[0], NULL));
    for (uint32_t i = 0; i < 4; i++) MUST(s->aggregates[i].finish(&s->aggregates[i], m, &row, 1, NULL, &out[i + 1], NULL));
    int64_t v[5];
    for (uint32_t i = 0; i < 5; i++) {
        v[i] = *(int64_t *)out[i].values;
        column_clear(&out[i]);
    }
    assert_int_equal(v[3], r->first);
    assert_int_equal(v[4], r->last);
    return (made){v[0], v[3], v[4], v[1], v[2]};
}

static int by_all(const void *x, const void *y) { return memcmp(x, y, sizeof(made)); }

/* What has ended by the watermark is given; the rest goes into a fresh table. */
static void look(const session_rule *r, group_table *t, memory *m, int64_t watermark, made *given, uint32_t *n_given) {
    session_list l;
    group_table fresh;
    MUST(group_table_init(&fresh, t->shape, m, SIZE_MAX / 2, NULL));
    MUST(sessions_chain(r, t, t->rows.n, watermark, &l, NULL));
    for (uint32_t i = 0; i < l.n; i++) {
        if (i < l.n_closed) {
            given[(*n_given)++] = read_row(t->shape, m, &l.rows[i]);
            continue;
        }
        group_progress progress = {0};
        MUST(group_table_merge(&fresh, l.rows[i].row, 1, &progress, NULL));
    }
    session_list_clear(&l);
    group_table_destroy(t);
    *t = fresh;
}

static void run_flow(uint64_t first_seed, int64_t disorder, unsigned looks_of_100) {
    seed = first_seed;
    memory *m;
    MUST(memory_create((size_t)64 << 20, &m, NULL));
    group_shape *shape = make_shape();
    const session_rule r = {1, gap, 1, 2};
    model *want = calloc(1, sizeof *want);
    made given[rows_max];
    uint32_t n_given = 0;
    group_table t;
    MUST(group_table_init(&t, shape, m, SIZE_MAX / 2, NULL));
    int64_t now = -1000, watermark = WATERMARK_NONE;
    for (uint32_t i = 0; i < rows_max; i++) {
        now += draw_below(&seed, 4);
        int64_t time = now - (draw_below(&seed, 3) ? 0 : draw_below(&seed, (uint32_t)disorder)), key = draw_below(&seed, keys_max);
        if (watermark == WATERMARK_NONE || time + gap > watermark) { /* not late */
            add_row(&r, &t, key, time, i, watermark);
            model_add(want, key, time, i, watermark);
        }
        if (time - 5 > watermark) watermark = time - 5;
        if (draw_below(&seed, 100) < looks_of_100) look(&r, &t, m, watermark - draw_below(&seed, 30), given, &n_given);
    }
    look(&r, &t, m, WATERMARK_END, given, &n_given);
    assert_int_equal(t.rows.n, 0);
    model_close(want, INT64_MAX);
    assert_int_equal(n_given, want->n_closed);
    qsort(given, n_given, sizeof *given, by_all);
    qsort(want->closed, want->n_closed, sizeof *want->closed, by_all);
    assert_memory_equal(given, want->closed, n_given * sizeof *given);
    free(want);
    group_table_destroy(&t);
    group_shape_free(shape);
    memory_destroy(m);
}

static void test_sessions(void **state) {
    for (uint64_t i = 1; i <= 300; i++) {
        print_message("%s", i % 100 ? "" : ".\n");
        run_flow(i, 1 + (int64_t)(i % 40), i % 5 * 10);
    }
}

static void test_extreme_times(void **state) {
    const session_rule r = {0, gap, 0, 1};
    const int64_t times[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX, -1, 0, gap - 1, gap, -gap, -gap - 1};
    int64_t pieces[COUNT_OF(times)];
    session_pieces(&r, times, COUNT_OF(times), pieces);
    for (uint32_t i = 0; i < COUNT_OF(times); i++) {
        __int128 low = (__int128)pieces[i] * gap;
        assert_true(low <= times[i] && times[i] < low + gap);
    }
    assert_true(session_end(&r, INT64_MAX - 1) == INT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sessions), cmocka_unit_test(test_extreme_times)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
