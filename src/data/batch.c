#include "data/batch.h"

#include <stdlib.h>

static tw_status no_system_memory(tw_error *err) {
    return error_set(err, TW_ERR_MEMORY, "the system's memory is used up");
}

tw_status batch_new(schema *s, uint32_t rows, batch **out, tw_error *err) {
    batch *b = calloc(1, sizeof *b + s->n * sizeof(column));
    *out = b;
    if (!b) return no_system_memory(err);
    atomic_init(&b->references, 1);
    b->schema = schema_ref(s);
    b->rows = rows;
    return TW_OK;
}

batch *batch_ref(batch *b) {
    if (b) atomic_fetch_add_explicit(&b->references, 1, memory_order_relaxed);
    return b;
}

void batch_unref(batch *b) {
    if (!b || atomic_fetch_sub_explicit(&b->references, 1, memory_order_acq_rel) != 1) return;
    for (uint32_t i = 0; i < b->schema->n; i++) column_clear(&b->columns[i]);
    origin_unref(b->origin);
    buffer_unref(b->origin_rows);
    schema_unref(b->schema);
    free(b);
}

/* ---- sizes ---- */

/* Columns of one batch often share a heap: each buffer is counted once, as far as the latest tell. */
enum { RECENT = 32 };

typedef struct tally {
    size_t bytes;
    const buffer *recent[RECENT];
    unsigned n;
} tally;

static void tally_buffer(tally *t, const buffer *b) {
    if (!b) return;
    for (unsigned i = 0; i < RECENT && i < t->n; i++)
        if (t->recent[i] == b) return;
    t->recent[t->n++ % RECENT] = b;
    t->bytes += b->size;
}

static void tally_column(tally *t, const column *c) {
    tally_buffer(t, c->values_buffer);
    tally_buffer(t, c->valid_buffer);
    tally_buffer(t, c->heap);
    for (uint32_t i = 0; i < c->n_children; i++) tally_column(t, &c->children[i]);
}

size_t batch_bytes(const batch *b) {
    tally t = {.bytes = 0};
    for (uint32_t i = 0; i < b->schema->n; i++) tally_column(&t, &b->columns[i]);
    return t.bytes;
}

/* ---- origins ---- */

tw_status origin_new(const char *file, uint64_t first_record, origin **out, tw_error *err) {
    size_t size = file ? strlen(file) + 1 : 1;
    origin *o = calloc(1, sizeof *o + size);
    *out = o;
    if (!o) return no_system_memory(err);
    atomic_init(&o->references, 1);
    o->file = (char *)(o + 1);
    if (file) memcpy(o->file, file, size);
    o->first_record = first_record;
    return TW_OK;
}

origin *origin_ref(origin *o) {
    if (o) atomic_fetch_add_explicit(&o->references, 1, memory_order_relaxed);
    return o;
}

void origin_unref(origin *o) {
    if (!o || atomic_fetch_sub_explicit(&o->references, 1, memory_order_acq_rel) != 1) return;
    buffer_unref(o->raw_buffer);
    buffer_unref(o->raw_heap);
    if (o->release) o->release(o->context);
    free(o);
}

static const uint32_t *origin_records(const batch *b) {
    return b->origin_rows ? (const uint32_t *)(const void *)b->origin_rows->data : NULL;
}

void batch_place(const batch *b, uint32_t row, tw_error *err) {
    if (!b->origin || row >= b->rows) return;
    const uint32_t *records = origin_records(b);
    uint32_t record = records ? records[row] : row;
    if (record == UINT32_MAX) return;
    const origin *o = b->origin;
    uint64_t before = o->records_before ? o->records_before(o) : 0;
    error_in_data(err, o->file, before + o->first_record + record);
}

tw_status batch_inherit_origin(memory *m, const batch *in, const uint32_t *rows, buffer *rows_buffer,
                               batch *out, tw_error *err) {
    if (!in->origin) return TW_OK;
    const uint32_t *records = origin_records(in);
    if (!rows) {
        out->origin_rows = buffer_ref(in->origin_rows);
    } else if (!records && rows_buffer) {
        out->origin_rows = buffer_ref(rows_buffer);
    } else {
        TRY(buffer_new(m, MEMORY_FLOW, (size_t)out->rows * 4, &out->origin_rows, err));
        uint32_t *to = (uint32_t *)(void *)out->origin_rows->data;
        for (uint32_t i = 0; i < out->rows; i++)
            to[i] = records && rows[i] != UINT32_MAX ? records[rows[i]] : rows[i];
    }
    out->origin = origin_ref(in->origin);
    return TW_OK;
}

/* For rows [first, first + out->rows). */
static tw_status slice_origin(memory *m, const batch *in, uint32_t first, batch *out, tw_error *err) {
    if (!in->origin || !first) return batch_inherit_origin(m, in, NULL, NULL, out, err);
    const uint32_t *records = origin_records(in);
    TRY(buffer_new(m, MEMORY_FLOW, (size_t)out->rows * 4, &out->origin_rows, err));
    uint32_t *to = (uint32_t *)(void *)out->origin_rows->data;
    for (uint32_t i = 0; i < out->rows; i++) to[i] = records ? records[first + i] : first + i;
    out->origin = origin_ref(in->origin);
    return TW_OK;
}

/* ---- picked and sliced ---- */

tw_status batch_pick(memory *m, const batch *in, const uint32_t *rows, buffer *rows_buffer, uint32_t n,
                     batch **out, tw_error *err) {
    batch *b;
    *out = NULL;
    TRY(batch_new(in->schema, n, &b, err));
    b->position = in->position + (rows[0] != UINT32_MAX ? rows[0] : 0);
    tw_status status = batch_inherit_origin(m, in, rows, rows_buffer, b, err);
    for (uint32_t i = 0; i < in->schema->n && status == TW_OK; i++)
        status = column_pick(m, &in->columns[i], rows, n, &b->columns[i], err);
    if (status == TW_OK) *out = b;
    else batch_unref(b);
    return status;
}

tw_status batch_slice(memory *m, batch *in, uint32_t first, uint32_t n, batch **out, tw_error *err) {
    *out = NULL;
    if (first == 0 && n == in->rows) {
        *out = batch_ref(in);
        return TW_OK;
    }
    batch *b;
    TRY(batch_new(in->schema, n, &b, err));
    b->position = in->position + first;
    tw_status status = slice_origin(m, in, first, b, err);
    for (uint32_t i = 0; i < in->schema->n && status == TW_OK; i++)
        status = column_slice(m, &in->columns[i], first, n, &b->columns[i], err);
    if (status == TW_OK) *out = b;
    else batch_unref(b);
    return status;
}
