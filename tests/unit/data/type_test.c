#include "data/type.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void names_go_both_ways(void **state) {
    (void)state;
    static const char *const names[] = {
        "bool", "int32", "int64", "float32", "float64", "date", "timestamp", "string", "binary",
        "vector<float32, 1>", "vector<float32, 1048576>", "sparse<float32>", "list<string>",
        "list<vector<float32, 4>>", "list<list<list<list<list<list<list<list<int64>>>>>>>>",
        "list<sparse<float32>>"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[100];
        const type *t = type_parse(names[i]);
        assert_non_null(t);
        assert_string_equal(type_name(t, name, sizeof name), names[i]);
        assert_ptr_equal(type_parse(names[i]), t);
        for (size_t capacity = 1; capacity <= strlen(names[i]) + 1; capacity++) {
            char *cut = malloc(capacity);
            type_name(t, cut, capacity);
            assert_int_equal(strlen(cut), capacity - 1);
            assert_memory_equal(cut, names[i], capacity - 1);
            free(cut);
        }
    }
    assert_ptr_equal(type_parse(" vector <float32,4> "), type_vector(4));
    assert_ptr_equal(type_parse("list< int64 >"), type_list(type_of(TYPE_INT64)));
}

static void what_is_no_type(void **state) {
    (void)state;
    static const char *const names[] = {
        "", " ", "int", "int6", "int644", "Int64", "vector", "vector<>", "vector<float32>", "vector<float32, 0>",
        "vector<float32, 1048577>", "vector<float32, 99999999999999999999>", "vector<float64, 3>",
        "vector<float32, -1>", "vector<float32, 04>", "vector<float32, 4", "list", "list<", "list<>", "list<int64",
        "list<int64>>", "sparse", "sparse<int64>", "int64 int64", "string<",
        "list<list<list<list<list<list<list<list<list<int64>>>>>>>>>", "floatzz"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_null(type_parse(names[i]));
    enum { N = 100000 };
    char *deep = malloc(N * 5 + 1);
    for (int i = 0; i < N; i++) memcpy(deep + i * 5, "list<", 6);
    assert_null(type_parse(deep));
    free(deep);
}

static void parameters_are_interned(void **state) {
    (void)state;
    assert_ptr_equal(type_vector(3), type_vector(3));
    assert_ptr_not_equal(type_vector(3), type_vector(4));
    assert_null(type_vector(0));
    assert_null(type_vector(1048577));
    assert_null(type_of(TYPE_VECTOR));
    assert_null(type_of(TYPE_LIST));
    assert_null(type_of(TYPE_KINDS));
    assert_null(type_list(NULL));
    const type *t = type_of(TYPE_BOOL);
    for (int i = 0; i < 8; i++) assert_non_null(t = type_list(t));
    assert_null(type_list(t));
}

static void sizes_and_families(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t bytes;
        bool view, nested, integer, number;
    } cases[] = {
        {"bool", 1, 0, 0, 0, 0},    {"int32", 4, 0, 0, 1, 1},     {"int64", 8, 0, 0, 1, 1},
        {"float32", 4, 0, 0, 0, 1}, {"float64", 8, 0, 0, 0, 1},   {"date", 4, 0, 0, 0, 0},
        {"timestamp", 8, 0, 0, 0, 0}, {"string", 16, 1, 0, 0, 0}, {"binary", 16, 1, 0, 0, 0},
        {"vector<float32, 5>", 20, 0, 0, 0, 0}, {"sparse<float32>", 4, 0, 1, 0, 0},
        {"list<string>", 4, 0, 1, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const type *t = type_parse(cases[i].name);
        assert_int_equal(type_bytes(t), cases[i].bytes);
        assert_int_equal(type_is_view(t), cases[i].view);
        assert_int_equal(type_is_nested(t), cases[i].nested);
        assert_int_equal(type_is_integer(t), cases[i].integer);
        assert_int_equal(type_is_number(t), cases[i].number);
    }
}

static void *intern_some(void *out) {
    const type **types = out;
    for (uint32_t i = 0; i < 200; i++) types[i] = type_list(type_vector(i + 1000));
    return NULL;
}

static void threads_get_the_same(void **state) {
    (void)state;
    static const type *found[4][200];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, intern_some, found[i]);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (int i = 1; i < 4; i++) assert_memory_equal(found[i], found[0], sizeof found[0]);
    assert_non_null(found[0][199]);
}

static void schemas(void **state) {
    (void)state;
    char a[] = "a";
    const char *names[] = {a, "", "longer name"};
    const type *types[] = {type_of(TYPE_INT64), type_of(TYPE_STRING), type_vector(7)};
    schema *s, *same, *shorter, *renamed, *retyped, *none;
    assert_int_equal(schema_new(names, types, 3, &s, NULL), TW_OK);
    assert_int_equal(schema_new(names, types, 3, &same, NULL), TW_OK);
    assert_int_equal(schema_new(names, types, 2, &shorter, NULL), TW_OK);
    assert_int_equal(schema_new(NULL, NULL, 0, &none, NULL), TW_OK);
    a[0] = 'b'; /* names are copied */
    assert_int_equal(schema_new(names, types, 3, &renamed, NULL), TW_OK);
    assert_string_equal(s->fields[0].name, "a");
    types[0] = type_of(TYPE_INT32);
    names[0] = "a";
    assert_int_equal(schema_new(names, types, 3, &retyped, NULL), TW_OK);

    assert_int_equal(schema_find(s, "a"), 0);
    assert_int_equal(schema_find(s, ""), 1);
    assert_int_equal(schema_find(s, "longer name"), 2);
    assert_int_equal(schema_find(s, "longer"), -1);
    assert_int_equal(schema_find(none, "a"), -1);
    assert_true(schema_equal(s, s) && schema_equal(s, same));
    assert_false(schema_equal(s, shorter) || schema_equal(s, renamed) || schema_equal(s, retyped));
    assert_false(schema_equal(s, none));
    assert_ptr_equal(schema_ref(s), s);
    schema_unref(s);
    assert_string_equal(s->fields[2].name, "longer name");
    schema_unref(s);
    schema_unref(same);
    schema_unref(shorter);
    schema_unref(renamed);
    schema_unref(retyped);
    schema_unref(none);
    schema_unref(NULL);
}

static void types_that_meet(void **state) {
    (void)state;
    const type *i32 = type_of(TYPE_INT32), *i64 = type_of(TYPE_INT64), *f32 = type_of(TYPE_FLOAT32), *f64 = type_of(TYPE_FLOAT64);
    assert_ptr_equal(type_meeting(i32, i32), i32);
    assert_ptr_equal(type_meeting(i32, i64), i64);
    assert_ptr_equal(type_meeting(f32, f32), f32);
    assert_ptr_equal(type_meeting(i32, f32), f64);
    assert_ptr_equal(type_meeting(f64, i64), f64);
    assert_ptr_equal(type_meeting(type_vector(3), type_vector(3)), type_vector(3));
    assert_null(type_meeting(type_vector(3), type_vector(4)));
    assert_null(type_meeting(type_of(TYPE_STRING), type_of(TYPE_BINARY)));
    assert_null(type_meeting(type_of(TYPE_BOOL), i64));
    assert_null(type_meeting(type_of(TYPE_DATE), type_of(TYPE_TIMESTAMP)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_go_both_ways), cmocka_unit_test(what_is_no_type),
        cmocka_unit_test(parameters_are_interned), cmocka_unit_test(sizes_and_families),
        cmocka_unit_test(threads_get_the_same), cmocka_unit_test(types_that_meet), cmocka_unit_test(schemas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
