/* Any text as an expression; when it compiles, it is evaluated over a few rows. A first byte of 0x01
 * instead makes the text a `like` pattern, of 0x02 a regular expression. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expr/expr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { rows = 70, n_columns = 9 };

static void require(tw_status status) {
    if (status != TW_OK) abort();
}

static batch *make_batch(memory *m) {
    static const type_kind kinds[n_columns] = {TYPE_INT64, TYPE_INT32, TYPE_FLOAT64, TYPE_FLOAT32, TYPE_STRING,
                                               TYPE_BINARY, TYPE_BOOL, TYPE_DATE, TYPE_TIMESTAMP};
    static const char *const names[n_columns] = {"i", "j", "f", "g", "s", "n", "b", "d", "t"};
    static const char *const texts[] = {"", "a", "Hello World, hello", "\xc3\xa9\xe2\x82\xac", "12", "%_", "\xff\x80\xc3", "xxxxxxxxxxxxx"};
    static const int64_t whole[] = {0, 1, -1, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, 20000};
    const type *types[n_columns];
    schema *s;
    batch *b;
    for (int i = 0; i < n_columns; i++) types[i] = type_of(kinds[i]);
    require(schema_new(names, types, n_columns, &s, NULL));
    require(batch_new(s, rows, &b, NULL));
    schema_unref(s);
    for (int c = 0; c < n_columns; c++) {
        column_builder *builder;
        require(column_builder_new(m, types[c], &builder, NULL));
        for (uint32_t i = 0; i < rows; i++) {
            int64_t v = whole[i % 8];
            if (i % 11 == (uint32_t)c) require(column_builder_null(builder, NULL));
            else if (type_is_view(types[c])) require(column_builder_bytes(builder, texts[i % 8], (uint32_t)strlen(texts[i % 8]), NULL));
            else if (kinds[c] == TYPE_FLOAT64 || kinds[c] == TYPE_FLOAT32) require(column_builder_float(builder, (double)v / 4, NULL));
            else if (kinds[c] == TYPE_BOOL) require(column_builder_int(builder, v & 1, NULL));
            else if (kinds[c] == TYPE_INT64 || kinds[c] == TYPE_TIMESTAMP) require(column_builder_int(builder, v, NULL));
            else require(column_builder_int(builder, (int32_t)v, NULL));
        }
        require(column_builder_finish(builder, &b->columns[c], NULL));
        column_builder_free(builder);
    }
    return b;
}

static void evaluate(const expr *e, memory *m, const batch *b) {
    expr_scratch *s;
    expr_bad bad;
    tw_error err;
    column out;
    if (expr_scratch_new(e, m, &s, &err) != TW_OK) return;
    if (expr_evaluate(e, s, b, &out, &bad, &err) == TW_OK) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < bad.n; i++) {
            if (bad.rows[i].row >= rows || (i && bad.rows[i].row <= bad.rows[i - 1].row)) abort();
            if (column_is_valid(&out, bad.rows[i].row)) abort();
        }
        for (uint32_t i = 0; i < rows && type_is_view(out.type); i++) { /* every view leads somewhere */
            const view *v = (const view *)out.values + i;
            const uint8_t *p = view_data(v);
            if (v->size) sum += p[0] + p[v->size - 1];
        }
        if (sum == 1) fputc(' ', stderr);
        if (out.type->kind == TYPE_BOOL) {
            uint32_t picked[rows], n;
            if (expr_select(e, s, b, picked, &n, &bad, &err) == TW_OK && n > rows) abort();
        }
        column_clear(&out);
    }
    expr_scratch_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const frames[] = {"", "s like '", "matches(s, '"}, *const ends[] = {"", "'", "')"};
    if (size > 4096) return 0;
    int frame = size && data[0] <= 2 ? data[0] : 0;
    if (frame) data++, size--;
    char *text = malloc(size + 32);
    if (!text) return 0;
    size_t n = (size_t)sprintf(text, "%s", frames[frame]);
    memcpy(text + n, data, size);
    strcpy(text + n + size, ends[frame]);
    memory *m;
    tw_error err;
    require(memory_create(64u << 20, &m, NULL));
    batch *b = make_batch(m);
    expr *e;
    tw_status status = expr_compile(text, b->schema, &e, &err);
    if (status == TW_OK) {
        evaluate(e, m, b);
        expr_free(e);
    } else if (status != TW_ERR_JOB || !err.column || err.column > strlen(text) + 1) {
        abort();
    }
    batch_unref(b);
    memory_destroy(m);
    free(text);
    return 0;
}
