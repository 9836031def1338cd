#include "data/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define OK(call) assert_int_equal(call, TW_OK)
#define MIB ((size_t)1 << 20)

static memory *memory_of(size_t bytes) {
    memory *m;
    OK(memory_create(bytes, &m, NULL));
    return m;
}

/* `a` counts up from 0, `b` is its text (long from 1000 on), null for every fifth. */
static tw_status make(memory *m, uint32_t rows, batch **out, tw_error *err) {
    static const char *const names[] = {"a", "b"};
    const type *types[] = {type_of(TYPE_INT64), type_of(TYPE_STRING)};
    schema *s;
    column_builder *b;
    TRY(schema_new(names, types, 2, &s, err));
    tw_status status = batch_new(s, rows, out, err);
    schema_unref(s);
    if (status != TW_OK) return status;
    column *c = (*out)->columns;
    status = column_new(m, types[0], rows, &c[0], err);
    for (uint32_t i = 0; status == TW_OK && i < rows; i++) ((int64_t *)c[0].values)[i] = i;
    if (status == TW_OK && (status = column_builder_new(m, types[1], &b, err)) == TW_OK) {
        for (uint32_t i = 0; i < rows && status == TW_OK; i++)
            status = i % 5 ? column_builder_bytes(b, "text that does not fit a view", 8 + i % 20, err)
                           : column_builder_null(b, err);
        if (status == TW_OK) status = column_builder_finish(b, &c[1], err);
        column_builder_free(b);
    }
    if (status == TW_OK) status = origin_new("some/file.csv", 11, &(*out)->origin, err);
    if (status != TW_OK) batch_unref(*out);
    return status;
}

static void check_rows(const batch *got, const batch *from, const uint32_t *rows) {
    for (uint32_t c = 0; c < 2; c++) {
        assert_int_equal(got->columns[c].rows, got->rows);
        for (uint32_t i = 0; i < got->rows; i++)
            assert_true(column_values_equal(&got->columns[c], i, &from->columns[c], rows[i]));
    }
}

static void check_place(const batch *b, uint32_t row, uint64_t record) {
    tw_error err = {.record = 99};
    batch_place(b, row, &err);
    assert_int_equal(err.record, record);
    assert_string_equal(err.file, record == 99 ? "" : "some/file.csv");
}

static uint64_t hundred_before(const origin *o) { return o->split * 100; }

static void picks_and_slices_know_their_place(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    batch *b, *p, *q, *s, *t;
    OK(make(m, 500, &b, NULL));
    b->position = 7000;
    check_place(b, 0, 11);
    check_place(b, 499, 510);
    check_place(b, 500, 99); /* no such row */

    buffer *rows_buffer;
    uint32_t rows[200], twice[50], iota[200];
    OK(buffer_new(m, MEMORY_FLOW, sizeof rows, &rows_buffer, NULL));
    for (uint32_t i = 0; i < 200; i++) rows[i] = 3 + i * 2;
    memcpy(rows_buffer->data, rows, sizeof rows);
    OK(batch_pick(m, b, (uint32_t *)(void *)rows_buffer->data, rows_buffer, 200, &p, NULL));
    assert_int_equal(p->rows, 200);
    assert_int_equal(p->position, 7003);
    assert_ptr_equal(p->origin_rows, rows_buffer); /* not copied */
    assert_ptr_equal(p->origin, b->origin);
    buffer_unref(rows_buffer);
    check_rows(p, b, rows);
    for (uint32_t i = 0; i < 200; i++) check_place(p, i, 11 + rows[i]);

    /* A pick of a pick, with a row of none. */
    for (uint32_t i = 0; i < 50; i++) twice[i] = 199 - i * 3;
    twice[7] = UINT32_MAX;
    OK(batch_pick(m, p, twice, NULL, 50, &q, NULL));
    assert_int_equal(q->position, 7003 + 199);
    for (uint32_t i = 0; i < 50; i++) check_place(q, i, i == 7 ? 99 : 11 + rows[twice[i]]);
    assert_false(column_is_valid(&q->columns[0], 7));
    assert_int_equal(((int64_t *)q->columns[0].values)[8], rows[twice[8]]);

    /* A slice of that, and of the first. */
    OK(batch_slice(m, q, 5, 10, &s, NULL));
    for (uint32_t i = 0; i < 10; i++) {
        check_place(s, i, i == 2 ? 99 : 11 + rows[twice[i + 5]]);
        iota[i] = i + 5;
    }
    check_rows(s, q, iota);
    batch_unref(s);
    OK(batch_slice(m, b, 100, 200, &t, NULL));
    assert_int_equal(t->position, 7100);
    for (uint32_t i = 0; i < 200; i++) iota[i] = i + 100;
    check_rows(t, b, iota);
    check_place(t, 3, 114);
    b->origin->records_before = hundred_before;
    b->origin->split = 4;
    check_place(t, 3, 514);
    batch_unref(t);
    OK(batch_slice(m, q, 0, 5, &t, NULL));
    check_place(t, 4, 411 + rows[twice[4]]);
    batch_unref(t);
    OK(batch_slice(m, b, 0, 500, &t, NULL));
    assert_ptr_equal(t, b);
    batch_unref(t);

    /* Without an origin there is no place. */
    origin_unref(b->origin);
    b->origin = NULL;
    check_place(b, 3, 99);
    OK(batch_pick(m, b, rows, NULL, 200, &t, NULL));
    check_place(t, 3, 99);
    assert_null(t->origin_rows);
    batch_unref(b);
    for (uint32_t i = 0; i < 200; i++) iota[i] = i; /* picked columns outlive what they come from */
    check_rows(p, t, iota);
    batch_unref(t);
    batch_unref(p);
    batch_unref(q);
    batch_unref(NULL);
    memory_destroy(m);
}

static void bytes_count_each_buffer_once(void **state) {
    (void)state;
    memory *m = memory_of(16 * MIB);
    batch *b, *whole;
    OK(make(m, 1000, &b, NULL));
    size_t alone = batch_bytes(b);
    const column *c = b->columns;
    assert_int_equal(alone, c[0].values_buffer->size + c[1].values_buffer->size + c[1].valid_buffer->size +
                                c[1].heap->size);
    assert_int_equal(c[0].values_buffer->size, 8000);
    assert_int_equal(c[1].values_buffer->size, 16000);
    assert_true(c[1].heap->size > 5000 && c[1].heap->size < 40000);

    OK(batch_new(b->schema, 1000, &whole, NULL));
    column_share(&b->columns[1], &whole->columns[0]);
    column_share(&b->columns[1], &whole->columns[1]);
    assert_int_equal(batch_bytes(whole), alone - 8000);
    batch_unref(whole);
    batch_unref(b);
    memory_destroy(m);
}

static void origins(void **state) {
    (void)state;
    origin *o;
    OK(origin_new(NULL, 3, &o, NULL));
    assert_string_equal(o->file, "");
    assert_ptr_equal(origin_ref(o), o);
    origin_unref(o);
    assert_int_equal(o->first_record, 3);
    origin_unref(o);
    origin_unref(NULL);
    assert_null(origin_ref(NULL));
}

static tw_status all_at_once(memory *m, tw_error *err) {
    batch *b, *p = NULL, *q = NULL, *s = NULL;
    uint32_t rows[60];
    for (uint32_t i = 0; i < 60; i++) rows[i] = i % 7 ? 59 - i : UINT32_MAX;
    TRY(make(m, 100, &b, err));
    tw_status status = batch_pick(m, b, rows, NULL, 60, &p, err);
    if (status == TW_OK) status = batch_pick(m, p, rows, NULL, 60, &q, err);
    if (status == TW_OK) status = batch_slice(m, p, 3, 50, &s, err);
    if (status != TW_OK) assert_null(s);
    batch_unref(b);
    batch_unref(p);
    batch_unref(q);
    batch_unref(s);
    return status;
}

static void failures_leave_nothing(void **state) {
    (void)state;
    tw_status status = TW_ERR_MEMORY;
    int failures = 0;
    for (size_t limit = 128; status != TW_OK; limit += limit < 65536 ? 128 : limit / 8, failures++) {
        memory *m = memory_of(limit);
        tw_error err;
        status = all_at_once(m, &err);
        if (status != TW_OK) assert_int_equal(err.code, TW_ERR_MEMORY);
        memory_destroy(m); /* asserts that nothing is left, under sanitizers */
    }
    assert_true(failures > 3);
}

static void views(void **state) {
    (void)state;
    static const char *const texts[] = {"", "a", "aa", "ab", "abcdefghijkl", "abcdefghijklm", "abcdefghijkn",
                                        "abcdefghijlm", "b", "\xff"};
    enum { N = sizeof texts / sizeof *texts };
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            view a = view_make((const uint8_t *)texts[i], (uint32_t)strlen(texts[i]));
            view b = view_make((const uint8_t *)texts[j], (uint32_t)strlen(texts[j]));
            assert_int_equal(view_equal(&a, &b), i == j);
            int order = view_compare(&a, &b);
            assert_int_equal((order > 0) - (order < 0), (i > j) - (i < j));
        }
    }
    char copy[] = "abcdefghijklm"; /* elsewhere, the same */
    view a = view_make((const uint8_t *)texts[5], 13), b = view_make((const uint8_t *)copy, 13);
    assert_true(view_equal(&a, &b));
    copy[12] = 'x';
    assert_false(view_equal(&a, &b));
    assert_true(view_compare(&a, &b) < 0);
    a = view_make(NULL, 0);
    assert_int_equal(a.size, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views),
        cmocka_unit_test(picks_and_slices_know_their_place),
        cmocka_unit_test(bytes_count_each_buffer_once),
        cmocka_unit_test(origins),
        cmocka_unit_test(failures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
