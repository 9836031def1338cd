#include "io/parcel.h"

#include <stdlib.h>

/* A message of so many bytes is sent from where it is. */
#define REFERENCE_BYTES_MIN ((size_t)64 << 10)

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "the system's memory is used up"); }

int parcel_raw_column(const encode_options *o, stream_framing framing, const encoder *e, const schema *s) {
    bool raw = o->kind == FORMAT_BINARY || o->kind == FORMAT_LINES;
    int found = -1;
    bool *needed = calloc(s->n + 1, 1);
    if (raw && needed && framing != STREAM_NEWLINE) {
        encoder_needs(e, needed);
        for (uint32_t i = 0; i < s->n; i++)
            if (needed[i] && type_is_view(s->fields[i].type)) found = (int)i;
    }
    free(needed);
    return found;
}

void parcel_unref(parcel *p) {
    if (!p || atomic_fetch_sub(&p->references, 1) != 1) return;
    buffer_unref(p->bytes);
    batch_unref(p->rows_of);
    free(p);
}

void parcels_free(parcel *p) {
    while (p) {
        parcel *next = p->next;
        parcel_unref(p);
        p = next;
    }
}

/* The bytes of one message go behind those that are there. */
static tw_status append_message(const parcel_format *f, const batch *b, uint32_t row, byte_buffer *to, tw_error *err) {
    size_t begin = to->size, head = f->framing == STREAM_LENGTH ? LENGTH_BYTES : 0;
    static const uint8_t none[LENGTH_BYTES];
    TRY(byte_buffer_append(to, none, head, err));
    tw_status status = encoder_append_row(f->encoder, b, row, to, err);
    if (status != TW_OK) {
        to->size = begin;
        return status;
    }
    if (f->framing == STREAM_NEWLINE) return TW_OK;
    if (encoder_writes_lines(f->encoder) && to->size > begin + head) to->size--;
    if (head) length_write(to->bytes->data + begin, (uint32_t)(to->size - begin - head));
    return TW_OK;
}

/* Bytes of a column with their lengths, without the encoder. */
static tw_status append_frames(const column *c, uint32_t rows, byte_buffer *to, tw_error *err) {
    const view *v = c->values;
    size_t bytes = 0;
    for (uint32_t row = 0; row < rows; row++) bytes += LENGTH_BYTES + (size_t)v[row].size;
    TRY(byte_buffer_reserve(to, bytes + VIEW_SMALL_MAX, err));
    uint8_t *at = to->bytes->data + to->size;
    for (uint32_t row = 0; row < rows; row++) {
        length_write(at, v[row].size);
        at += LENGTH_BYTES;
        if (v[row].size <= VIEW_SMALL_MAX) memcpy(at, v[row].small, VIEW_SMALL_MAX);
        else memcpy(at, v[row].data, v[row].size);
        at += v[row].size;
    }
    to->size += bytes;
    return TW_OK;
}

static tw_status parcel_new(const parcel_format *f, byte_buffer *bytes, uint64_t rows, parcel **out, tw_error *err) {
    parcel *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    atomic_init(&p->references, 1);
    p->rows = rows;
    p->bytes = bytes->bytes;
    p->data = bytes->bytes ? bytes->bytes->data : NULL;
    p->data_bytes = bytes->size;
    if (f->head) p->head_bytes = f->head(f->context, p->data_bytes, p->head);
    *bytes = (byte_buffer){.memory = bytes->memory};
    *out = p;
    return TW_OK;
}

/* A message that stays where it is. */
static tw_status parcel_of_value(const parcel_format *f, batch *b, uint32_t row, parcel **out, tw_error *err) {
    const view *v = (const view *)b->columns[f->raw_column].values + row;
    parcel *p = calloc(1, sizeof *p);
    if (!p) return no_memory(err);
    atomic_init(&p->references, 1);
    p->rows = 1;
    p->rows_of = batch_ref(b);
    p->data = view_data(v);
    p->data_bytes = v->size;
    if (f->framing == STREAM_LENGTH) {
        length_write(p->head, v->size);
        p->head_bytes = LENGTH_BYTES;
    }
    if (f->head) p->head_bytes = f->head(f->context, p->data_bytes, p->head);
    *out = p;
    return TW_OK;
}

static tw_status each_apart(const parcel_format *f, memory *m, batch *b, parcel **out, tw_error *err) {
    parcel *first = NULL, **last = &first;
    byte_buffer bytes = {.memory = m};
    tw_status status = TW_OK;
    for (uint32_t row = 0; row < b->rows && status == TW_OK; row++) {
        if (f->raw_column >= 0) {
            status = parcel_of_value(f, b, row, last, err);
        } else {
            status = append_message(f, b, row, &bytes, err);
            if (status == TW_OK) status = parcel_new(f, &bytes, 1, last, err);
        }
        if (status == TW_OK) last = &(*last)->next;
    }
    byte_buffer_clear(&bytes);
    if (status == TW_OK) *out = first;
    else parcels_free(first);
    return status;
}

static tw_status all_together(const parcel_format *f, memory *m, batch *b, parcel **out, tw_error *err) {
    byte_buffer bytes = {.memory = m};
    tw_status status = TW_OK;
    if (f->framing == STREAM_NEWLINE) {
        status = byte_buffer_reserve(&bytes, encoder_estimate(f->encoder, b), err);
        if (status == TW_OK && f->start_each) status = encoder_begin(f->encoder, &bytes, err);
        if (status == TW_OK) status = encoder_append(f->encoder, b, &bytes, err);
    } else if (f->raw_column >= 0) {
        status = append_frames(&b->columns[f->raw_column], b->rows, &bytes, err);
    } else {
        for (uint32_t row = 0; row < b->rows && status == TW_OK; row++) status = append_message(f, b, row, &bytes, err);
    }
    if (status == TW_OK) status = parcel_new(f, &bytes, b->rows, out, err);
    byte_buffer_clear(&bytes);
    return status;
}

static bool is_long(const parcel_format *f, const batch *b) {
    const view *v = b->columns[f->raw_column].values;
    size_t bytes = 0;
    for (uint32_t row = 0; row < b->rows; row++) bytes += v[row].size;
    return bytes / b->rows >= REFERENCE_BYTES_MIN;
}

/* A null has no bytes to send. */
static tw_status check_nulls(const parcel_format *f, const batch *b, tw_error *err) {
    const column *c = &b->columns[f->raw_column];
    for (uint32_t row = 0; row < b->rows && c->valid; row++) {
        if (column_is_valid(c, row)) continue;
        error_set(err, TW_ERR_DATA, "a null cannot be sent as a message");
        batch_place(b, row, err);
        return TW_ERR_DATA;
    }
    return TW_OK;
}

tw_status parcels_of_batch(const parcel_format *f, memory *m, batch *b, parcel **out, tw_error *err) {
    bool raw = f->raw_column >= 0;
    if (raw) TRY(check_nulls(f, b, err));
    if (f->one_each || (raw && is_long(f, b))) return each_apart(f, m, b, out, err);
    return all_together(f, m, b, out, err);
}

tw_status parcel_of_start(const parcel_format *f, memory *m, parcel **out, tw_error *err) {
    byte_buffer bytes = {.memory = m};
    *out = NULL;
    if (f->start_each) return TW_OK;
    size_t head = f->framing == STREAM_LENGTH ? LENGTH_BYTES : 0;
    static const uint8_t none[LENGTH_BYTES];
    tw_status status = byte_buffer_append(&bytes, none, head, err);
    if (status == TW_OK) status = encoder_begin(f->encoder, &bytes, err);
    if (status == TW_OK && bytes.size > head) {
        if (head) length_write(bytes.bytes->data, (uint32_t)(--bytes.size - head));
        status = parcel_new(f, &bytes, 0, out, err);
    }
    byte_buffer_clear(&bytes);
    return status;
}

size_t parcel_message_begin(const parcel_format *f, const parcel *p, size_t at) {
    if (f->head || p->head_bytes || f->one_each || at >= p->data_bytes) return at >= parcel_bytes(p) ? at : 0;
    size_t begin = 0;
    if (f->framing == STREAM_LENGTH) {
        for (size_t next = 0; next <= at; next += LENGTH_BYTES + (size_t)length_read(p->data + next)) begin = next;
        return begin;
    }
    bool quoted = false, quotes = f->encode.kind == FORMAT_CSV && f->encode.quote;
    for (size_t i = 0; i < at; i++) {
        if (quotes && p->data[i] == f->encode.quote) quoted = !quoted;
        else if (p->data[i] == '\n' && !quoted) begin = i + 1;
    }
    return begin;
}
