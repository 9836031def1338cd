/* format_fuzz.h: one input read as a whole format would be: types inferred, decoded in batches of two
 * sizes, which must agree. The first byte chooses among a format's options. */
#ifndef TESTS_FUZZ_FORMAT_FUZZ_H
#define TESTS_FUZZ_FORMAT_FUZZ_H

#include <stdlib.h>

#include "io/infer.h"
#include "io/json_tape.h"

#define REQUIRE(what)                                                                                  \
    do {                                                                                               \
        if (!(what)) abort();                                                                          \
    } while (0)

typedef struct outcome {
    uint64_t rows, records, bad, hash;
} outcome;

static uint64_t mix(uint64_t hash, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    for (size_t i = 0; i < n; i++) hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

static uint64_t mix_column(uint64_t hash, const column *c, uint32_t from, uint32_t to);

/* Rows that are null have no value; reading all others shows views and offsets that lead astray. */
static uint64_t mix_value(uint64_t hash, const column *c, uint32_t row) {
    bool valid = column_is_valid(c, row);
    hash = mix(hash, &valid, 1);
    if (!valid) return hash;
    if (type_is_view(c->type)) {
        const view *v = (const view *)c->values + row;
        return mix(mix(hash, &v->size, 4), view_data(v), v->size);
    }
    if (type_is_nested(c->type)) {
        const uint32_t *offsets = c->values;
        REQUIRE(offsets[row] <= offsets[row + 1]);
        for (uint32_t i = 0; i < c->n_children; i++)
            hash = mix_column(hash, &c->children[i], offsets[row], offsets[row + 1]);
        return hash;
    }
    size_t n = type_bytes(c->type);
    return mix(hash, (const uint8_t *)c->values + row * n, n);
}

static uint64_t mix_column(uint64_t hash, const column *c, uint32_t from, uint32_t to) {
    REQUIRE(to <= c->rows);
    for (uint32_t r = from; r < to; r++) hash = mix_value(hash, c, r);
    uint32_t n = to - from;
    return mix(hash, &n, 4);
}

static void no_wake(void *engine) {}

static outcome decode_all(const format *f, memory *m, buffer *text, uint32_t batch_rows, bool dead_letters) {
    atomic_bool cancelled = false;
    run_context run = {.memory = m, .cancelled = &cancelled, .parallelism = 1, .batch_rows = batch_rows,
                       .batch_bytes = 1 << 16, .wake = no_wake};
    REQUIRE(bad_records_create(dead_letters ? BAD_DEAD_LETTER : BAD_SKIP, "/dev/null", &run.bad, NULL) == TW_OK);
    decoder *d;
    REQUIRE(decoder_new(f, &run, NULL, &d, NULL) == TW_OK);
    span s = {text, text->data, text->size};
    span_place place = {.file = "input", .first_record = 1, .file_start = true};
    decoder_feed(d, &s, &place);
    outcome o = {.hash = 14695981039346656037u};
    uint64_t next = 0;
    tw_status status;
    batch *b;
    tw_error err;
    while ((status = decoder_next(d, &b, &err)) == TW_OK) {
        REQUIRE(b->rows >= 1 && b->rows <= batch_rows && b->position == next);
        next += b->rows;
        o.rows += b->rows;
        for (uint32_t r = 0; r < b->rows; r++)
            for (uint32_t c = 0; c < b->schema->n; c++) {
                REQUIRE(b->columns[c].rows == b->rows && b->columns[c].type == b->schema->fields[c].type);
                o.hash = mix_value(o.hash, &b->columns[c], r);
            }
        tw_error at = {0};
        batch_place(b, b->rows - 1, &at);
        REQUIRE(at.record >= o.rows);
        batch_unref(b);
    }
    REQUIRE(status == TW_END || status == TW_ERR_DATA || status == TW_ERR_MEMORY);
    o.records = decoder_records(d);
    o.bad = bad_records_count(run.bad);
    if (status == TW_END) REQUIRE(o.rows == decoder_rows(d) && o.rows + o.bad <= o.records);
    else o.records = UINT64_MAX; /* such as a header that is wrong */
    decoder_free(d);
    bad_records_free(run.bad);
    return o;
}

static void try_format(format *f, const uint8_t *data, size_t size) {
    memory *m;
    REQUIRE(memory_create((size_t)256 << 20, &m, NULL) == TW_OK);
    buffer *text;
    REQUIRE(buffer_new(m, MEMORY_FLOW, size, &text, NULL) == TW_OK);
    if (size) memcpy(text->data, data, size);
    tw_status status = TW_OK;
    if (!f->schema) {
        inference *n;
        bool enough;
        span s = {text, text->data, text->size};
        REQUIRE(inference_new(f, m, &n, NULL) == TW_OK);
        status = inference_add(n, &s, "input", true, &enough, NULL);
        if (status == TW_OK) status = inference_finish(n, NULL);
        inference_free(n);
    }
    if (status == TW_OK) {
        outcome a = decode_all(f, m, text, 1000, false), b = decode_all(f, m, text, 1 + size % 7, true);
        REQUIRE(a.records == b.records);
        if (a.records != UINT64_MAX) REQUIRE(a.rows == b.rows && a.bad == b.bad && a.hash == b.hash);
    }
    buffer_unref(text);
    format_free(f);
    memory_destroy(m);
}

#endif
