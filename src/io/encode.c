#include "io/encode_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* So many rows are given room at a time, fewer when they could make more than ROOM_BYTES: the worst
 * case of a text is several times what it mostly takes. */
#define ROWS_AT_ONCE 64
#define ROOM_BYTES ((size_t)64 << 10)
/* The worst case of a longer text is counted, not assumed. */
#define COUNTED_BYTES_MIN 1024

static const encode_class *const classes[FORMAT_KINDS] = {
    [FORMAT_LINES] = &encode_lines,   [FORMAT_CSV] = &encode_csv,       [FORMAT_JSON] = &encode_json,
    [FORMAT_RECORDS] = &encode_records, [FORMAT_BINARY] = &encode_binary, [FORMAT_LIBSVM] = &encode_libsvm,
    [FORMAT_EDGES] = &encode_edges,
};

encode_options encode_options_default(format_kind kind) {
    return (encode_options){.kind = kind, .header = true, .delimiter = ',', .quote = '"'};
}

/* ---- making one ---- */

tw_status encoder_new(const encode_options *o, schema *s, encoder **out, tw_error *err) {
    const encode_class *class = o->kind < FORMAT_KINDS ? classes[o->kind] : NULL;
    if (!class)
        return error_set(err, TW_ERR_JOB, "format '%s' cannot be written by this version",
                         o->kind < FORMAT_KINDS ? format_names[o->kind] : "?");
    encoder *e = calloc(1, sizeof *e);
    if (!e) return error_set(err, TW_ERR_MEMORY, "out of memory for an encoder");
    e->class = class;
    e->options = *o;
    e->schema = schema_ref(s);
    tw_status status = class->plan(e, err);
    if (status != TW_OK) {
        encoder_free(e);
        return status;
    }
    *out = e;
    return TW_OK;
}

void encoder_free(encoder *e) {
    if (!e) return;
    for (uint32_t i = 0; i < e->n_fields; i++) free(e->fields[i].before);
    free(e->fields);
    schema_unref(e->schema);
    free(e);
}

tw_status encoder_set_fields(encoder *e, uint32_t n, tw_error *err) {
    e->fields = calloc((size_t)n + 1, sizeof *e->fields);
    if (!e->fields) return error_set(err, TW_ERR_MEMORY, "out of memory for an encoder");
    e->n_fields = n;
    for (uint32_t i = 0; i < n; i++) e->fields[i].encoder = e;
    return TW_OK;
}

const char *encode_column_name(const encoder *e, uint32_t index, char *out, size_t capacity) {
    char shown[64];
    const field *f = &e->schema->fields[index];
    snprintf(out, capacity, "column '%.100s' of type %s", f->name, type_name(f->type, shown, sizeof shown));
    return out;
}

int encode_chosen_column(const schema *s, const char *name) {
    int found = schema_find(s, name);
    return found >= 0 ? found : s->n == 1 ? 0 : -1;
}

void encoder_needs(const encoder *e, bool *needed) {
    for (uint32_t i = 0; i < e->n_fields; i++) needed[e->fields[i].column] = true;
}

bool encoder_writes_lines(const encoder *e) { return e->class->lines; }
const char *encoder_ending(const encoder *e) { return e->class->ending; }

/* ---- bytes under construction ---- */

tw_status byte_buffer_reserve(byte_buffer *b, size_t more, tw_error *err) {
    size_t have = b->bytes ? b->bytes->size : 0;
    if (have - b->size >= more) return TW_OK;
    if (more > SIZE_MAX / 4 || b->size > SIZE_MAX / 4) return error_set(err, TW_ERR_MEMORY, "a row too long to write");
    size_t capacity = have * 2 > b->size + more ? have * 2 : b->size + more;
    buffer *larger;
    TRY(buffer_new(b->memory, MEMORY_FLOW, capacity, &larger, err));
    if (b->size) memcpy(larger->data, b->bytes->data, b->size);
    buffer_unref(b->bytes);
    b->bytes = larger;
    return TW_OK;
}

tw_status byte_buffer_append(byte_buffer *b, const void *bytes, size_t n, tw_error *err) {
    TRY(byte_buffer_reserve(b, n, err));
    if (n) memcpy(b->bytes->data + b->size, bytes, n);
    b->size += n;
    return TW_OK;
}

void byte_buffer_clear(byte_buffer *b) {
    buffer_unref(b->bytes);
    b->bytes = NULL;
    b->size = 0;
}

/* ---- rows ---- */

tw_status encode_row_error(const batch *b, uint32_t row, tw_error *err, const char *words, ...) {
    char message[512];
    va_list arguments;
    va_start(arguments, words);
    vsnprintf(message, sizeof message, words, arguments);
    va_end(arguments);
    error_set(err, TW_ERR_DATA, "%s", message);
    if (err) batch_place(b, row, err);
    return TW_ERR_DATA;
}

tw_status encoder_begin(const encoder *e, byte_buffer *to, tw_error *err) {
    return e->class->begin ? e->class->begin(e, to, err) : TW_OK;
}

/* What the bytes of a text come to at most beyond one each. */
static size_t text_excess(const encode_field *f, const view *v) {
    size_t growth = f->text_growth - 1;
    if (v->size < COUNTED_BYTES_MIN || !f->only_special) return v->size * growth;
    size_t n = 0;
    for (uint32_t i = 0; i < v->size; i++) n += f->encoder->special_in[v->data[i]];
    return n * growth;
}

static size_t field_bound(const encode_field *f, const column *c, uint32_t first, uint32_t n) {
    size_t bound = f->bytes_max * n;
    if (f->text_growth) {
        const view *v = c->values;
        for (uint32_t row = first; row < first + n; row++)
            if (column_is_valid(c, row)) bound += v[row].size + text_excess(f, &v[row]);
    } else if (f->nested) {
        for (uint32_t row = first; row < first + n; row++)
            if (column_is_valid(c, row)) bound += encode_json_bound(c, row);
    }
    return bound;
}

static size_t rows_bound(const encoder *e, const batch *b, uint32_t first, uint32_t n) {
    size_t bound = ENCODE_SLACK;
    for (uint32_t i = 0; i < e->n_fields; i++)
        bound += field_bound(&e->fields[i], &b->columns[e->fields[i].column], first, n);
    return bound;
}

size_t encoder_estimate(const encoder *e, const batch *b) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < e->n_fields; i++) {
        const encode_field *f = &e->fields[i];
        const column *c = &b->columns[f->column];
        bytes += (f->bytes_max / 2 + 1) * b->rows;
        if (!f->text_growth) continue;
        const view *v = c->values;
        for (uint32_t row = 0; row < b->rows; row++) bytes += v[row].size;
    }
    return bytes;
}

tw_status encoder_append(const encoder *e, const batch *b, byte_buffer *to, tw_error *err) {
    size_t begin = to->size;
    tw_status status = TW_OK;
    for (uint32_t first = 0, n; first < b->rows && status == TW_OK; first += n) {
        n = b->rows - first < ROWS_AT_ONCE ? b->rows - first : ROWS_AT_ONCE;
        size_t bound;
        while ((bound = rows_bound(e, b, first, n)) > ROOM_BYTES && n > 1) n /= 2;
        status = byte_buffer_reserve(to, bound, err);
        if (status != TW_OK) break;
        uint8_t *end = to->bytes->data + to->size;
        status = e->class->rows(e, b, first, n, &end, err);
        to->size = (size_t)(end - to->bytes->data);
    }
    if (status != TW_OK) to->size = begin;
    return status;
}

tw_status encoder_append_row(const encoder *e, const batch *b, uint32_t row, byte_buffer *to, tw_error *err) {
    TRY(byte_buffer_reserve(to, rows_bound(e, b, row, 1), err));
    uint8_t *end = to->bytes->data + to->size;
    TRY(e->class->rows(e, b, row, 1, &end, err));
    to->size = (size_t)(end - to->bytes->data);
    return TW_OK;
}
