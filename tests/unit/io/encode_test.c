#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "io/encode.h"
#include "unit/data/random_columns.h"

static memory *m;

static int setup(void **state) {
    MUST(memory_create((size_t)1 << 30, &m, NULL));
    return 0;
}
static int teardown(void **state) {
    memory_destroy(m);
    return 0;
}

/* ---- tables of a few columns ---- */

typedef struct table {
    const char *names[8];
    const type *types[8];
    column_builder *builders[8];
    uint32_t n;
} table;

static void add(table *t, const char *name, const type *of) {
    t->names[t->n] = name;
    t->types[t->n] = of;
    MUST(column_builder_new(m, of, &t->builders[t->n++], NULL));
}

static void text(table *t, uint32_t i, const char *value) {
    if (value) MUST(column_builder_bytes(t->builders[i], value, (uint32_t)strlen(value), NULL));
    else MUST(column_builder_null(t->builders[i], NULL));
}

static schema *schema_of(const table *t) {
    schema *s;
    MUST(schema_new(t->names, t->types, t->n, &s, NULL));
    return s;
}

static batch *batch_of(table *t, schema *s) {
    batch *b;
    MUST(batch_new(s, column_builder_rows(t->builders[0]), &b, NULL));
    for (uint32_t i = 0; i < t->n; i++) {
        MUST(column_builder_finish(t->builders[i], &b->columns[i], NULL));
        column_builder_free(t->builders[i]);
    }
    return b;
}

static void check_bytes(byte_buffer *b, const char *expected, size_t n) {
    if (b->size != n || memcmp(b->bytes->data, expected, n) != 0)
        fprintf(stderr, "got %zu bytes:\n%.*s\nexpected %zu:\n%.*s\n", b->size, (int)b->size, b->bytes->data, n, (int)n,
                expected);
    assert_int_equal(b->size, n);
    assert_memory_equal(b->bytes->data, expected, n);
}

/* Writes the table and uses it up. */
static void check(table *t, encode_options o, const char *expected) {
    schema *s = schema_of(t);
    batch *b = batch_of(t, s);
    encoder *e;
    byte_buffer out = {.memory = m};
    MUST(encoder_new(&o, s, &e, NULL));
    MUST(byte_buffer_reserve(&out, 1, NULL));
    MUST(encoder_begin(e, &out, NULL));
    MUST(encoder_append(e, b, &out, NULL));
    check_bytes(&out, expected, strlen(expected));
    byte_buffer_clear(&out);
    encoder_free(e);
    batch_unref(b);
    schema_unref(s);
}

/* The status of planning (TW_ERR_JOB) or of writing, whose message has `words`. */
static void check_refused(table *t, encode_options o, tw_status expected, const char *words) {
    schema *s = schema_of(t);
    batch *b = batch_of(t, s);
    encoder *e = NULL;
    tw_error err = {0};
    byte_buffer out = {.memory = m};
    MUST(byte_buffer_append(&out, "kept", 4, NULL));
    tw_status status = encoder_new(&o, s, &e, &err);
    if (status == TW_OK) status = encoder_append(e, b, &out, &err);
    assert_int_equal(status, expected);
    if (!strstr(err.message, words)) fail_msg("'%s' has no '%s'", err.message, words);
    assert_int_equal(out.size, 4); /* nothing of a batch that failed */
    byte_buffer_clear(&out);
    encoder_free(e);
    batch_unref(b);
    schema_unref(s);
}

static encode_options as(format_kind kind) { return encode_options_default(kind); }

/* ---- every type ---- */

static void plain_types(table *t) {
    add(t, "b", type_of(TYPE_BOOL));
    add(t, "i", type_of(TYPE_INT32));
    add(t, "l", type_of(TYPE_INT64));
    add(t, "f", type_of(TYPE_FLOAT32));
    add(t, "d", type_of(TYPE_FLOAT64));
    add(t, "day", type_of(TYPE_DATE));
    add(t, "at", type_of(TYPE_TIMESTAMP));
    add(t, "s", type_of(TYPE_STRING));
    static const int64_t integers[][5] = {{1, -2147483648, INT64_MIN, -719162, 1769835600000000},
                                          {0, 2147483647, INT64_MAX, 2932896, 1769835600500000},
                                          {1, 0, 0, 0, 0}};
    static const double floats[] = {0.1, -1e300, NAN};
    for (int row = 0; row < 3; row++) {
        MUST(column_builder_int(t->builders[0], integers[row][0], NULL));
        MUST(column_builder_int(t->builders[1], integers[row][1], NULL));
        MUST(column_builder_int(t->builders[2], integers[row][2], NULL));
        MUST(column_builder_float(t->builders[3], row == 0 ? (double)0.1f : row == 1 ? -0.0 : INFINITY, NULL));
        MUST(column_builder_float(t->builders[4], floats[row], NULL));
        MUST(column_builder_int(t->builders[5], integers[row][3], NULL));
        MUST(column_builder_int(t->builders[6], integers[row][4], NULL));
        text(t, 7, row == 0 ? "a" : row == 1 ? "" : "say \"x\"");
    }
    for (uint32_t i = 0; i < t->n; i++) MUST(column_builder_null(t->builders[i], NULL));
}

static void csv_of_every_type(void **state) {
    table t = {0};
    plain_types(&t);
    check(&t, as(FORMAT_CSV),
          "b,i,l,f,d,day,at,s\n"
          "true,-2147483648,-9223372036854775808,0.1,0.1,0001-01-01,2026-01-31T05:00:00Z,a\n"
          "false,2147483647,9223372036854775807,-0,-1e+300,9999-12-31,2026-01-31T05:00:00.5Z,\"\"\n"
          "true,0,0,inf,nan,1970-01-01,1970-01-01T00:00:00Z,\"say \"\"x\"\"\"\n"
          ",,,,,,,\n");
}

static void json_of_every_type(void **state) {
    table t = {0};
    plain_types(&t);
    check(&t, as(FORMAT_JSON),
          "{\"b\":true,\"i\":-2147483648,\"l\":-9223372036854775808,\"f\":0.1,\"d\":0.1,\"day\":\"0001-01-01\","
          "\"at\":\"2026-01-31T05:00:00Z\",\"s\":\"a\"}\n"
          "{\"b\":false,\"i\":2147483647,\"l\":9223372036854775807,\"f\":-0.0,\"d\":-1e+300,\"day\":\"9999-12-31\","
          "\"at\":\"2026-01-31T05:00:00.5Z\",\"s\":\"\"}\n"
          "{\"b\":true,\"i\":0,\"l\":0,\"f\":null,\"d\":null,\"day\":\"1970-01-01\",\"at\":\"1970-01-01T00:00:00Z\","
          "\"s\":\"say \\\"x\\\"\"}\n"
          "{\"b\":null,\"i\":null,\"l\":null,\"f\":null,\"d\":null,\"day\":null,\"at\":null,\"s\":null}\n");
}

static void json_of_nested_types(void **state) {
    table t = {0};
    add(&t, "v", type_vector(2));
    add(&t, "s", type_of(TYPE_SPARSE));
    add(&t, "l", type_list(type_of(TYPE_STRING)));
    add(&t, "x.\"y", type_of(TYPE_BINARY));
    const float vector[] = {0.5f, NAN};
    MUST(column_builder_vector(t.builders[0], vector, NULL));
    MUST(column_builder_int(column_builder_child(t.builders[1], 0), 7, NULL));
    MUST(column_builder_float(column_builder_child(t.builders[1], 1), 0.25, NULL));
    MUST(column_builder_end_list(t.builders[1], NULL));
    MUST(column_builder_bytes(column_builder_child(t.builders[2], 0), "a\tb", 3, NULL));
    MUST(column_builder_null(column_builder_child(t.builders[2], 0), NULL));
    MUST(column_builder_end_list(t.builders[2], NULL));
    MUST(column_builder_bytes(t.builders[3], "\0\xff\x10\x80", 4, NULL));
    check(&t, as(FORMAT_JSON),
          "{\"v\":[0.5,null],\"s\":{\"indices\":[7],\"values\":[0.25]},\"l\":[\"a\\tb\",null],"
          "\"x.\\\"y\":\"AP8QgA==\"}\n");
}

/* ---- quoting, against the plain rule ---- */

static size_t naive_csv(const char *s, size_t n, char delimiter, char quote, char *to) {
    bool special = n == 0;
    for (size_t i = 0; i < n; i++) special |= s[i] == delimiter || s[i] == quote || s[i] == '\n' || s[i] == '\r';
    size_t k = 0;
    if (special) to[k++] = quote;
    for (size_t i = 0; i < n; i++) {
        if (special && s[i] == quote) to[k++] = quote;
        to[k++] = s[i];
    }
    if (special) to[k++] = quote;
    return k;
}

static size_t naive_json(const char *s, size_t n, char *to) {
    size_t k = 0;
    to[k++] = '"';
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        static const char escaped[] = "\"\\\b\f\n\r\t";
        const char *at = c ? strchr(escaped, c) : NULL;
        if (at) to[k++] = '\\', to[k++] = "\"\\bfnrt"[at - escaped];
        else if (c < 0x20) k += (size_t)sprintf(to + k, "\\u%04x", c);
        else to[k++] = (char)c;
    }
    to[k++] = '"';
    return k;
}

/* Lengths around the edges of views and vectors, with a special byte anywhere or nowhere. */
static void texts_of_every_length(void **state) {
    static const char alphabet[] = "abcdefghijkl\xc3\xa9";
    static const char special[] = {',', '"', '\n', '\r', '\\', 1, 31, ' ', ';', 0};
    uint64_t seed = 1;
    char *expected = malloc(1 << 22), *json = malloc(1 << 23), s[5000];
    for (int round = 0; round < 40; round++) {
        table t = {0};
        add(&t, "s", type_of(TYPE_STRING));
        size_t n_csv = 2, n_json = 0;
        memcpy(expected, "s\n", 2);
        for (uint32_t row = 0; row < 300; row++) {
            uint32_t n = row < 80 ? row : draw_below(&seed, 20) ? draw_below(&seed, 70) : draw_below(&seed, 5000);
            for (uint32_t i = 0; i < n; i++) s[i] = alphabet[draw_below(&seed, 12)];
            if (n && draw_below(&seed, 2)) s[draw_below(&seed, n)] = special[draw_below(&seed, 10)];
            if (n && draw_below(&seed, 8) == 0) memset(s, special[draw_below(&seed, 10)], n);
            MUST(column_builder_bytes(t.builders[0], s, n, NULL));
            n_csv += naive_csv(s, n, ',', '"', expected + n_csv);
            expected[n_csv++] = '\n';
            memcpy(json + n_json, "{\"s\":", 5);
            n_json += 5;
            n_json += naive_json(s, n, json + n_json);
            memcpy(json + n_json, "}\n", 2);
            n_json += 2;
        }
        schema *sc = schema_of(&t);
        batch *b = batch_of(&t, sc);
        for (int kind = 0; kind < 2; kind++) {
            encode_options o = as(kind ? FORMAT_JSON : FORMAT_CSV);
            encoder *e;
            byte_buffer out = {.memory = m};
            MUST(encoder_new(&o, sc, &e, NULL));
            MUST(byte_buffer_reserve(&out, 1, NULL));
            MUST(encoder_begin(e, &out, NULL));
            MUST(encoder_append(e, b, &out, NULL));
            check_bytes(&out, kind ? json : expected, kind ? n_json : n_csv);
            byte_buffer_clear(&out);
            encoder_free(e);
        }
        batch_unref(b);
        schema_unref(sc);
    }
    free(expected);
    free(json);
}

static void csv_delimiters(void **state) {
    table t = {0};
    add(&t, "a;b", type_of(TYPE_STRING));
    add(&t, "n", type_of(TYPE_FLOAT64));
    text(&t, 0, "x,y");
    text(&t, 0, "it's;");
    MUST(column_builder_float(t.builders[1], 1.5, NULL));
    MUST(column_builder_float(t.builders[1], -2, NULL));
    encode_options o = as(FORMAT_CSV);
    o.delimiter = ';';
    o.quote = '\'';
    check(&t, o, "'a;b';n\nx,y;1.5\n'it''s;';-2\n");

    table numbers = {0};
    add(&numbers, "n", type_of(TYPE_FLOAT64));
    MUST(column_builder_float(numbers.builders[0], 1.5, NULL));
    MUST(column_builder_float(numbers.builders[0], 7, NULL));
    o = as(FORMAT_CSV);
    o.delimiter = '.';
    o.header = false;
    check(&numbers, o, "\"1.5\"\n7\n");
}

static void csv_without_quotes(void **state) {
    encode_options o = as(FORMAT_CSV);
    o.quote = 0;
    table t = {0};
    add(&t, "a", type_of(TYPE_STRING));
    text(&t, 0, "say \"x\"");
    text(&t, 0, "");
    check(&t, o, "a\nsay \"x\"\n\n");
    table wrong = {0};
    add(&wrong, "a", type_of(TYPE_STRING));
    text(&wrong, 0, "x");
    text(&wrong, 0, "x,y");
    check_refused(&wrong, o, TW_ERR_DATA, "quotes");
}

/* ---- the other formats ---- */

static void lines(void **state) {
    table t = {0};
    add(&t, "n", type_of(TYPE_INT64));
    add(&t, "line", type_of(TYPE_STRING));
    for (int i = 0; i < 3; i++) MUST(column_builder_int(t.builders[0], i, NULL));
    text(&t, 1, "a \"quoted\" one, long enough for the heap");
    text(&t, 1, NULL);
    text(&t, 1, "b");
    check(&t, as(FORMAT_LINES), "a \"quoted\" one, long enough for the heap\n\nb\n");

    table only = {0};
    add(&only, "n", type_of(TYPE_INT64));
    MUST(column_builder_int(only.builders[0], 42, NULL));
    check(&only, as(FORMAT_LINES), "42\n");
}

static void records(void **state) {
    table t = {0};
    add(&t, "key", type_of(TYPE_BINARY));
    add(&t, "rest", type_of(TYPE_BINARY));
    for (uint32_t n = 1; n < 200; n += 13) {
        char bytes[200];
        memset(bytes, 'a' + (int)(n % 26), sizeof bytes);
        MUST(column_builder_bytes(t.builders[0], bytes, n % 20, NULL));
        MUST(column_builder_bytes(t.builders[1], bytes, n, NULL));
    }
    char expected[4000] = "";
    for (uint32_t n = 1; n < 200; n += 13)
        for (uint32_t i = 0; i < n % 20 + n; i++) strncat(expected, &"abcdefghijklmnopqrstuvwxyz"[n % 26], 1);
    check(&t, as(FORMAT_RECORDS), expected);
}

static void edges_and_libsvm(void **state) {
    table t = {0};
    add(&t, "weight", type_of(TYPE_FLOAT32));
    add(&t, "to", type_of(TYPE_INT64));
    add(&t, "from", type_of(TYPE_STRING));
    MUST(column_builder_float(t.builders[0], 0.5, NULL));
    MUST(column_builder_int(t.builders[1], 9, NULL));
    text(&t, 2, "a");
    check(&t, as(FORMAT_EDGES), "a 9 0.5\n");

    table s = {0};
    add(&s, "features", type_of(TYPE_SPARSE));
    add(&s, "label", type_of(TYPE_FLOAT64));
    MUST(column_builder_int(column_builder_child(s.builders[0], 0), 3, NULL));
    MUST(column_builder_float(column_builder_child(s.builders[0], 1), 2, NULL));
    MUST(column_builder_end_list(s.builders[0], NULL));
    MUST(column_builder_end_list(s.builders[0], NULL));
    MUST(column_builder_float(s.builders[1], -1, NULL));
    MUST(column_builder_float(s.builders[1], 1, NULL));
    check(&s, as(FORMAT_LIBSVM), "-1 3:2\n1\n");

    table n = {0};
    add(&n, "y", type_of(TYPE_INT64));
    add(&n, "a", type_of(TYPE_FLOAT64));
    add(&n, "b", type_of(TYPE_INT32));
    MUST(column_builder_int(n.builders[0], 1, NULL));
    MUST(column_builder_float(n.builders[1], 0, NULL));
    MUST(column_builder_int(n.builders[2], -5, NULL));
    check(&n, as(FORMAT_LIBSVM), "1 2:-5\n");
}

static void refusals(void **state) {
    static const struct {
        format_kind kind;
        const char *names[2];
        type_kind types[2];
        const char *words;
    } cases[] = {
        {FORMAT_CSV, {"a", "v"}, {TYPE_INT64, TYPE_SPARSE}, "column 'v' of type sparse<float32>"},
        {FORMAT_LINES, {"a", "b"}, {TYPE_STRING, TYPE_STRING}, "'line'"},
        {FORMAT_RECORDS, {"a", "b"}, {TYPE_STRING, TYPE_INT64}, "column 'b' of type int64"},
        {FORMAT_BINARY, {"a", "b"}, {TYPE_STRING, TYPE_STRING}, "'content'"},
        {FORMAT_EDGES, {"from", "b"}, {TYPE_INT64, TYPE_INT64}, "'to'"},
        {FORMAT_LIBSVM, {"a", "b"}, {TYPE_STRING, TYPE_INT64}, "label"},
        {FORMAT_LIBSVM, {"a", "b"}, {TYPE_INT64, TYPE_STRING}, "column 'b'"},
        {FORMAT_PARQUET, {"a", "b"}, {TYPE_INT64, TYPE_STRING}, "parquet"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        table t = {0};
        for (int c = 0; c < 2; c++) add(&t, cases[i].names[c], type_of(cases[i].types[c]));
        for (uint32_t c = 0; c < 2; c++) MUST(column_builder_null(t.builders[c], NULL));
        check_refused(&t, as(cases[i].kind), TW_ERR_JOB, cases[i].words);
    }
    table null = {0};
    add(&null, "key", type_of(TYPE_BINARY));
    text(&null, 0, "a");
    text(&null, 0, NULL);
    check_refused(&null, as(FORMAT_RECORDS), TW_ERR_DATA, "null");
    table blank = {0};
    add(&blank, "from", type_of(TYPE_STRING));
    add(&blank, "to", type_of(TYPE_STRING));
    text(&blank, 0, "a b");
    text(&blank, 1, "c");
    check_refused(&blank, as(FORMAT_EDGES), TW_ERR_DATA, "white space");
}

/* Any type, any value: as JSON it must stay within its room, which sanitizers see. */
static void random_values_fit(void **state) {
    for (uint64_t s = 1; s < 400; s++) {
        uint64_t seed = s;
        const type *types[3];
        const char *names[] = {"a", "b", "c"};
        for (int i = 0; i < 3; i++) types[i] = random_type(&seed);
        uint32_t rows = 1 + draw_below(&seed, 300);
        schema *sc;
        batch *b;
        MUST(schema_new(names, types, 3, &sc, NULL));
        MUST(batch_new(sc, rows, &b, NULL));
        for (int i = 0; i < 3; i++) random_column(m, &seed, types[i], rows, &b->columns[i]);
        for (int kind = 0; kind < FORMAT_PARQUET; kind++) {
            encode_options o = as((format_kind)kind);
            encoder *e;
            byte_buffer out = {.memory = m};
            if (encoder_new(&o, sc, &e, NULL) != TW_OK) continue;
            tw_status status = encoder_append(e, b, &out, NULL);
            assert_true(status == TW_OK || status == TW_ERR_DATA);
            if (status == TW_OK && encoder_writes_lines(e)) assert_int_equal(out.bytes->data[out.size - 1], '\n');
            byte_buffer_clear(&out);
            encoder_free(e);
        }
        batch_unref(b);
        schema_unref(sc);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_of_every_type), cmocka_unit_test(json_of_every_type),
        cmocka_unit_test(json_of_nested_types), cmocka_unit_test(texts_of_every_length),
        cmocka_unit_test(csv_delimiters), cmocka_unit_test(csv_without_quotes), cmocka_unit_test(lines),
        cmocka_unit_test(records), cmocka_unit_test(edges_and_libsvm), cmocka_unit_test(refusals),
        cmocka_unit_test(random_values_fit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
