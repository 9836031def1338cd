/* What expressions give: every operator and function, on three rows. */
#include "expr_fixture.h"

/* Three rows of every type; the third is null but for j, t, g. */
static const struct {
    const char *name;
    type_kind kind;
    const char *values[3];
} sample[] = {
    {"i", TYPE_INT64, {"7", "-3", NULL}},
    {"j", TYPE_INT32, {"2", "0", "5"}},
    {"big", TYPE_INT64, {"9223372036854775807", "-9223372036854775808", "0"}},
    {"most", TYPE_INT32, {"2147483647", "-2147483648", "0"}},
    {"f", TYPE_FLOAT64, {"1.5", "-2.5", NULL}},
    {"g", TYPE_FLOAT32, {"0.5", "2", "4"}},
    {"z", TYPE_FLOAT64, {"nan", "inf", "-0"}},
    {"s", TYPE_STRING, {"Hello W\xc3\xb6rld, good day", "", NULL}},
    {"t", TYPE_STRING, {"hello", "  x ", "100%_a\nb"}},
    {"u", TYPE_STRING, {"12", "-7", "abc"}},
    {"b", TYPE_BOOL, {"true", "false", NULL}},
    {"d", TYPE_DATE, {"2026-01-31", "1969-12-31", NULL}},
    {"ts", TYPE_TIMESTAMP, {"2026-01-31T05:06:07.5Z", "1969-12-31T23:59:59Z", NULL}},
    {"bin", TYPE_BINARY, {"\xff\xfe", "hello", NULL}},
    {"odd `name`", TYPE_INT64, {"1", "2", "3"}},
    {"user.name", TYPE_STRING, {"ann", "bob", "cid"}},
};
enum { columns = sizeof sample / sizeof *sample };

static int set_up(void **state) {
    static fixture f;
    tw_error err;
    const char *names[columns];
    const type *types[columns];
    must(memory_create(64u << 20, &f.memory, &err), &err);
    for (int i = 0; i < columns; i++) {
        names[i] = sample[i].name;
        types[i] = type_of(sample[i].kind);
    }
    must(schema_new(names, types, columns, &f.schema, &err), &err);
    must(batch_new(f.schema, 3, &f.batch, &err), &err);
    for (int i = 0; i < columns; i++) {
        fixture_column(f.memory, types[i], sample[i].values, 3, &f.batch->columns[i]);
    }
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    batch_unref(f->batch);
    schema_unref(f->schema);
    memory_destroy(f->memory); /* every buffer must be back */
    return 0;
}

typedef struct value_case {
    const char *text, *expected;
} value_case;

static void check_cases(void **state, const value_case *cases, size_t n) {
    int wrong = 0;
    for (size_t i = 0; i < n; i++) {
        char got[4096];
        evaluate_text(*state, cases[i].text, got, sizeof got);
        if (strcmp(got, cases[i].expected) == 0) continue;
        print_error("%s\n  gives    %s\n  expected %s\n", cases[i].text, got, cases[i].expected);
        wrong++;
    }
    assert_int_equal(wrong, 0);
}
#define CHECK(cases) check_cases(state, cases, sizeof cases / sizeof *cases)

static void literals_and_columns(void **state) {
    static const value_case cases[] = {
        {"i", "int64: 7, -3, null"},
        {"`i`", "int64: 7, -3, null"},
        {"`odd ``name```", "int64: 1, 2, 3"},
        {"user.name", "string: 'ann', 'bob', 'cid'"},
        {"s", "string: 'Hello W\xc3\xb6rld, good day', '', null"},
        {"1", "int64: 1, 1, 1"},
        {"-9223372036854775808", "int64: -9223372036854775808, -9223372036854775808, -9223372036854775808"},
        {"1.5e3", "float64: 1500, 1500, 1500"},
        {".5", "float64: 0.5, 0.5, 0.5"},
        {"'it''s'", "string: 'it's', 'it's', 'it's'"},
        {"'a long text of more than twelve bytes'",
         "string: 'a long text of more than twelve bytes', 'a long text of more than twelve bytes', "
         "'a long text of more than twelve bytes'"},
        {"true", "bool: true, true, true"},
        {"null", "string: null, null, null"},
        {" ( i ) ", "int64: 7, -3, null"},
    };
    CHECK(cases);
}

static void arithmetic(void **state) {
    static const value_case cases[] = {
        {"i + 1", "int64: 8, -2, null"},
        {"1 - i", "int64: -6, 4, null"},
        {"i * j", "int64: 14, 0, null"},
        {"j + j", "int32: 4, 0, 10"},
        {"most + most", "int32: bad integer overflow, bad integer overflow, 0"},
        {"most * j", "int32: bad integer overflow, 0, 0"},
        {"most + 1", "int64: 2147483648, -2147483647, 1"},
        {"-most", "int32: -2147483647, bad integer overflow, 0"},
        {"big + 1", "int64: bad integer overflow, -9223372036854775807, 1"},
        {"big - 1", "int64: 9223372036854775806, bad integer overflow, -1"},
        {"big * 2", "int64: bad integer overflow, bad integer overflow, 0"},
        {"big * -1", "int64: -9223372036854775807, bad integer overflow, 0"},
        {"-big", "int64: -9223372036854775807, bad integer overflow, 0"},
        {"abs(big)", "int64: 9223372036854775807, bad integer overflow, 0"},
        {"big // -1", "int64: -9223372036854775807, bad integer overflow, 0"},
        {"big % -1", "int64: 0, 0, 0"},
        {"big // 10", "int64: 922337203685477580, -922337203685477580, 0"},
        {"i / j", "float64: 3.5, bad division by zero, null"},
        {"i // j", "int64: 3, bad division by zero, null"},
        {"i % j", "int64: 1, bad division by zero, null"},
        {"i // 2", "int64: 3, -1, null"},
        {"i % 2", "int64: 1, -1, null"},
        {"-7 // 2", "int64: -3, -3, -3"},
        {"-7 % 2", "int64: -1, -1, -1"},
        {"7 / 2", "float64: 3.5, 3.5, 3.5"},
        {"1 / 0", "float64: bad division by zero, bad division by zero, bad division by zero"},
        {"1 // 0", "int64: bad division by zero, bad division by zero, bad division by zero"},
        {"1.0 / (j - j)", "float64: bad division by zero, bad division by zero, bad division by zero"},
        {"i + f", "float64: 8.5, -5.5, null"},
        {"g + g", "float32: 1, 4, 8"},
        {"g * 1.5", "float64: 0.75, 3, 6"},
        {"j * g", "float64: 1, 0, 20"},
        {"f // 1", "float64: 1, -2, null"},
        {"f % 1", "float64: 0.5, -0.5, null"},
        {"f / 0", "float64: bad division by zero, bad division by zero, null"},
        {"i + null", "int64: null, null, null"},
        {"-i", "int64: -7, 3, null"},
        {"- -i", "int64: 7, -3, null"},
        {"2 + 3 * 4 - 1", "int64: 13, 13, 13"},
        {"(2 + 3) * 4", "int64: 20, 20, 20"},
        {"10 - 4 - 3", "int64: 3, 3, 3"},
        {"-j * 2", "int64: -4, 0, -10"},
        {"(i + 1) * (i + 1)", "int64: 64, 4, null"},
        {"(i // j) + (i // j)", "int64: 6, bad division by zero, null"},
        {"9223372036854775807 + 1",
         "int64: bad integer overflow, bad integer overflow, bad integer overflow"},
    };
    CHECK(cases);
}

static void comparisons(void **state) {
    static const value_case cases[] = {
        {"i > 1", "bool: true, false, null"},
        {"1 < i", "bool: true, false, null"},
        {"i == 7", "bool: true, false, null"},
        {"i != 7", "bool: false, true, null"},
        {"j >= 2", "bool: true, false, true"},
        {"j <= 2", "bool: true, true, false"},
        {"j == 5000000000", "bool: false, false, false"},
        {"j < 5000000000", "bool: true, true, true"},
        {"i > 6.5", "bool: true, false, null"},
        {"i >= 7.0", "bool: true, false, null"},
        {"i < 7.5", "bool: true, true, null"},
        {"i == 6.5", "bool: false, false, null"},
        {"i != 6.5", "bool: true, true, null"},
        {"i < 1e30", "bool: true, true, null"},
        {"i > -1e30", "bool: true, true, null"},
        {"i == 1e30", "bool: false, false, null"},
        {"i != 1e30", "bool: true, true, null"},
        {"big == 9223372036854775807.0", "bool: false, false, false"},
        {"g == 0.5", "bool: true, false, false"},
        {"g > 1", "bool: false, true, true"},
        {"g == 0.1", "bool: false, false, false"},
        {"f < i", "bool: true, false, null"},
        {"z == z", "bool: false, true, true"},
        {"z != z", "bool: true, false, false"},
        {"z < 1", "bool: false, false, true"},
        {"z == 0", "bool: false, false, true"},
        {"t == 'hello'", "bool: true, false, false"},
        {"t != 'hello'", "bool: false, true, true"},
        {"'hello' == t", "bool: true, false, false"},
        {"s == 'Hello W\xc3\xb6rld, good day'", "bool: true, false, null"},
        {"s == 'Hello W\xc3\xb6rld, good dax'", "bool: false, false, null"},
        {"t < 'help'", "bool: true, true, true"},
        {"t >= 'hello'", "bool: true, false, false"},
        {"'hello' < t", "bool: false, false, false"},
        {"s <= t", "bool: true, true, null"},
        {"bin == t", "bool: false, false, null"},
        {"bin > t", "bool: true, true, null"},
        {"b == true", "bool: true, false, null"},
        {"b < true", "bool: false, true, null"},
        {"d == '2026-01-31'", "bool: true, false, null"},
        {"d >= '2026-01-31T00:00:01'", "bool: false, false, null"},
        {"'2000-01-01' < ts", "bool: true, false, null"},
        {"ts > d", "bool: true, true, null"},
        {"ts == '2026-01-31 05:06:07.5'", "bool: true, false, null"},
        {"i == null", "bool: null, null, null"},
        {"null == null", "bool: null, null, null"},
    };
    CHECK(cases);
}

static void logic(void **state) {
    static const value_case cases[] = {
        {"b and true", "bool: true, false, null"},
        {"b and false", "bool: false, false, false"},
        {"b or true", "bool: true, true, true"},
        {"b or null", "bool: true, null, null"},
        {"b and null", "bool: null, false, null"},
        {"null and b", "bool: null, false, null"},
        {"not b", "bool: false, true, null"},
        {"not not b", "bool: true, false, null"},
        {"not null", "bool: null, null, null"},
        {"not i > 1 and b", "bool: false, false, null"},
        {"b or i < 0 and j == 0", "bool: true, true, null"},
        {"j != 0 and 10 / j > 1", "bool: true, false, true"},
        {"j == 0 or 10 / j > 1", "bool: true, true, true"},
        {"10 / j > 1 and j != 0", "bool: true, bad division by zero, true"},
        {"i is null", "bool: false, false, true"},
        {"i is not null", "bool: true, true, false"},
        {"i + 1 is null", "bool: false, false, true"},
        {"null is null", "bool: true, true, true"},
        {"1 is null", "bool: false, false, false"},
        {"i in (1, 7)", "bool: true, false, null"},
        {"i not in (1, 7)", "bool: false, true, null"},
        {"i in (7, null)", "bool: true, null, null"},
        {"i in (j + 5, 0)", "bool: true, false, null"},
        {"j in (2.0, 5.5)", "bool: true, false, false"},
        {"i in (1, 2, 3, 4, 5, 6, 7, 8, 9.0, 10.5)", "bool: true, false, null"},
        {"i in (1, 2, 3, 4, 5, 6, 8, 9, 10, null)", "bool: null, null, null"},
        {"j in (1, 2, 3, 4, 6, 7, 8, 9, 10, null)", "bool: true, null, null"},
        {"f in (1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10)", "bool: true, false, null"},
        {"z in (0.0, 2, 3, 4, 5, 6, 7, 8, 9, float64('nan'))", "bool: false, false, true"},
        {"t in ('hello', 'b', 'c')", "bool: true, false, false"},
        {"t in ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'hello', 'a rather long text')",
         "bool: true, false, false"},
        {"d in ('2026-01-31')", "bool: true, false, null"},
        {"d in ('2026-01-31','2026-01-30','2026-01-29','2026-01-28','2026-01-27','2026-01-26',"
         "'2026-01-25','2026-01-24','2026-01-23')",
         "bool: true, false, null"},
#define MANY "100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, "
        {"i in (" MANY "1, 2, 3, 4, 5, 6, 7, 8, 9.0, 10.5)", "bool: true, false, null"},
        {"i in (" MANY "1, 2, 3, 4, 5, 6, 8, 9, 10, null)", "bool: null, null, null"},
        {"j in (" MANY "1, 2, 3, 4, 6, 7, 8, 9, 10, null)", "bool: true, null, null"},
        {"j not in (" MANY "1, 2, 3, 4, 6, 7, 8, 9, 10, 1e300)", "bool: false, true, true"},
        {"f in (" MANY "1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10)", "bool: true, false, null"},
        {"z in (" MANY "0.0, 2, 3, 4, 5, 6, 7, 8, 9, float64('nan'))", "bool: false, false, true"},
        {"g in (" MANY "0.5, 2.25, 3, 4, 5, 6, 7, 8, 9, 0.1)", "bool: true, false, true"},
#define DAYS "'2025-01-01','2025-01-02','2025-01-03','2025-01-04','2025-01-05','2025-01-06','2025-01-07'," \
    "'2025-01-08','2025-01-09','2025-01-10','2025-01-11','2025-01-12','2025-01-13','2025-01-14'," \
    "'2025-01-15','2025-01-16','2025-01-17','2025-01-18','2025-01-19','2025-01-20','2025-01-21'," \
    "'2025-01-22','2025-01-23','2025-01-24',"
        {"d in (" DAYS "'2026-01-31')", "bool: true, false, null"},
        {"d in (" DAYS "'2026-01-31T00:00:00Z')", "bool: true, false, null"},
        {"ts in (" DAYS "'1969-12-31T23:59:59Z')", "bool: false, true, null"},
        {"t in ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'hello', 'a rather long text')",
         "bool: true, false, false"},
        {"(j in (j, 1 / 0 > 0)) is null", "4: operator '==' does not take int32 and bool"},
    };
    CHECK(cases);
}

static void choices(void **state) {
    static const value_case cases[] = {
        {"if(b, i, j)", "int64: 7, 0, 5"},
        {"if(b, 'yes', 'a no of more than twelve')",
         "string: 'yes', 'a no of more than twelve', 'a no of more than twelve'"},
        {"if(j == 0, 0, 10 // j)", "int64: 5, 0, 2"},
        {"if(j != 0, 10 // j, 0)", "int64: 5, 0, 2"},
        {"if(b, s, t)", "string: 'Hello W\xc3\xb6rld, good day', '  x ', '100%_a\nb'"},
        {"if(b, null, j)", "int32: null, 0, 5"},
        {"if(null, 1, 2)", "int64: 2, 2, 2"},
        {"if(true, i, 1 // 0)", "int64: 7, -3, null"},
        {"if(b, j, 1)", "int32: 2, 1, 1"},
        {"if(b, j, 5000000000)", "int64: 2, 5000000000, 5000000000"},
        {"if(b, g, 0.25)", "float32: 0.5, 0.25, 0.25"},
        {"if(b, b, false)", "bool: true, false, false"},
        {"if(b, d, '2000-01-01')", "date: 2026-01-31, 2000-01-01, 2000-01-01"},
        {"if(b, t, bin)", "binary: 'hello', 'hello', null"},
        {"coalesce(i, j)", "int64: 7, -3, 5"},
        {"coalesce(i, 10 // j)", "int64: 7, -3, 2"},
        {"coalesce(null, i, f, 0)", "float64: 7, -3, 0"},
        {"coalesce(s, 'none at all, really')", "string: 'Hello W\xc3\xb6rld, good day', '', 'none at all, really'"},
        {"coalesce(b, true)", "bool: true, false, true"},
        {"coalesce(i)", "int64: 7, -3, null"},
        {"coalesce(1, i // 0)", "int64: 1, 1, 1"},
        {"least(i, j)", "int64: 2, -3, null"},
        {"greatest(i, j, 5)", "int64: 7, 5, null"},
        {"least(f, 0)", "float64: 0, -2.5, null"},
        {"least(z, 1)", "float64: 1, 1, -0"},
        {"greatest(z, 1)", "float64: nan, inf, 1"},
        {"least(t, 'b')", "string: 'b', '  x ', '100%_a\nb'"},
        {"greatest(d, '2000-01-01')", "date: 2026-01-31, 2000-01-01, null"},
        {"greatest(b, false)", "bool: true, false, null"},
        {"greatest(i)", "int64: 7, -3, null"},
        {"if(b, 10 // j, 0) + if(b, 0, j)", "int64: 5, 0, 5"},
        {"if(b, if(j == 2, j, 100 + j), if(j == 2, j, 100 + j))", "int64: 2, 100, 105"},
        {"if(j > 50, i * j + 1, i) - if(j >= 0, i * j + 1, 0)", "int64: -8, -4, null"},
        {"coalesce(t, lower(s), concat(if(b, 'x', s), '!'))", "string: 'hello', '  x ', '100%_a\nb'"},
        {"coalesce(u, null, lower(if(b, 'x', u)))", "string: '12', '-7', 'abc'"},
        {"if(i > 0, i + 1, i - 1) + if(i > 0, i + 1, 0)", "int64: 16, -4, null"},
    };
    CHECK(cases);
}

static void texts(void **state) {
    static const value_case cases[] = {
        {"lower(s)", "string: 'hello w\xc3\xb6rld, good day', '', null"},
        {"upper(s)", "string: 'HELLO W\xc3\x96RLD, GOOD DAY', '', null"},
        {"upper(t)", "string: 'HELLO', '  X ', '100%_A\nB'"},
        {"upper('stra\xc3\x9f" "e')", "string: 'STRASSE', 'STRASSE', 'STRASSE'"},
        {"lower('ABCXYZ@[`{az')", "string: 'abcxyz@[`{az', 'abcxyz@[`{az', 'abcxyz@[`{az'"},
        {"trim(t)", "string: 'hello', 'x', '100%_a\nb'"},
        {"trim('   a text longer than twelve  ')",
         "string: 'a text longer than twelve', 'a text longer than twelve', 'a text longer than twelve'"},
        {"length(s)", "int64: 21, 0, null"},
        {"length(t)", "int64: 5, 4, 8"},
        {"length(bin)", "int64: 2, 5, null"},
        {"substr(s, 7, 5)", "string: 'W\xc3\xb6rld', '', null"},
        {"substr(s, 8)", "string: '\xc3\xb6rld, good day', '', null"},
        {"substr(t, 0, 3)", "string: 'he', '  ', '10'"},
        {"substr(t, -5, 3)", "string: '', '', ''"},
        {"substr(t, 2, -1)", "string: '', '', ''"},
        {"substr(t, j)", "string: 'ello', '  x ', '_a\nb'"},
        {"substr(t, 1, 9223372036854775807)", "string: 'hello', '  x ', '100%_a\nb'"},
        {"substr(t, 9223372036854775807, 9223372036854775807)", "string: '', '', ''"},
        {"substr(t, -9223372036854775808, 3)", "string: '', '', ''"},
        {"replace(t, 'l', 'LL')", "string: 'heLLLLo', '  x ', '100%_a\nb'"},
        {"replace(s, 'o', '')", "string: 'Hell W\xc3\xb6rld, gd day', '', null"},
        {"replace(t, '', 'x')", "string: 'hello', '  x ', '100%_a\nb'"},
        {"replace('aaa', 'aa', 'b')", "string: 'ba', 'ba', 'ba'"},
        {"contains(t, 'l')", "bool: true, false, false"},
        {"contains(s, '')", "bool: true, true, null"},
        {"starts_with(t, 'he')", "bool: true, false, false"},
        {"starts_with(t, 'hello!')", "bool: false, false, false"},
        {"starts_with(s, 'Hello W')", "bool: true, false, null"},
        {"starts_with(t, user.name)", "bool: false, false, false"},
        {"ends_with(t, 'lo')", "bool: true, false, false"},
        {"ends_with(s, 'good day')", "bool: true, false, null"},
        {"contains(bin, 'ell')", "bool: false, true, null"},
        {"concat(t, '!')", "string: 'hello!', '  x !', '100%_a\nb!'"},
        {"concat(s, ' and ', t)", "string: 'Hello W\xc3\xb6rld, good day and hello', ' and   x ', null"},
        {"concat(j, ':', f, b)", "string: '2:1.5true', '0:-2.5false', null"},
        {"concat('a','b','c','d','e','f','g','h','i','j','k','l','m','n','o','p','q','r')",
         "string: 'abcdefghijklmnopqr', 'abcdefghijklmnopqr', 'abcdefghijklmnopqr'"},
        {"trim(concat(s, ' and more '))",
         "string: 'Hello W\xc3\xb6rld, good day and more', 'and more', null"},
        {"if(b, substr(concat(s, '.'), 1), 'a constant of many bytes')",
         "string: 'Hello W\xc3\xb6rld, good day.', 'a constant of many bytes', 'a constant of many bytes'"},
        {"concat(t, null)", "string: null, null, null"},
        {"length(lower(trim(concat(t, ' '))))", "int64: 5, 1, 8"},
    };
    CHECK(cases);
}

static void patterns(void **state) {
    static const value_case cases[] = {
        {"t like 'hello'", "bool: true, false, false"},
        {"t like 'h%'", "bool: true, false, false"},
        {"t like '%o'", "bool: true, false, false"},
        {"t like '%ll%'", "bool: true, false, false"},
        {"t like 'h_llo'", "bool: true, false, false"},
        {"t like 'H%'", "bool: false, false, false"},
        {"t like '%'", "bool: true, true, true"},
        {"t like ''", "bool: false, false, false"},
        {"t like '100%b'", "bool: false, false, true"},
        {"t like '_%_'", "bool: true, true, true"},
        {"t like '%l%l%'", "bool: true, false, false"},
        {"t like '%l%l%l%'", "bool: false, false, false"},
        {"t like 'hel%llo'", "bool: false, false, false"},
        {"t not like 'h%'", "bool: false, true, true"},
        {"s like 'Hello W_rld%'", "bool: true, false, null"},
        {"s like '%W_rl_, g%_%y'", "bool: true, false, null"},
        {"bin like 'h__lo'", "bool: false, true, null"},
        {"bin like '__'", "bool: true, false, null"},
        {"t like concat(substr(t, 1, 1), '%')", "bool: true, true, true"},
        {"t like null", "bool: null, null, null"},
        {"'\xe2\x82\xac' like '_'", "bool: true, true, true"},
        {"'\xe2\x82\xac' like '%__'", "bool: false, false, false"},
        {"matches(t, 'l+')", "bool: true, false, false"},
        {"matches(t, '^[0-9]+%')", "bool: false, false, true"},
        {"matches(t, '^\\s')", "bool: false, true, false"},
        {"matches(s, 'W.rld')", "bool: true, false, null"},
        {"matches(s, '(?i)hello')", "bool: true, false, null"},
        {"matches(bin, '^..$')", "bool: true, false, null"},
        {"matches('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!', '^(a+)+$')",
         "bool: bad the regular expression takes too long on this text, "
         "bad the regular expression takes too long on this text, "
         "bad the regular expression takes too long on this text"},
    };
    CHECK(cases);
}

static void numbers(void **state) {
    static const value_case cases[] = {
        {"abs(i)", "int64: 7, 3, null"},
        {"abs(f)", "float64: 1.5, 2.5, null"},
        {"round(f)", "float64: 2, -3, null"},
        {"round(i)", "int64: 7, -3, null"},
        {"round(0.49999999999999994)", "float64: 0, 0, 0"},
        {"round(1234.567, 2)", "float64: 1234.57, 1234.57, 1234.57"},
        {"round(1234.567, -2)", "float64: 1200, 1200, 1200"},
        {"round(1250, -2)", "int64: 1300, 1300, 1300"},
        {"round(-1250, -2)", "int64: -1300, -1300, -1300"},
        {"round(big, -1)", "int64: bad integer overflow, bad integer overflow, 0"},
        {"round(big, -19)", "int64: bad integer overflow, bad integer overflow, 0"},
        {"round(big, -30)", "int64: 0, 0, 0"},
        {"round(most, -1)", "int32: bad integer overflow, bad integer overflow, 0"},
        {"round(g, 400)", "float32: 0.5, 2, 4"},
        {"floor(f)", "float64: 1, -3, null"},
        {"ceil(f)", "float64: 2, -2, null"},
        {"floor(g)", "float32: 0, 2, 4"},
        {"sqrt(j + 2)", "float64: 2, 1.4142135623730951, 2.6457513110645907"},
        {"sqrt(-1)", "float64: nan, nan, nan"},
        {"exp(0)", "float64: 1, 1, 1"},
        {"ln(1)", "float64: 0, 0, 0"},
        {"ln(0)", "float64: -inf, -inf, -inf"},
        {"log10(1000)", "float64: 3, 3, 3"},
        {"pow(j, 2)", "float64: 4, 0, 25"},
        {"pow(2, j)", "float64: 4, 1, 32"},
        {"hash(i) == hash(i + 0)", "bool: true, true, null"},
        {"hash(j) == hash(int64(j))", "bool: true, true, true"},
        {"hash(i, t) == hash(t, i)", "bool: false, false, null"},
        {"hash(b, s) >= 0", "bool: true, true, null"},
        {"hash(1, 'a') == hash(int32(1), 'a')", "bool: true, true, true"},
    };
    CHECK(cases);
}

static void times(void **state) {
    static const value_case cases[] = {
        {"year(d)", "int64: 2026, 1969, null"},
        {"month(d)", "int64: 1, 12, null"},
        {"day(d)", "int64: 31, 31, null"},
        {"hour(d)", "int64: 0, 0, null"},
        {"year(ts)", "int64: 2026, 1969, null"},
        {"month(ts)", "int64: 1, 12, null"},
        {"day(ts)", "int64: 31, 31, null"},
        {"hour(ts)", "int64: 5, 23, null"},
        {"hour('2026-01-31T17:00:00Z')", "int64: 17, 17, 17"},
        {"d - '2026-01-01'", "int64: 30, -20455, null"},
        {"d + 1", "date: 2026-02-01, 1970-01-01, null"},
        {"1 + d", "date: 2026-02-01, 1970-01-01, null"},
        {"d - j", "date: 2026-01-29, 1969-12-31, null"},
        {"d + 9999999999", "date: bad the value does not fit date, bad the value does not fit date, null"},
        {"ts - ts", "int64: 0, 0, null"},
        {"ts - d", "int64: 18367500000, 86399000000, null"},
        {"ts + 1000000", "timestamp: 2026-01-31T05:06:08.5Z, 1970-01-01T00:00:00Z, null"},
        {"date(ts)", "date: 2026-01-31, 1969-12-31, null"},
        {"timestamp(d)", "timestamp: 2026-01-31T00:00:00Z, 1969-12-31T00:00:00Z, null"},
        {"timestamp(date(most)) is null",
         "bool: bad the value does not fit timestamp, bad the value does not fit timestamp, false"},
        {"int64(d)", "int64: 20484, -1, null"},
        {"int64(ts)", "int64: 1769835967500000, -1000000, null"},
    };
    CHECK(cases);
}

static void casts(void **state) {
    static const value_case cases[] = {
        {"int64(u)", "int64: 12, -7, bad the text is no int64"},
        {"int32(u)", "int32: 12, -7, bad the text is no int32"},
        {"float64(u)", "float64: 12, -7, bad the text is no float64"},
        {"float32(u)", "float32: 12, -7, bad the text is no float32"},
        {"bool(u)", "bool: bad the text is no bool, bad the text is no bool, bad the text is no bool"},
        {"bool('true')", "bool: true, true, true"},
        {"date(u)", "date: bad the text is no date, bad the text is no date, bad the text is no date"},
        {"date('2026-01-31')", "date: 2026-01-31, 2026-01-31, 2026-01-31"},
        {"timestamp('2026-01-31')",
         "timestamp: 2026-01-31T00:00:00Z, 2026-01-31T00:00:00Z, 2026-01-31T00:00:00Z"},
        {"int64(f)", "int64: 1, -2, null"},
        {"int64(z)", "int64: bad the value does not fit int64, bad the value does not fit int64, 0"},
        {"int32(big)", "int32: bad the value does not fit int32, bad the value does not fit int32, 0"},
        {"int32(f)", "int32: 1, -2, null"},
        {"int32(2147483648.5)", "int32: bad the value does not fit int32, bad the value does not fit int32, bad the value does not fit int32"},
        {"int32(-2147483648.5)", "int32: -2147483648, -2147483648, -2147483648"},
        {"float32(1e300)", "float32: bad the value does not fit float32, bad the value does not fit float32, bad the value does not fit float32"},
        {"float32(z)", "float32: nan, inf, -0"},
        {"float64(g)", "float64: 0.5, 2, 4"},
        {"int64(b)", "int64: 1, 0, null"},
        {"float32(b)", "float32: 1, 0, null"},
        {"bool(j)", "bool: true, false, true"},
        {"bool(f)", "bool: true, true, null"},
        {"string(i)", "string: '7', '-3', null"},
        {"string(big)", "string: '9223372036854775807', '-9223372036854775808', '0'"},
        {"string(f)", "string: '1.5', '-2.5', null"},
        {"string(g)", "string: '0.5', '2', '4'"},
        {"string(b)", "string: 'true', 'false', null"},
        {"string(d)", "string: '2026-01-31', '1969-12-31', null"},
        {"string(ts)", "string: '2026-01-31T05:06:07.5Z', '1969-12-31T23:59:59Z', null"},
        {"string(bin)", "string: bad the bytes are not UTF-8, 'hello', null"},
        {"length(string(bin))", "int64: bad the bytes are not UTF-8, 5, null"},
        {"binary(t)", "binary: 'hello', '  x ', '100%_a\nb'"},
        {"date(0)", "date: 1970-01-01, 1970-01-01, 1970-01-01"},
        {"timestamp(0)", "timestamp: 1970-01-01T00:00:00Z, 1970-01-01T00:00:00Z, 1970-01-01T00:00:00Z"},
        {"int64(null)", "int64: null, null, null"},
        {"string(1)", "string: '1', '1', '1'"},
        {"if(matches(u, '^-?[0-9]+$'), int64(u), 0)", "int64: 12, -7, 0"},
        {"int64(if(u == 'abc', null, u))", "int64: 12, -7, null"},
    };
    CHECK(cases);
}

static void which_columns(void *context, uint32_t column_index) {
    *(uint64_t *)context |= 1ull << column_index;
}

static void columns_that_are_read(void **state) {
    const fixture *f = *state;
    tw_error err;
    expr *e;
    uint64_t seen = 0;
    must(expr_compile("if(i > 0, i + j, 0) + if(false, j, 1)", f->schema, &e, &err), &err);
    expr_columns(e, which_columns, &seen);
    assert_int_equal(seen, 3);
    assert_int_equal(expr_is_column(e), -1);
    expr_free(e);
    must(expr_compile("(t)", f->schema, &e, &err), &err);
    assert_int_equal(expr_is_column(e), 8);
    assert_ptr_equal(expr_type(e), type_of(TYPE_STRING));
    expr_free(e);
    expr_free(NULL);
    expr_scratch_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_and_columns), cmocka_unit_test(arithmetic),
        cmocka_unit_test(comparisons),          cmocka_unit_test(logic),
        cmocka_unit_test(choices),              cmocka_unit_test(texts),
        cmocka_unit_test(patterns),             cmocka_unit_test(numbers),
        cmocka_unit_test(times),                cmocka_unit_test(casts),
        cmocka_unit_test(columns_that_are_read),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
