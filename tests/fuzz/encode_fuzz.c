/* Rows written and read back: the input chooses a format, types and values. Where the format keeps a
 * value it must come back, bit for bit; the rest must not crash, and what is written must be as long as
 * was said. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/time_text.h"
#include "io/encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(what)                                                                                  \
    do {                                                                                               \
        if (!(what)) abort();                                                                          \
    } while (0)

enum { COLUMNS_MAX = 5, ROWS_MAX = 60, LIST_MAX = 5 };

typedef struct input {
    const uint8_t *at, *end;
} input;

static uint8_t take(input *in) { return in->at < in->end ? *in->at++ : 0; }
static uint64_t take_bits(input *in) {
    uint64_t x = 0;
    for (int i = 0; i < 8; i++) x = x << 8 | take(in);
    return x;
}

/* ---- columns ---- */

/* Bytes, in texts as code points: short ones mostly, and what formats treat with care. */
static void append_bytes(input *in, column_builder *b, bool text, uint32_t fixed) {
    static const char odd[] = "\",\n\r\\ \t#:;'a\0";
    uint8_t bytes[300];
    uint32_t n = take(in), made = 0;
    n = fixed != UINT32_MAX ? fixed : n < 224 ? n % 16 : n;
    while (made < n) {
        uint8_t c = take(in);
        if (c & 1) c = (uint8_t)odd[(c >> 1) % sizeof odd];
        if (text && c >= 0x80) {
            bytes[made++] = (uint8_t)(0xc3 + (c & 1));
            bytes[made++] = (uint8_t)(0x80 | (c & 0x3f));
        } else {
            bytes[made++] = c;
        }
    }
    REQUIRE(column_builder_bytes(b, bytes, fixed != UINT32_MAX && !text ? fixed : made, NULL) == TW_OK);
}

static double take_float(input *in, bool narrow) {
    uint64_t bits = take_bits(in);
    float f;
    double d;
    uint32_t half = (uint32_t)bits;
    memcpy(&f, &half, 4);
    memcpy(&d, &bits, 8);
    if (bits % 16 == 0) d = f = bits & 16 ? -0.0f : (float)(bits >> 60);
    return narrow ? (double)f : d;
}

static int64_t take_between(input *in, int64_t low, int64_t high) {
    return low + (int64_t)(take_bits(in) % ((uint64_t)high - (uint64_t)low + 1));
}

static void append_value(input *in, column_builder *b, const type *t, bool nulls, uint32_t fixed);

static void append_nested(input *in, column_builder *b, const type *t) {
    uint32_t n = take(in) % (LIST_MAX + 1);
    int32_t index = -1;
    for (uint32_t i = 0; i < n; i++) {
        if (t->kind == TYPE_LIST) {
            append_value(in, column_builder_child(b, 0), t->item, true, UINT32_MAX);
            continue;
        }
        index += 1 + take(in);
        REQUIRE(column_builder_int(column_builder_child(b, 0), index, NULL) == TW_OK);
        REQUIRE(column_builder_float(column_builder_child(b, 1), take_float(in, true), NULL) == TW_OK);
    }
    REQUIRE(column_builder_end_list(b, NULL) == TW_OK);
}

static void append_value(input *in, column_builder *b, const type *t, bool nulls, uint32_t fixed) {
    float vector[8];
    tw_status status = TW_OK;
    if (nulls && take(in) % 8 == 7) {
        REQUIRE(column_builder_null(b, NULL) == TW_OK);
        return;
    }
    switch (t->kind) {
    case TYPE_BOOL: status = column_builder_int(b, take(in) & 1, NULL); break;
    case TYPE_INT32: status = column_builder_int(b, take_between(in, INT32_MIN, INT32_MAX), NULL); break;
    case TYPE_INT64: status = column_builder_int(b, (int64_t)take_bits(in), NULL); break;
    case TYPE_DATE: status = column_builder_int(b, take_between(in, DATE_MIN, DATE_MAX), NULL); break;
    case TYPE_TIMESTAMP: status = column_builder_int(b, take_between(in, TIMESTAMP_MIN, TIMESTAMP_MAX), NULL); break;
    case TYPE_FLOAT32:
    case TYPE_FLOAT64: status = column_builder_float(b, take_float(in, t->kind == TYPE_FLOAT32), NULL); break;
    case TYPE_VECTOR:
        for (uint32_t i = 0; i < t->width; i++) vector[i] = (float)take_float(in, true);
        status = column_builder_vector(b, vector, NULL);
        break;
    case TYPE_LIST:
    case TYPE_SPARSE: append_nested(in, b, t); break;
    default: append_bytes(in, b, t->kind == TYPE_STRING, fixed);
    }
    REQUIRE(status == TW_OK);
}

static const type *choose_type(input *in, bool nested) {
    uint8_t c = take(in);
    switch (c % (nested ? 13 : 9)) {
    case 9: return type_of(TYPE_SPARSE);
    case 10: return type_vector(1 + c % 8);
    case 11: return type_list(choose_type(in, false));
    case 12: return c & 1 ? type_list(type_of(TYPE_SPARSE)) : type_list(type_list(choose_type(in, false)));
    default: return type_of((type_kind)(c % 9));
    }
}

/* ---- a table, as each format can hold it ---- */

typedef struct table {
    format format;
    encode_options options;
    format_column columns[COLUMNS_MAX];
    const char *names[COLUMNS_MAX];
    const type *types[COLUMNS_MAX];
    uint32_t n, rows;
    bool nulls, fixed;
    batch *batch;
} table;

static void choose_columns(input *in, table *t) {
    static const char *const names[COLUMNS_MAX] = {"a", "b.c", "b.d", "d e", "e\"f,\n"};
    t->nulls = true;
    t->n = 1 + take(in) % COLUMNS_MAX;
    for (uint32_t i = 0; i < t->n; i++) {
        t->names[i] = names[i];
        t->types[i] = choose_type(in, t->format.kind == FORMAT_JSON);
    }
    switch (t->format.kind) {
    case FORMAT_LINES:
    case FORMAT_BINARY:
        t->n = 1;
        t->types[0] = type_of(take(in) & 1 ? TYPE_STRING : TYPE_BINARY);
        t->names[0] = t->format.kind == FORMAT_LINES ? "line" : "content";
        t->nulls = t->format.kind == FORMAT_LINES;
        break;
    case FORMAT_RECORDS:
        for (uint32_t i = 0; i < t->n; i++) t->types[i] = type_of(TYPE_BINARY);
        t->nulls = false;
        t->fixed = true;
        break;
    case FORMAT_LIBSVM:
        t->n = 2;
        t->names[0] = "label", t->types[0] = type_of(TYPE_FLOAT64);
        t->names[1] = "features", t->types[1] = type_of(TYPE_SPARSE);
        t->nulls = false;
        break;
    case FORMAT_EDGES:
        t->n = 2 + take(in) % 2;
        t->names[0] = "from", t->names[1] = "to", t->names[2] = "weight";
        t->types[0] = t->types[1] = type_of(take(in) & 1 ? TYPE_INT64 : TYPE_STRING);
        t->types[2] = type_of(take(in) & 1 ? TYPE_FLOAT32 : TYPE_FLOAT64);
        t->nulls = false;
        break;
    default: break;
    }
}

static bool make_table(input *in, memory *m, table *t) {
    static const uint8_t delimiters[] = {',', ';', '\t', '-', 'e', '0'};
    *t = (table){.format = {.kind = take(in) % FORMAT_PARQUET}};
    t->options = encode_options_default(t->format.kind);
    if (t->format.kind == FORMAT_CSV) {
        t->options.header = take(in) & 1;
        t->options.delimiter = delimiters[take(in) % sizeof delimiters];
        t->options.quote = take(in) % 4 ? '"' : '\'';
    }
    t->format.header = t->options.header;
    t->format.delimiter = t->options.delimiter;
    t->format.quote = t->options.quote;
    choose_columns(in, t);
    t->rows = t->format.kind == FORMAT_BINARY ? 1 : 1 + take(in) % ROWS_MAX;
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t length = t->fixed ? take(in) % 40 : UINT32_MAX;
        t->columns[i] = (format_column){.type = t->types[i], .offset = t->format.record_bytes, .length = length};
        if (t->fixed) t->format.record_bytes += length;
    }
    if (t->fixed && !t->format.record_bytes) return false;
    t->format.columns = t->columns;
    t->format.n_columns = t->n;
    REQUIRE(schema_new(t->names, t->types, t->n, &t->format.schema, NULL) == TW_OK);
    REQUIRE(batch_new(t->format.schema, t->rows, &t->batch, NULL) == TW_OK);
    for (uint32_t i = 0; i < t->n; i++) {
        column_builder *b;
        REQUIRE(column_builder_new(m, t->types[i], &b, NULL) == TW_OK);
        for (uint32_t r = 0; r < t->rows; r++) append_value(in, b, t->types[i], t->nulls, t->columns[i].length);
        REQUIRE(column_builder_finish(b, &t->batch->columns[i], NULL) == TW_OK);
        column_builder_free(b);
    }
    return true;
}

/* ---- what comes back ---- */

static bool same_float(const void *a, const void *b, size_t n, bool is_nan) {
    double d;
    float f;
    if (n == 4) memcpy(&f, b, 4), d = (double)f;
    else memcpy(&d, b, 8);
    return is_nan ? isnan(d) : memcmp(a, b, n) == 0;
}

/* JSON has no number for NaN and the infinities: null, which within a vector is NaN. */
static bool same_value(format_kind kind, const column *a, uint32_t i, const column *b, uint32_t j, bool in_vector) {
    bool json = kind == FORMAT_JSON;
    const type *t = a->type;
    if (!column_is_valid(a, i)) return !column_is_valid(b, j);
    if (t->kind == TYPE_FLOAT32 || t->kind == TYPE_FLOAT64) {
        size_t n = type_bytes(t);
        const uint8_t *x = (const uint8_t *)a->values + i * n, *y = (const uint8_t *)b->values + j * n;
        double value = n == 4 ? (double)((const float *)a->values)[i] : ((const double *)a->values)[i];
        if (json && !isfinite(value) && !in_vector) return !column_is_valid(b, j);
        return column_is_valid(b, j) && same_float(x, y, n, json ? !isfinite(value) : isnan(value));
    }
    if (!column_is_valid(b, j)) return false;
    if (t->kind == TYPE_VECTOR) {
        const float *x = (const float *)a->values + (size_t)i * t->width, *y = (const float *)b->values + (size_t)j * t->width;
        for (uint32_t k = 0; k < t->width; k++)
            if (!same_float(&x[k], &y[k], 4, json ? !isfinite(x[k]) : isnan(x[k]))) return false;
        return true;
    }
    if (!type_is_nested(t)) return column_values_equal(a, i, b, j);
    const uint32_t *from = (const uint32_t *)a->values + i, *to = (const uint32_t *)b->values + j;
    if (from[1] - from[0] != to[1] - to[0]) return false;
    for (uint32_t c = 0; c < a->n_children; c++)
        for (uint32_t k = 0; k < from[1] - from[0]; k++)
            if (!same_value(kind, &a->children[c], from[0] + k, &b->children[c], to[0] + k, t->kind == TYPE_SPARSE))
                return false;
    return true;
}

/* `lines` writes what it gets: a line feed ends a line, a CR before it does not count, null is empty. */
static bool keeps(const table *t) {
    if (t->format.kind != FORMAT_LINES) return true;
    const column *c = &t->batch->columns[0];
    for (uint32_t r = 0; r < t->rows; r++) {
        const view *v = (const view *)c->values + r;
        if (!column_is_valid(c, r)) return false;
        if (memchr(view_data(v), '\n', v->size) || (v->size && view_data(v)[v->size - 1] == '\r')) return false;
    }
    return true;
}

static void no_wake(void *engine) {}

static void read_back(table *t, memory *m, byte_buffer *bytes, uint32_t batch_rows) {
    static atomic_bool cancelled;
    run_context run = {.memory = m, .cancelled = &cancelled, .parallelism = 1, .batch_rows = batch_rows,
                       .batch_bytes = 1 << 16, .wake = no_wake};
    REQUIRE(bad_records_create(BAD_FAIL, NULL, &run.bad, NULL) == TW_OK);
    format *f = &t->format;
    decoder *d;
    REQUIRE(decoder_new(f, &run, NULL, &d, NULL) == TW_OK);
    span s = {bytes->bytes, bytes->bytes->data, bytes->size};
    span_place place = {.file = "input", .first_record = 1, .file_start = f->kind != FORMAT_CSV || f->header};
    decoder_feed(d, &s, &place);
    uint32_t row = 0;
    batch *b;
    tw_error err = {0};
    tw_status status;
    while ((status = decoder_next(d, &b, &err)) == TW_OK) {
        REQUIRE(row + b->rows <= t->rows);
        for (uint32_t r = 0; r < b->rows; r++, row++)
            for (uint32_t c = 0; c < t->n; c++)
                REQUIRE(same_value(f->kind, &t->batch->columns[c], row, &b->columns[c], r, false));
        batch_unref(b);
    }
    if (status != TW_END) fprintf(stderr, "row %u: %s\n%.*s\n", row, err.message, (int)bytes->size, bytes->bytes->data);
    REQUIRE(status == TW_END && row == t->rows);
    decoder_free(d);
    bad_records_free(run.bad);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {data, data + size};
    memory *m;
    REQUIRE(memory_create((size_t)256 << 20, &m, NULL) == TW_OK);
    table t;
    encoder *e = NULL;
    byte_buffer bytes = {.memory = m};
    if (make_table(&in, m, &t)) {
        REQUIRE(encoder_new(&t.options, t.format.schema, &e, NULL) == TW_OK);
        REQUIRE(encoder_begin(e, &bytes, NULL) == TW_OK && byte_buffer_reserve(&bytes, 1, NULL) == TW_OK);
        tw_status status = encoder_append(e, t.batch, &bytes, NULL);
        REQUIRE(status == TW_OK || status == TW_ERR_DATA);
        if (status == TW_OK && keeps(&t)) {
            read_back(&t, m, &bytes, 1000);
            read_back(&t, m, &bytes, 1 + (uint32_t)(size % 7));
        }
    }
    byte_buffer_clear(&bytes);
    encoder_free(e);
    batch_unref(t.batch);
    schema_unref(t.format.schema);
    memory_destroy(m);
    return 0;
}
