#include "data/batch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif
/* Bytes by which a limit must grow for one more allocation to succeed: only AddressSanitizer's are exact. */
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
enum { STEP = 64 };
#else
enum { STEP = 1024 };
#endif

#define OK(call) assert_int_equal(call, TW_OK)
#define MIB ((size_t)1 << 20)

static const char *const all_types[] = {
    "bool", "int32", "int64", "float32", "float64", "date", "timestamp", "string", "binary",
    "vector<float32, 1>", "vector<float32, 2>", "vector<float32, 4>", "vector<float32, 7>", "sparse<float32>",
    "list<int64>", "list<string>", "list<bool>", "list<vector<float32, 3>>", "list<list<string>>",
    "list<sparse<float32>>", "list<list<list<int32>>>"};
enum { N_TYPES = sizeof all_types / sizeof *all_types };

static memory *memory_of(size_t bytes) {
    memory *m;
    OK(memory_create(bytes, &m, NULL));
    return m;
}

static unsigned next_random(unsigned *seed) { return (*seed = *seed * 1664525u + 1013904223u) >> 8; }

/* One random value (or null: one in `nulls`, 0 for never). */
static tw_status append(column_builder *b, const type *t, unsigned nulls, unsigned *seed, tw_error *err) {
    char text[64];
    float vector[8];
    if (nulls && next_random(seed) % nulls == 0) return column_builder_null(b, err);
    unsigned r = next_random(seed);
    switch (t->kind) {
    case TYPE_BOOL: return column_builder_int(b, r & 1, err);
    case TYPE_FLOAT32:
    case TYPE_FLOAT64: return column_builder_float(b, r % 10 ? r * 0.25 : (double)NAN, err);
    case TYPE_STRING:
    case TYPE_BINARY: {
        int n = snprintf(text, sizeof text, "%u-%.*s", r, (int)(r % 30), "abcdefghijklmnopqrstuvwxyz0123456789");
        return column_builder_bytes(b, text, (uint32_t)n, err);
    }
    case TYPE_VECTOR:
        for (unsigned i = 0; i < t->width; i++) vector[i] = (float)(next_random(seed) % 100);
        return column_builder_vector(b, vector, err);
    case TYPE_SPARSE:
        for (unsigned i = 0; i < r % 5; i++) {
            TRY(column_builder_int(column_builder_child(b, 0), i * 3, err));
            TRY(column_builder_float(column_builder_child(b, 1), i * 0.5, err));
        }
        return column_builder_end_list(b, err);
    case TYPE_LIST:
        for (unsigned i = 0; i < r % 4; i++) TRY(append(column_builder_child(b, 0), t->item, nulls, seed, err));
        return column_builder_end_list(b, err);
    default: return column_builder_int(b, (int64_t)r - 1000, err);
    }
}

static tw_status build(memory *m, const char *type_text, uint32_t rows, unsigned nulls, unsigned seed,
                       column *out, tw_error *err) {
    const type *t = type_parse(type_text);
    column_builder *b;
    memset(out, 0, sizeof *out);
    TRY(column_builder_new(m, t, &b, err));
    tw_status status = TW_OK;
    for (uint32_t i = 0; i < rows && status == TW_OK; i++) status = append(b, t, nulls, &seed, err);
    if (status == TW_OK) status = column_builder_finish(b, out, err);
    column_builder_free(b);
    return status;
}

/* Offsets rise from 0, children have as many rows as they say; buffers are long enough. */
static void check_shape(const column *c) {
    if (c->valid_buffer) assert_true(c->valid_buffer->size >= ((size_t)c->rows + 63) / 64 * 8);
    if (!type_is_nested(c->type)) {
        assert_null(c->children);
        assert_true(c->values_buffer->size >= c->rows * type_bytes(c->type));
        return;
    }
    const uint32_t *offsets = c->values;
    assert_int_equal(c->n_children, c->type->kind == TYPE_LIST ? 1 : 2);
    for (uint32_t i = 0; i < c->rows; i++) assert_true(offsets[i] <= offsets[i + 1]);
    for (uint32_t k = 0; k < c->n_children; k++) {
        assert_true(c->children[k].rows >= offsets[c->rows]);
        check_shape(&c->children[k]);
    }
}

static void check_picked(memory *m, const column *in, const uint32_t *rows, uint32_t n) {
    column out;
    OK(column_pick(m, in, rows, n, &out, NULL));
    assert_int_equal(out.rows, n);
    assert_ptr_equal(out.type, in->type);
    check_shape(&out);
    bool any_null = false;
    for (uint32_t i = 0; i < n; i++) {
        if (rows[i] == UINT32_MAX) assert_false(column_is_valid(&out, i));
        else assert_true(column_values_equal(&out, i, in, rows[i]));
        any_null |= !column_is_valid(&out, i);
    }
    assert_int_equal(out.valid != NULL, any_null);
    column_clear(&out);
}

static void picks_are_the_rows(void **state) {
    (void)state;
    memory *m = memory_of(64 * MIB);
    enum { ROWS = 1000, MAX = 1500 };
    uint32_t rows[MAX];
    unsigned seed = 7;
    for (int t = 0; t < N_TYPES; t++) {
        for (unsigned nulls = 0; nulls <= 8; nulls += 4) {
            column c;
            OK(build(m, all_types[t], ROWS, nulls, 42 + (unsigned)t, &c, NULL));
            assert_int_equal(c.rows, ROWS);
            assert_int_equal(c.valid != NULL, nulls != 0);
            check_shape(&c);
            static const uint32_t counts[] = {0, 1, 63, 64, 65, 128, 777, MAX};
            for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
                for (uint32_t i = 0; i < counts[k]; i++) rows[i] = next_random(&seed) % ROWS;
                check_picked(m, &c, rows, counts[k]);
                for (uint32_t i = 0; i < counts[k]; i++)
                    if (next_random(&seed) % 3 == 0) rows[i] = UINT32_MAX;
                check_picked(m, &c, rows, counts[k]);
            }
            column_clear(&c);
        }
        /* Of no rows only nulls can be picked. */
        column none;
        OK(build(m, all_types[t], 0, 0, 1, &none, NULL));
        assert_int_equal(none.rows, 0);
        assert_non_null(none.values);
        for (uint32_t i = 0; i < 70; i++) rows[i] = UINT32_MAX;
        check_picked(m, &none, rows, 70);
        column_clear(&none);
    }
    memory_destroy(m);
}

static void slices_share_their_values(void **state) {
    (void)state;
    memory *m = memory_of(64 * MIB);
    static const uint32_t cuts[][2] = {{0, 500}, {0, 0}, {500, 0}, {64, 436}, {64, 64}, {1, 499}, {63, 1},
                                       {77, 128}, {130, 63}, {499, 1}, {192, 1}};
    for (int t = 0; t < N_TYPES; t++) {
        for (unsigned nulls = 0; nulls <= 4; nulls += 4) {
            column c, s, picked;
            OK(build(m, all_types[t], 500, nulls, 5, &c, NULL));
            for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
                uint32_t first = cuts[k][0], n = cuts[k][1], rows[500];
                OK(column_slice(m, &c, first, n, &s, NULL));
                assert_int_equal(s.rows, n);
                assert_ptr_equal(s.values_buffer, c.values_buffer);
                if (c.valid && first % 64 == 0) assert_ptr_equal(s.valid_buffer, c.valid_buffer);
                for (uint32_t i = 0; i < n; i++) {
                    assert_true(column_values_equal(&s, i, &c, first + i));
                    rows[i] = n - 1 - i;
                }
                check_picked(m, &s, rows, n); /* a slice is a column like any other */
                OK(column_pick(m, &s, rows, n, &picked, NULL));
                column_clear(&s);
                for (uint32_t i = 0; i < n; i++) /* picked of a slice outlives it */
                    assert_true(column_values_equal(&picked, i, &c, first + n - 1 - i));
                column_clear(&picked);
            }
            column_clear(&c);
        }
    }
    memory_destroy(m);
}

static void shares_outlive_what_they_come_from(void **state) {
    (void)state;
    memory *m = memory_of(64 * MIB);
    for (int t = 0; t < N_TYPES; t++) {
        column a, b, c, picked;
        uint32_t rows[100];
        for (uint32_t i = 0; i < 100; i++) rows[i] = 99 - i;
        OK(build(m, all_types[t], 100, 5, 9, &a, NULL));
        OK(build(m, all_types[t], 100, 5, 9, &c, NULL));
        column_share(&a, &b);
        assert_ptr_equal(a.values, b.values);
        OK(column_pick(m, &a, rows, 100, &picked, NULL));
        column_clear(&a);
        assert_null(a.values);
        assert_null(a.children);
        for (uint32_t i = 0; i < 100; i++) assert_true(column_values_equal(&b, i, &c, i));
        column_clear(&b);
        for (uint32_t i = 0; i < 100; i++) assert_true(column_values_equal(&picked, i, &c, 99 - i));
        column_clear(&picked);
        column_clear(&c);
        column_clear(&c);
    }
    memory_destroy(m);
}

static void new_columns(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    column c;
    OK(column_new(m, type_of(TYPE_INT32), 100, &c, NULL));
    for (int i = 0; i < 100; i++) ((int32_t *)c.values)[i] = i;
    assert_null(c.valid);
    OK(column_need_valid(m, &c, NULL));
    for (uint32_t i = 0; i < 100; i++) assert_true(column_is_valid(&c, i));
    assert_true(c.valid[1] == ~0ull);
    column_set_null(&c, 77);
    uint64_t *before = c.valid;
    OK(column_need_valid(m, &c, NULL));
    assert_ptr_equal(c.valid, before);
    for (uint32_t i = 0; i < 100; i++) assert_int_equal(column_is_valid(&c, i), i != 77);
    column_clear(&c);

    OK(column_new(m, type_parse("sparse<float32>"), 10, &c, NULL));
    for (int i = 0; i <= 10; i++) assert_int_equal(((uint32_t *)c.values)[i], 0);
    assert_ptr_equal(c.children[0].type, type_of(TYPE_INT32));
    assert_ptr_equal(c.children[1].type, type_of(TYPE_FLOAT32));
    column_clear(&c);

    OK(column_new_children(type_parse("list<list<int64>>"), &c, NULL));
    assert_ptr_equal(c.children[0].children[0].type, type_of(TYPE_INT64));
    assert_null(c.values);
    column_clear(&c);

    tw_error err; /* far too wide: refused, not overflown */
    assert_int_equal(column_new(m, type_vector(1 << 20), UINT32_MAX, &c, &err), TW_ERR_MEMORY);
    assert_null(c.type);
    assert_int_equal(column_new(m, type_parse("list<int32>"), UINT32_MAX, &c, &err), TW_ERR_MEMORY);
    assert_null(c.children);
    memory_destroy(m);
}

/* Offsets of a huge pick do not wrap round. */
static void too_many_items(void **state) {
    (void)state;
    memory *m = memory_of(64 * MIB);
    column c, out;
    static uint32_t rows[5000];
    const char *types[] = {"list<bool>", "list<list<bool>>"};
    for (int t = 0; t < 2; t++) {
        OK(column_new(m, type_parse(types[t]), 1, &c, NULL));
        column *items = &c.children[0];
        if (t) {
            column_clear(items);
            OK(column_new(m, type_parse("list<bool>"), 1, items, NULL));
            ((uint32_t *)c.values)[1] = 1;
            ((uint32_t *)items->values)[1] = 1000000;
            items = &items->children[0];
        } else {
            ((uint32_t *)c.values)[1] = 1000000;
        }
        OK(column_new(m, type_of(TYPE_BOOL), 1000000, items, NULL));
        memset(items->values, 1, 1000000);
        tw_error err;
        assert_int_equal(column_pick(m, &c, rows, 5000, &out, &err), TW_ERR_MEMORY);
        assert_non_null(strstr(err.message, "4,294,967,294"));
        column_clear(&c);
    }
    memory_destroy(m);
}

static column column_of_floats(memory *m, const double *values, uint32_t n) {
    column c;
    OK(column_new(m, type_of(TYPE_FLOAT64), n, &c, NULL));
    memcpy(c.values, values, n * sizeof *values);
    return c;
}

static void equality_is_that_of_groups(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    const double values[] = {0.0, -0.0, NAN, -NAN, 1.0, INFINITY};
    static const int same_as[] = {0, 0, 2, 2, 4, 5};
    column c = column_of_floats(m, values, 6);
    for (uint32_t i = 0; i < 6; i++)
        for (uint32_t j = 0; j < 6; j++)
            assert_int_equal(column_values_equal(&c, i, &c, j), same_as[i] == same_as[j]);
    column_clear(&c);

    column_builder *b;
    static const char *const texts[] = {"", "abc", "abd", "abcd", "abcdefghijkl", "abcdefghijklm",
                                        "abcdefghijkln", "abceefghijklm", "abcdefghijklmn"};
    OK(column_builder_new(m, type_of(TYPE_STRING), &b, NULL));
    for (int twice = 0; twice < 2; twice++)
        for (int i = 0; i < 9; i++) OK(column_builder_bytes(b, texts[i], (uint32_t)strlen(texts[i]), NULL));
    OK(column_builder_null(b, NULL));
    OK(column_builder_null(b, NULL));
    OK(column_builder_finish(b, &c, NULL));
    for (uint32_t i = 0; i < 18; i++) {
        for (uint32_t j = 0; j < 18; j++) assert_int_equal(column_values_equal(&c, i, &c, j), i % 9 == j % 9);
        assert_false(column_values_equal(&c, i, &c, 18));
        assert_false(column_values_equal(&c, 18, &c, i));
    }
    assert_true(column_values_equal(&c, 18, &c, 19));
    column_clear(&c);
    column_builder_free(b);

    const float vectors[][2] = {{1, 2}, {1, 3}, {0.0f, NAN}, {-0.0f, NAN}};
    OK(column_builder_new(m, type_vector(2), &b, NULL));
    for (int i = 0; i < 4; i++) OK(column_builder_vector(b, vectors[i], NULL));
    OK(column_builder_finish(b, &c, NULL));
    assert_false(column_values_equal(&c, 0, &c, 1));
    assert_true(column_values_equal(&c, 2, &c, 3));
    column_clear(&c);
    column_builder_free(b);

    /* [1] [1, 2] [2] [] null [null] */
    OK(column_builder_new(m, type_parse("list<int32>"), &b, NULL));
    static const int lists[][3] = {{1, 1}, {2, 1, 2}, {1, 2}, {0}};
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < lists[i][0]; k++) OK(column_builder_int(column_builder_child(b, 0), lists[i][k + 1], NULL));
        OK(column_builder_end_list(b, NULL));
    }
    OK(column_builder_null(b, NULL));
    OK(column_builder_null(column_builder_child(b, 0), NULL));
    OK(column_builder_end_list(b, NULL));
    OK(column_builder_finish(b, &c, NULL));
    for (uint32_t i = 0; i < 6; i++)
        for (uint32_t j = 0; j < 6; j++) assert_int_equal(column_values_equal(&c, i, &c, j), i == j);
    column_clear(&c);
    column_builder_free(b);
    memory_destroy(m);
}

/* ---- the builder ---- */

static void builder_keeps_views_right_while_it_grows(void **state) {
    (void)state;
    memory *m = memory_of(256 * MIB);
    column_builder *b;
    static char text[400000];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i % 23);
    OK(column_builder_new(m, type_of(TYPE_BINARY), &b, NULL));
    for (int round = 0; round < 3; round++) {
        uint32_t n = round ? 20000 : 3000;
        column c;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t size = i % 1000 == 999 ? 300000 + i : i % 100;
            OK(column_builder_bytes(b, text + i % 23, size, NULL));
        }
        OK(column_builder_finish(b, &c, NULL));
        assert_int_equal(column_builder_rows(b), 0);
        assert_int_equal(c.rows, n);
        for (uint32_t i = 0; i < n; i++) {
            const view *v = (const view *)c.values + i;
            assert_int_equal(v->size, i % 1000 == 999 ? 300000 + i : i % 100);
            assert_memory_equal(view_data(v), text + i % 23, v->size);
        }
        column_clear(&c);
    }
    column_builder_free(b);
    memory_destroy(m);
}

static void builder_takes_views_of_others(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    buffer *heap;
    column c;
    column_builder *b;
    OK(buffer_new(m, MEMORY_FLOW, 100, &heap, NULL));
    memset(heap->data, 'x', 100);
    OK(column_builder_new(m, type_of(TYPE_STRING), &b, NULL));
    for (uint32_t i = 0; i < 50; i++) OK(column_builder_view(b, view_make(heap->data, i), heap, NULL));
    OK(column_builder_bytes(b, "a string of its own", 19, NULL));
    OK(column_builder_view(b, view_make(heap->data, 60), heap, NULL));
    buffer_unref(heap);
    OK(column_builder_finish(b, &c, NULL));
    assert_memory_equal(((view *)c.values)[51].data, heap->data, 60);
    assert_ptr_equal(((view *)c.values)[51].data, heap->data);
    assert_int_equal(c.heap->n_parts, 2);
    column_clear(&c);
    column_builder_free(b);
    memory_destroy(m);
}

static void builder_rewinds(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    column_builder *b, *item;
    column c;
    OK(column_builder_new(m, type_parse("list<string>"), &b, NULL));
    item = column_builder_child(b, 0);
    assert_null(column_builder_child(b, 1));
    for (int i = 0; i < 100; i++) {
        OK(column_builder_bytes(item, "kept", 4, NULL));
        OK(column_builder_end_list(b, NULL));
        OK(column_builder_null(b, NULL)); /* to be dropped, and its bit set again */
        OK(column_builder_null(item, NULL));
        column_builder_rewind(b, (uint32_t)i + 1);
        assert_int_equal(column_builder_rows(item), i + 1);
    }
    OK(column_builder_bytes(item, "of no list", 10, NULL));
    OK(column_builder_finish(b, &c, NULL));
    assert_int_equal(c.rows, 100);
    assert_int_equal(c.children[0].rows, 100);
    assert_null(c.valid);
    assert_null(c.children[0].valid);
    for (uint32_t i = 0; i < 100; i++) assert_true(column_values_equal(&c, 0, &c, i));
    column_clear(&c);
    column_builder_free(b);
    memory_destroy(m);
}

static void builder_refuses(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    column_builder *b;
    column c;
    tw_error err;
    const float v[4] = {0};
    OK(column_builder_new(m, type_of(TYPE_INT32), &b, NULL));
    assert_int_equal(column_builder_int(b, (int64_t)INT32_MAX + 1, &err), TW_ERR_DATA);
    assert_string_equal(err.message, "2147483648 does not fit an int32");
    assert_int_equal(column_builder_int(b, (int64_t)INT32_MIN - 1, &err), TW_ERR_DATA);
    OK(column_builder_int(b, INT32_MIN, NULL));
    assert_int_equal(column_builder_float(b, 1, &err), TW_ERR_INTERNAL);
    assert_int_equal(column_builder_bytes(b, "a", 1, &err), TW_ERR_INTERNAL);
    assert_int_equal(column_builder_view(b, view_make(NULL, 0), NULL, &err), TW_ERR_INTERNAL);
    assert_int_equal(column_builder_vector(b, v, &err), TW_ERR_INTERNAL);
    assert_int_equal(column_builder_end_list(b, &err), TW_ERR_INTERNAL);
    assert_int_equal(column_builder_rows(b), 1);
    column_builder_free(b);

    OK(column_builder_new(m, type_of(TYPE_SPARSE), &b, NULL));
    OK(column_builder_int(column_builder_child(b, 0), 1, NULL));
    assert_int_equal(column_builder_end_list(b, &err), TW_ERR_INTERNAL);
    assert_int_equal(column_builder_int(b, 1, &err), TW_ERR_INTERNAL);
    column_builder_free(b);

    OK(column_builder_new(m, type_vector(1 << 20), &b, NULL)); /* 4 MiB a row, in 16 MiB */
    float *wide = calloc(1 << 20, sizeof *wide);
    OK(column_builder_vector(b, wide, NULL));
    OK(column_builder_finish(b, &c, NULL));
    assert_int_equal(c.rows, 1);
    free(wide);
    column_clear(&c);
    column_builder_free(b);
    column_builder_free(NULL);
    memory_destroy(m);
}

/* Everything again under every limit that makes it fail somewhere. */
static tw_status all_at_once(memory *m, const char *type_text, tw_error *err) {
    column c, picked = {0}, nulled = {0}, sliced = {0};
    uint32_t rows[100], some[100];
    for (uint32_t i = 0; i < 100; i++) {
        rows[i] = 99 - i;
        some[i] = i % 3 ? i : UINT32_MAX;
    }
    TRY(build(m, type_text, 100, 4, 3, &c, err));
    tw_status status = column_pick(m, &c, rows, 100, &picked, err);
    if (status == TW_OK) status = column_pick(m, &c, some, 100, &nulled, err);
    if (status == TW_OK) status = column_slice(m, &c, 7, 90, &sliced, err);
    if (status == TW_OK) {
        for (uint32_t i = 0; i < 100; i++) assert_true(column_values_equal(&c, i, &picked, 99 - i));
        for (uint32_t i = 0; i < 90; i++) assert_true(column_values_equal(&c, i + 7, &sliced, i));
    } else {
        assert_null(sliced.values_buffer);
    }
    column_clear(&picked);
    column_clear(&nulled);
    column_clear(&sliced);
    column_clear(&c);
    return status;
}

static void failures_leave_nothing(void **state) {
    (void)state;
    for (int t = 0; t < N_TYPES; t++) {
        tw_status status = TW_ERR_MEMORY;
        int failures = 0;
        for (size_t limit = 0; status != TW_OK; limit += limit < 65536 ? STEP : limit / 8) {
            memory *m = memory_of(limit);
            tw_error err;
            status = all_at_once(m, all_types[t], &err);
            if (status != TW_OK) {
                assert_int_equal(status, TW_ERR_MEMORY);
                assert_int_equal(err.code, TW_ERR_MEMORY);
                failures++;
            }
            memory_destroy(m); /* asserts that nothing is left, under sanitizers */
        }
        assert_true(failures > 3);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_columns),
        cmocka_unit_test(picks_are_the_rows),
        cmocka_unit_test(slices_share_their_values),
        cmocka_unit_test(shares_outlive_what_they_come_from),
        cmocka_unit_test(too_many_items),
        cmocka_unit_test(equality_is_that_of_groups),
        cmocka_unit_test(builder_keeps_views_right_while_it_grows),
        cmocka_unit_test(builder_takes_views_of_others),
        cmocka_unit_test(builder_rewinds),
        cmocka_unit_test(builder_refuses),
        cmocka_unit_test(failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
