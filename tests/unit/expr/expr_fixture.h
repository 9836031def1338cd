/* expr_fixture.h: compiling and evaluating an expression over a batch, with the results as text. */
#ifndef TESTS_UNIT_EXPR_FIXTURE_H
#define TESTS_UNIT_EXPR_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "data/number_text.h"
#include "data/time_text.h"
#include "expr/expr.h"

typedef struct fixture {
    memory *memory;
    schema *schema;
    batch *batch;
} fixture;

static inline void must(tw_status status, const tw_error *err) {
    if (status != TW_OK) fail_msg("%s: %s", tw_status_name(status), err->message);
}

/* Fills a column from `n` texts of its type; NULL is null. */
static inline void fixture_column(memory *m, const type *t, const char *const *texts, uint32_t n, column *out) {
    tw_error err;
    column_builder *b;
    must(column_builder_new(m, t, &b, &err), &err);
    for (uint32_t i = 0; i < n; i++) {
        const char *text = texts[i];
        size_t size = text ? strlen(text) : 0;
        int32_t day = 0;
        int64_t whole = 0;
        double number = 0;
        if (!text) {
            must(column_builder_null(b, &err), &err);
            continue;
        }
        switch (t->kind) {
        case TYPE_BOOL: must(column_builder_int(b, strcmp(text, "true") == 0, &err), &err); break;
        case TYPE_DATE:
            assert_int_equal(parse_date(text, size, &day), PARSE_OK);
            must(column_builder_int(b, day, &err), &err);
            break;
        case TYPE_TIMESTAMP:
            assert_int_equal(parse_timestamp(text, size, &whole), PARSE_OK);
            must(column_builder_int(b, whole, &err), &err);
            break;
        case TYPE_INT32:
        case TYPE_INT64:
            assert_int_equal(parse_int64(text, size, &whole), PARSE_OK);
            must(column_builder_int(b, whole, &err), &err);
            break;
        case TYPE_FLOAT32:
        case TYPE_FLOAT64:
            assert_int_equal(parse_float64(text, size, &number), PARSE_OK);
            must(column_builder_float(b, number, &err), &err);
            break;
        default: must(column_builder_bytes(b, text, (uint32_t)size, &err), &err); break;
        }
    }
    must(column_builder_finish(b, out, &err), &err);
    column_builder_free(b);
}

/* One value as text into `to`; returns its length. */
static inline size_t value_text(const column *c, uint32_t row, char *to, size_t capacity) {
    if (!column_is_valid(c, row)) return (size_t)snprintf(to, capacity, "null");
    size_t n = 0;
    switch (c->type->kind) {
    case TYPE_BOOL: return (size_t)snprintf(to, capacity, "%s", ((const uint8_t *)c->values)[row] ? "true" : "false");
    case TYPE_INT32: n = format_int64(((const int32_t *)c->values)[row], to); break;
    case TYPE_INT64: n = format_int64(((const int64_t *)c->values)[row], to); break;
    case TYPE_FLOAT32: n = format_float32(((const float *)c->values)[row], to); break;
    case TYPE_FLOAT64: n = format_float64(((const double *)c->values)[row], to); break;
    case TYPE_DATE: n = format_date(((const int32_t *)c->values)[row], to); break;
    case TYPE_TIMESTAMP: n = format_timestamp(((const int64_t *)c->values)[row], to); break;
    case TYPE_STRING:
    case TYPE_BINARY: {
        const view *v = (const view *)c->values + row;
        return (size_t)snprintf(to, capacity, "'%.*s'", (int)v->size, (const char *)view_data(v));
    }
    default: return (size_t)snprintf(to, capacity, "?");
    }
    to[n] = 0;
    return n;
}

/* "TYPE: value | value | bad reason", or "COLUMN: message" of the error. A condition is also picked
 * with expr_select, which must agree. */
static inline void evaluate_text(const fixture *f, const char *text, char *to, size_t capacity) {
    tw_error err = {0};
    expr *e;
    if (expr_compile(text, f->schema, &e, &err) != TW_OK) {
        snprintf(to, capacity, "%d: %s", (int)err.column, err.message);
        return;
    }
    expr_scratch *s;
    column c = {0};
    expr_bad bad;
    must(expr_scratch_new(e, f->memory, &s, &err), &err);
    must(expr_evaluate(e, s, f->batch, &c, &bad, &err), &err);
    char name[128];
    assert_int_equal(c.rows, f->batch->rows);
    size_t used = (size_t)snprintf(to, capacity, "%s:", type_name(c.type, name, sizeof name));
    uint32_t seen = 0;
    for (uint32_t i = 0; i < c.rows && used + 100 < capacity; i++) {
        to[used++] = i ? ',' : ' ';
        if (i) to[used++] = ' ';
        if (seen < bad.n && bad.rows[seen].row == i) {
            assert_false(column_is_valid(&c, i));
            used += (size_t)snprintf(to + used, capacity - used, "bad %s", bad.rows[seen++].reason);
        } else {
            used += value_text(&c, i, to + used, capacity - used);
        }
    }
    assert_int_equal(seen, bad.n);
    if (c.type->kind == TYPE_BOOL) {
        uint32_t *rows = malloc(c.rows * sizeof *rows), n, k = 0;
        must(expr_select(e, s, f->batch, rows, &n, &bad, &err), &err);
        for (uint32_t i = 0; i < c.rows; i++) {
            bool wanted = column_is_valid(&c, i) && ((const uint8_t *)c.values)[i];
            if (wanted) assert_true(k < n && rows[k++] == i);
        }
        assert_int_equal(k, n);
        assert_int_equal(bad.n, seen);
        free(rows);
    }
    char before[8][256], after[256];
    for (uint32_t i = 0; i < c.rows && i < 8; i++) value_text(&c, i, before[i], sizeof before[i]);
    expr_scratch_free(s);
    expr_free(e); /* the result must outlive both, and what takes their memory */
    buffer *others[64];
    for (int i = 0; i < 64; i++) {
        must(buffer_new(f->memory, MEMORY_FLOW, (size_t)64 << i / 4, &others[i], &err), &err);
        memset(others[i]->data, 0xdd, others[i]->size);
    }
    for (uint32_t i = 0; i < c.rows && i < 8; i++) {
        value_text(&c, i, after, sizeof after);
        assert_string_equal(before[i], after);
    }
    for (int i = 0; i < 64; i++) buffer_unref(others[i]);
    column_clear(&c);
}

#endif
