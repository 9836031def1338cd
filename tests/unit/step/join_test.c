#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "unit/step/tables.h"

/* Random tables against a join by nested lists. */

static const char *const kinds[] = {"inner", "left", "right", "full", "semi", "anti"};
enum { JOIN_LEFT_KIND = 1 };

typedef struct shape {
    uint32_t left_rows, right_rows, n_keys, n_left, n_right; /* columns beside the keys */
    uint32_t distinct;     /* keys */
    uint32_t left_skew, right_skew; /* of 100 rows that have one key */
    uint32_t nulls;        /* of 100 */
    const type *payload;   /* of all columns; NULL: random */
    const type *key;       /* of the first key; NULL: random */
    uint32_t text_bytes;   /* instead: columns of such texts */
    size_t hog_bytes;      /* memory that somebody else takes when the left side has ended */
} shape;

static const type *random_key_type(uint64_t *seed) {
    switch (draw_below(seed, 8)) {
    case 0: return type_of(TYPE_INT32);
    case 1: return type_of(TYPE_DATE);
    case 2: return type_of(TYPE_TIMESTAMP);
    case 3: return type_of(TYPE_FLOAT64);
    case 4: return type_of(TYPE_FLOAT32);
    case 5: return type_of(TYPE_INT64);
    case 6: return type_of(TYPE_BINARY);
    default: return type_of(TYPE_STRING);
    }
}

static void append_key(column_builder *b, const type *t, uint64_t *seed, uint32_t value) {
    char text[64];
    switch (t->kind) {
    case TYPE_FLOAT32:
    case TYPE_FLOAT64: {
        double zero = draw(seed) & 1 ? 0.0 : -0.0, nan = draw(seed) & 1 ? NAN : -NAN;
        MUST(column_builder_float(b, value == 0 ? zero : value == 1 ? nan : value / 4.0, NULL));
        break;
    }
    case TYPE_STRING:
    case TYPE_BINARY:
        snprintf(text, sizeof text, value % 3 ? "%u" : "a key that takes more than a view: %u", value);
        MUST(column_builder_bytes(b, text, (uint32_t)strlen(text), NULL));
        break;
    case TYPE_VECTOR: {
        float values[400] = {0};
        for (uint32_t i = 0; i < t->width; i++) values[i] = draw(seed) & 1 ? 0.0f : -0.0f;
        values[t->width - 1] = (float)value;
        MUST(column_builder_vector(b, values, NULL));
        break;
    }
    case TYPE_BOOL: MUST(column_builder_int(b, value & 1, NULL)); break;
    default: MUST(column_builder_int(b, value, NULL));
    }
}

static void make_keys(uint64_t *seed, const shape *s, const type *t, uint32_t n, uint32_t skew, column *out) {
    column_builder *b;
    MUST(column_builder_new(tables.memory, t, &b, NULL));
    for (uint32_t i = 0; i < n; i++) {
        if (draw_below(seed, 100) < s->nulls) MUST(column_builder_null(b, NULL));
        else append_key(b, t, seed, draw_below(seed, 100) < skew ? 7 : draw_below(seed, s->distinct));
    }
    MUST(column_builder_finish(b, out, NULL));
    column_builder_free(b);
}

/* Long texts make many bytes of few rows; they are not copied to the output. */
static void make_texts(uint64_t *seed, uint32_t n, uint32_t bytes, column *out) {
    column_builder *b;
    char *text = malloc(bytes);
    memset(text, 'x', bytes);
    MUST(column_builder_new(tables.memory, type_of(TYPE_STRING), &b, NULL));
    for (uint32_t i = 0; i < n; i++) {
        uint64_t number = draw(seed);
        memcpy(text, &number, sizeof number);
        MUST(column_builder_bytes(b, text, bytes, NULL));
    }
    MUST(column_builder_finish(b, out, NULL));
    column_builder_free(b);
    free(text);
}

static void make_tables(uint64_t *seed, const shape *s) {
    static const char *const key_names[] = {"k0", "k1", "k2"};
    static const char *const left_names[] = {"a0", "same", "a2"}, *const right_names[] = {"b0", "same", "b2"};
    const char *names[table_columns_max];
    const type *keys[3];
    for (uint32_t k = 0; k < s->n_keys; k++) keys[k] = k == 0 && s->key ? s->key : random_key_type(seed);
    for (unsigned side = 0; side < 2; side++) {
        column columns[table_columns_max];
        uint32_t n = side ? s->right_rows : s->left_rows, c = 0, others = side ? s->n_right : s->n_left;
        for (; c < s->n_keys; c++) {
            names[c] = key_names[c];
            make_keys(seed, s, keys[c], n, side ? s->right_skew : s->left_skew, &columns[c]);
        }
        for (uint32_t i = 0; i < others; i++, c++) {
            names[c] = (side ? right_names : left_names)[i];
            if (s->text_bytes) make_texts(seed, n, s->text_bytes, &columns[c]);
            else random_column(tables.memory, seed, s->payload ? s->payload : random_type(seed), n, &columns[c]);
        }
        table *t = table_add(side ? "right" : "left", names, columns, c, n);
        t->per_split = 1 + draw_below(seed, n + 1);
        t->per_batch = draw(seed) & 1 ? 10000 : 1 + draw_below(seed, 300);
    }
}

/* ---- the reference ---- */

typedef struct pairs {
    uint32_t *left, *right;
    size_t n, capacity;
} pairs;

static void add_pair(pairs *p, uint32_t left, uint32_t right) {
    if (p->n == p->capacity) {
        p->capacity = p->capacity ? 2 * p->capacity : 1024;
        p->left = realloc(p->left, p->capacity * sizeof *p->left);
        p->right = realloc(p->right, p->capacity * sizeof *p->right);
    }
    p->left[p->n] = left;
    p->right[p->n++] = right;
}

static bool keys_match(const batch *l, uint32_t i, const batch *r, uint32_t j, uint32_t n_keys) {
    for (uint32_t k = 0; k < n_keys; k++)
        if (!column_is_valid(&l->columns[k], i) || !column_values_equal(&l->columns[k], i, &r->columns[k], j)) return false;
    return true;
}

static void join_tables(const batch *l, const batch *r, uint32_t n_keys, unsigned kind, pairs *out) {
    uint32_t n_left = l ? l->rows : 0, n_right = r ? r->rows : 0, n_lists = n_right + 1;
    uint32_t *first = malloc(n_lists * sizeof *first), *next = malloc(n_lists * sizeof *next);
    uint64_t *left_hashes = malloc((n_left + 1) * 8), *right_hashes = malloc((n_right + 1) * 8);
    bool *matched = calloc(n_right + 1, 1);
    memset(first, 0xff, n_lists * sizeof *first);
    if (n_left) hash_columns(l->columns, n_keys, n_left, left_hashes);
    if (n_right) hash_columns(r->columns, n_keys, n_right, right_hashes);
    for (uint32_t j = 0; j < n_right; j++) {
        next[j] = first[right_hashes[j] % n_lists];
        first[right_hashes[j] % n_lists] = j;
    }
    for (uint32_t i = 0; i < n_left; i++) {
        bool some = false;
        for (uint32_t j = first[left_hashes[i] % n_lists]; j != UINT32_MAX; j = next[j]) {
            if (!keys_match(l, i, r, j, n_keys)) continue;
            if (kind < 4) add_pair(out, i, j);
            some = matched[j] = true;
        }
        if ((kind == 1 || kind == 3 || kind == 5) && !some) add_pair(out, i, UINT32_MAX);
        if (kind == 4 && some) add_pair(out, i, UINT32_MAX);
    }
    for (uint32_t j = 0; j < n_right && (kind == 2 || kind == 3); j++)
        if (!matched[j]) add_pair(out, UINT32_MAX, j);
    free(first);
    free(next);
    free(left_hashes);
    free(right_hashes);
    free(matched);
}

/* Rows of a column that may be missing altogether. */
static void pick(const table *t, uint32_t c, const uint32_t *rows, uint32_t n, column *out) {
    if (t->rows) {
        MUST(column_pick(tables.memory, &t->rows->columns[c], rows, n, out, NULL));
        return;
    }
    column_builder *b;
    MUST(column_builder_new(tables.memory, t->schema->fields[c].type, &b, NULL));
    for (uint32_t i = 0; i < n; i++) MUST(column_builder_null(b, NULL));
    MUST(column_builder_finish(b, out, NULL));
    column_builder_free(b);
}

/* A key is the left's, or the right's if there is no left row. The hash takes a value's word, so keys of
 * both kinds are hashed apart and their hashes put together. */
static void hash_pairs(const pairs *p, uint32_t n_keys, unsigned kind) {
    const table *l = table_named("left"), *r = table_named("right");
    for (int right_only = 0; right_only < 2; right_only++) {
        enum { some_max = 50000 };
        uint32_t *left = malloc(some_max * 4), *right = malloc(some_max * 4), n = 0;
        for (size_t i = 0; i <= p->n; i++) {
            if (n == some_max || (i == p->n && n)) {
                column columns[table_columns_max];
                uint32_t c = 0;
                for (; c < n_keys; c++) pick(right_only ? r : l, c, right_only ? right : left, n, &columns[c]);
                for (uint32_t k = n_keys; k < l->schema->n; k++) pick(l, k, left, n, &columns[c++]);
                for (uint32_t k = n_keys; k < r->schema->n && kind < 4; k++) pick(r, k, right, n, &columns[c++]);
                collect_hashes(columns, c, n);
                while (c) column_clear(&columns[--c]);
                n = 0;
            }
            if (i == p->n || (p->left[i] == UINT32_MAX) != right_only) continue;
            left[n] = p->left[i];
            right[n++] = p->right[i];
        }
        free(left);
        free(right);
    }
}

static void run_join(unsigned kind, uint32_t n_keys, const run_options *o, run_figures *figures) {
    static const char *const lists[] = {"", "[k0]", "[k0, k1]", "{k0: k0, k1: k1, k2: k2}"};
    char text[512];
    snprintf(text, sizeof text,
             "flows:\n"
             "  r: {source: {table: {name: right}}}\n"
             "  main:\n"
             "    source: {table: {name: left}}\n"
             "    steps: [join: {with: r, on: %s, how: %s}]\n"
             "    sink: collect\n",
             lists[n_keys], kinds[kind]);
    tw_error err = {0};
    tw_status status = tables_run(&step_join, text, o, figures, &err);
    if (status != TW_OK) fprintf(stderr, "%s: %s\n", kinds[kind], err.message);
    assert_int_equal(status, TW_OK);
}

/* Runs a kind and compares; what was spilled. */
static uint64_t check(uint64_t seed, const shape *s, unsigned kind, const run_options *o) {
    tables_begin();
    make_tables(&seed, s);
    tables.hog_bytes = s->hog_bytes;
    bool wanted[table_columns_max];
    for (uint32_t c = 0; c < table_columns_max; c++) wanted[c] = draw_below(&seed, 4) > 0;
    if (!s->text_bytes && (draw(&seed) & 1)) tables.wanted = wanted;
    run_figures figures;
    run_join(kind, s->n_keys, o, &figures);
    assert_true(figures.peak_memory_bytes <= o->memory_bytes);
    size_t n = tables.n_hashes;
    uint64_t *got = tables.hashes;
    tables.hashes = NULL;
    tables.n_hashes = tables.capacity = 0;
    pairs expected = {0};
    join_tables(table_named("left")->rows, table_named("right")->rows, s->n_keys, kind, &expected);
    hash_pairs(&expected, s->n_keys, kind);
    if (n != expected.n)
        fprintf(stderr, "%s of %u and %u rows: %zu instead of %zu\n", kinds[kind], s->left_rows, s->right_rows, n, expected.n);
    assert_int_equal(n, expected.n);
    assert_int_equal(tables.n_hashes, n);
    if (n) {
        qsort(tables.hashes, n, sizeof *got, compare_hashes);
        assert_memory_equal(got, tables.hashes, n * sizeof *got);
    }
    free(got);
    free(expected.left);
    free(expected.right);
    tables_end();
    return figures.spilled_bytes;
}

/* The thread sanitizer looks for races, which are in test_threads; the rest is only shown to run. */
#ifdef __SANITIZE_THREAD__
#define SEEDS(n) ((n) / 16 + 1)
#define SPILLED(spilled, bytes) ((void)(spilled), true) /* not every seed spills */
#else
#define SEEDS(n) (n)
#define SPILLED(spilled, bytes) ((spilled) > (bytes))
#endif

static void test_small_tables(void **state) {
    for (uint64_t seed = 0; seed < 0 + SEEDS(240); seed++) {
        uint64_t s = seed;
        shape t = {.left_rows = draw_below(&s, 600), .right_rows = draw_below(&s, 600),
                   .n_keys = 1 + draw_below(&s, 3), .n_left = draw_below(&s, 4), .n_right = draw_below(&s, 4),
                   .distinct = 1 + draw_below(&s, 300), .nulls = draw(&s) & 1 ? draw_below(&s, 40) : 0};
        if (seed % 11 == 0) t.left_rows = 0;
        if (seed % 13 == 0) t.right_rows = 0;
        if (seed % 7 == 0) t.key = type_of(TYPE_BOOL);
        if (seed % 7 == 1) t.key = type_vector(seed % 2 ? 4 : 30);
        run_options o = {.parallelism = 1 + seed % 3, .memory_bytes = seed % 2 ? 64 << 20 : 4 << 20,
                         .batch_rows = seed % 5 ? 0 : 1 + draw_below(&s, 50)};
        check(seed, &t, seed % 6, &o);
    }
}

/* Several MB of rows in 2 MiB and more. */
static void test_more_than_memory(void **state) {
    uint64_t spilled = 0;
    for (uint64_t seed = 1000; seed < 1000 + SEEDS(18); seed++) {
        uint64_t s = seed;
        shape t = {.left_rows = 2000 + draw_below(&s, 20000), .right_rows = 2000 + draw_below(&s, 20000),
                   .n_keys = 1 + draw_below(&s, 2), .n_left = 1, .n_right = 1,
                   .distinct = 10000, .nulls = seed % 3 ? 0 : 5, .payload = seed % 2 ? NULL : type_vector(120)};
        run_options o = {.parallelism = 2, .memory_bytes = (size_t)(3 + seed % 4) << 20};
        spilled += check(seed, &t, seed % 6, &o);
    }
    assert_true(SPILLED(spilled, 10 << 20));
}

/* One key is a good part of the rows, of one side or of both: more than a pair may hold. */
static void test_skew(void **state) {
    uint64_t spilled = 0;
    for (uint64_t seed = 2000; seed < 2000 + SEEDS(24); seed++) {
        uint32_t share = seed / 6 % 3; /* left, right, both */
        shape t = {.left_rows = 2000, .right_rows = 2000, .n_keys = 1, .n_left = 1, .n_right = 1,
                   .distinct = 2000, .nulls = seed % 5 ? 0 : 5, .text_bytes = 5000,
                   .left_skew = share != 1 ? 20 : 0, .right_skew = share != 0 ? 20 : 0};
        run_options o = {.parallelism = 2, .memory_bytes = (size_t)3 << 20};
        spilled += check(seed, &t, seed % 6, &o);
    }
    assert_true(SPILLED(spilled, 100 << 20));
}

/* Others take the memory that was there when the join made its plan. */
static void test_refused_memory(void **state) {
    uint64_t spilled = 0;
    for (uint64_t seed = 5000; seed < 5000 + SEEDS(36); seed++) {
        shape t = {.left_rows = 2500, .right_rows = 2500, .n_keys = 1, .n_left = 1, .n_right = 1,
                   .distinct = 2000, .text_bytes = 3000, .left_skew = seed / 6 % 2 * 10, .right_skew = seed / 6 % 2 * 10,
                   .hog_bytes = (1200 + seed % 5 * 100) << 10};
        run_options o = {.parallelism = 2, .memory_bytes = (size_t)3 << 20};
        spilled += check(seed, &t, seed % 6, &o);
    }
    assert_true(SPILLED(spilled, 100 << 20));
}

/* So many rows that some share the 16 bits of the hash that a slot has, and not the key. */
static void test_many_keys(void **state) {
    static const type_kind keys[] = {TYPE_INT64, TYPE_DATE, TYPE_STRING, TYPE_FLOAT64};
    for (uint64_t seed = 0; seed < COUNT_OF(keys); seed++) {
        shape t = {.left_rows = 150000, .right_rows = 150000, .n_keys = 1, .n_right = 1, .distinct = 1000000,
                   .key = type_of(keys[seed]), .payload = type_of(TYPE_INT32)};
        run_options o = {.parallelism = 2, .memory_bytes = (size_t)256 << 20};
        check(seed, &t, JOIN_LEFT_KIND, &o);
    }
}

static void test_cancelled(void **state) {
    run_options o = {.parallelism = 2, .memory_bytes = (size_t)16 << 20};
    uint64_t seed = 1;
    shape t = {.left_rows = 60000, .right_rows = 60000, .n_keys = 1, .n_left = 1, .n_right = 1, .distinct = 3,
               .text_bytes = 500};
    tables_begin();
    make_tables(&seed, &t);
    bool wanted[table_columns_max] = {false};
    tables.wanted = wanted;
    tables.cancel_after_ms = 100;
    tw_error err = {0};
    assert_int_equal(tables_run(&step_join, "flows:\n"
                                            "  r: {source: {table: {name: right}}}\n"
                                            "  main:\n"
                                            "    source: {table: {name: left}}\n"
                                            "    steps: [join: {with: r, on: [k0]}, join: {with: r, on: [k0]}]\n"
                                            "    sink: collect\n",
                                &o, NULL, &err),
                     TW_ERR_CANCELLED);
    tables_end();
}

/* Pairs of partitions that must be split again. */
static void test_much_more_than_memory(void **state) {
    uint64_t spilled = 0;
    for (uint64_t seed = 4000; seed < 4000 + SEEDS(6); seed++) {
        shape t = {.left_rows = 9000, .right_rows = 9000, .n_keys = 1, .n_left = 1, .n_right = 1,
                   .distinct = 6000, .nulls = seed % 2, .text_bytes = 6000};
        run_options o = {.parallelism = 2, .memory_bytes = (size_t)3 << 20};
        spilled += check(seed, &t, seed % 6, &o);
    }
    assert_true(SPILLED(spilled, 300 << 20));
}

/* Two and four lanes share what is spilled. */
static void test_threads(void **state) {
    uint64_t spilled = 0;
    for (uint64_t seed = 3000; seed < 3006; seed++) {
        shape t = {.left_rows = 30000, .right_rows = 40000, .n_keys = 1, .n_left = 1, .n_right = 1,
                   .distinct = 30000, .nulls = seed & 1, .payload = type_vector(300)};
        run_options o = {.parallelism = 2 + seed % 3, .memory_bytes = (size_t)(seed & 1 ? 64 : 32) << 20};
        spilled += check(seed, &t, seed % 6, &o);
    }
    assert_true(SPILLED(spilled, 25 << 20));
}

/* ---- types, names, errors ---- */

static void add_column(const type *t, const double *values, uint32_t n, column *out) {
    column_builder *b;
    MUST(column_builder_new(tables.memory, t, &b, NULL));
    for (uint32_t i = 0; i < n; i++) {
        if (type_is_integer(t)) MUST(column_builder_int(b, (int64_t)values[i], NULL));
        else if (type_is_number(t)) MUST(column_builder_float(b, values[i], NULL));
        else MUST(column_builder_bytes(b, &values[i], 8, NULL));
    }
    MUST(column_builder_finish(b, out, NULL));
    column_builder_free(b);
}

static void typed_tables(const type *left, const type *right) {
    static const char *const left_names[] = {"a", "id", "v"}, *const right_names[] = {"v", "key", "id"};
    static const double numbers[] = {1, 2, 3, 3, 5};
    column columns[3];
    tables_begin();
    for (unsigned c = 0; c < 3; c++) add_column(c == 1 ? left : type_of(TYPE_INT64), numbers, 5, &columns[c]);
    table_add("left", left_names, columns, 3, 5);
    for (unsigned c = 0; c < 3; c++) add_column(c == 1 ? right : type_of(TYPE_INT64), numbers, 4, &columns[c]);
    table_add("right", right_names, columns, 3, 4);
}

#define TYPED_JOB(on)                                                                                             \
    "flows:\n"                                                                                                    \
    "  r: {source: {table: {name: right}}}\n"                                                                     \
    "  main:\n"                                                                                                   \
    "    source: {table: {name: left}}\n"                                                                         \
    "    steps:\n"                                                                                                \
    "      - join: {with: r, on: " on "}\n"                                                                       \
    "    sink: collect\n"

static void test_types_of_keys(void **state) {
    static const struct {
        type_kind left, right, common;
    } cases[] = {
        {TYPE_INT64, TYPE_INT64, TYPE_INT64},     {TYPE_INT32, TYPE_INT64, TYPE_INT64},
        {TYPE_INT64, TYPE_INT32, TYPE_INT64},     {TYPE_INT32, TYPE_INT32, TYPE_INT32},
        {TYPE_FLOAT64, TYPE_INT32, TYPE_FLOAT64}, {TYPE_INT64, TYPE_FLOAT32, TYPE_FLOAT64},
        {TYPE_STRING, TYPE_STRING, TYPE_STRING},  {TYPE_FLOAT32, TYPE_FLOAT64, TYPE_FLOAT64},
    };
    static const char *const names[] = {"id", "a", "v", "v_right", "id_right"};
    run_options o = {.parallelism = 2, .memory_bytes = 32 << 20};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        typed_tables(type_of(cases[i].left), type_of(cases[i].right));
        MUST(tables_run(&step_join, TYPED_JOB("{id: key}"), &o, NULL, NULL));
        assert_int_equal(tables.n_hashes, 6); /* 1, 2, and twice 3 with twice 3 */
        assert_int_equal(tables.out->n, 5);
        for (uint32_t c = 0; c < 5; c++) {
            assert_string_equal(tables.out->fields[c].name, names[c]);
            assert_ptr_equal(tables.out->fields[c].type, type_of(c ? TYPE_INT64 : cases[i].common));
        }
        tables_end();
    }
}

static void refuse(type_kind left, const char *text, const char *message, unsigned line, unsigned byte) {
    tw_error err = {0};
    typed_tables(type_of(left), type_of(TYPE_INT64));
    assert_int_equal(tables_run(&step_join, text, NULL, NULL, &err), TW_ERR_JOB);
    assert_string_equal(err.message, message);
    assert_int_equal(err.line, line);
    assert_int_equal(err.column, byte);
    tables_end();
}

static void test_errors(void **state) {
    refuse(TYPE_STRING, TYPED_JOB("{id: key}"), "column 'id' is string, but 'key' of flow 'r' is int64", 6, 34);
    refuse(TYPE_BINARY, TYPED_JOB("[id]"), "column 'id' is binary, but 'id' of flow 'r' is int64", 6, 30);
    refuse(TYPE_INT64, TYPED_JOB("{ix: key}"), "unknown column 'ix'; did you mean 'id'?", 6, 30);
    refuse(TYPE_INT64, TYPED_JOB("{id: kex}"), "unknown column 'kex' of flow 'r'; did you mean 'key'?", 6, 34);
    refuse(TYPE_INT64, TYPED_JOB("[v, v]"), "column 'v' is a key already", 6, 33);
    refuse(TYPE_INT64, TYPED_JOB("[]"), "option 'on' of join: no column to match by", 6, 29);
    refuse(TYPE_INT64, TYPED_JOB("[id], how: outer"), "option 'how' of join must be one of inner, left, right, full, semi, anti, not 'outer'", 6, 40);
}

/* The rows of a join joined again, and a union of both: the pipelines that a join adds go on. */
static void test_chained(void **state) {
    static const char text[] =
        "flows:\n"
        "  r: {source: {table: {name: right}}}\n"
        "  s: {source: {table: {name: right}}}\n"
        "  t: {source: {table: {name: left}}, steps: [join: {with: s, on: [k0], how: anti}]}\n"
        "  main:\n"
        "    source: {table: {name: left}}\n"
        "    steps:\n"
        "      - join: {with: r, on: [k0], how: semi}\n"
        "      - union: t\n"
        "    sink: collect\n";
    uint64_t spilled = 0;
    for (uint64_t seed = 0; seed < 6; seed++) {
        uint64_t s = seed;
        shape t = {.left_rows = 15000, .right_rows = 120000, .n_keys = 1, .n_left = 1, .n_right = 1, .distinct = 60000,
                   .nulls = 4, .payload = type_vector(60)};
        run_options o = {.parallelism = 2, .memory_bytes = seed & 1 ? 6 << 20 : 64 << 20};
        tables_begin();
        make_tables(&s, &t);
        run_figures figures;
        MUST(tables_run(&step_join, text, &o, &figures, NULL));
        size_t n = tables.n_hashes;
        uint64_t *got = tables.hashes;
        tables.hashes = NULL;
        tables.n_hashes = tables.capacity = 0;
        const batch *left = table_named("left")->rows;
        collect_hashes(left->columns, left->schema->n, left->rows);
        qsort(tables.hashes, tables.n_hashes, 8, compare_hashes);
        assert_int_equal(n, tables.n_hashes);
        assert_memory_equal(got, tables.hashes, n * 8);
        free(got);
        tables_end();
        spilled += figures.spilled_bytes;
    }
    assert_true(spilled > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_of_keys), cmocka_unit_test(test_errors),  cmocka_unit_test(test_small_tables),
        cmocka_unit_test(test_chained),       cmocka_unit_test(test_skew),    cmocka_unit_test(test_more_than_memory),
        cmocka_unit_test(test_much_more_than_memory), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_refused_memory), cmocka_unit_test(test_many_keys), cmocka_unit_test(test_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
