/* decode_libsvm.c: `libsvm`: `label index:value ...` a line. Indices stay as they are in the file,
 * usually from 1, and must rise; what follows `#` is a comment. */
#include <stdio.h>

#include "data/number_text.h"
#include "data/scan.h"
#include "io/line_rows.h"

typedef struct libsvm_decoder {
    decoder base;
    line_rows lines;
    column_builder *label, *features; /* NULL: not needed */
    buffer *pairs;                    /* of the line at hand: int32 indices, then float32 values */
    uint32_t room, n;
} libsvm_decoder;

static void free_builders(libsvm_decoder *d) {
    column_builder_free(d->label);
    column_builder_free(d->features);
    d->label = d->features = NULL;
}

static tw_status libsvm_reset(decoder *base, tw_error *err) {
    libsvm_decoder *d = (libsvm_decoder *)base;
    free_builders(d);
    memory *m = base->run->memory;
    if (decoder_needs(base, 0)) TRY(column_builder_new(m, type_of(TYPE_FLOAT64), &d->label, err));
    if (decoder_needs(base, 1)) TRY(column_builder_new(m, type_of(TYPE_SPARSE), &d->features, err));
    return TW_OK;
}

static int32_t *indices(const libsvm_decoder *d) { return (int32_t *)(void *)d->pairs->data; }
static float *values(const libsvm_decoder *d) { return (float *)(void *)d->pairs->data + d->room; }

static tw_status grow_pairs(libsvm_decoder *d, tw_error *err) {
    uint32_t room = d->room ? d->room * 2 : 256;
    buffer *larger;
    TRY(buffer_new(d->base.run->memory, MEMORY_FLOW, (size_t)room * 8, &larger, err));
    if (d->n) {
        memcpy(larger->data, indices(d), d->n * sizeof(int32_t));
        memcpy(larger->data + (size_t)room * 4, values(d), d->n * sizeof(float));
    }
    buffer_unref(d->pairs);
    d->pairs = larger;
    d->room = room;
    return TW_OK;
}

static inline bool is_space(uint8_t c) { return c == ' ' || (uint8_t)(c - '\t') < 5; }

/* `index:value`; false: what is wrong stands in reason. */
static bool read_pair(libsvm_decoder *d, const uint8_t *p, size_t n, char *reason) {
    char shown[SHOWN_MAX];
    size_t colon = find_byte(p, n, ':');
    int32_t index = 0;
    float value = 0;
    bool good = colon < n && parse_int32((const char *)p, colon, &index) == PARSE_OK && index >= 0;
    parse_status status = good ? parse_float32((const char *)p + colon + 1, n - colon - 1, &value) : PARSE_MALFORMED;
    if (status != PARSE_OK) {
        snprintf(reason, REASON_MAX, status == PARSE_RANGE ? "'%s': the value is out of the range of float32"
                 : "'%s' is no index:value", shown_text(p, n, shown));
        return false;
    }
    if (d->n && index <= indices(d)[d->n - 1]) {
        snprintf(reason, REASON_MAX, "'%s': indices must rise", shown_text(p, n, shown));
        return false;
    }
    indices(d)[d->n] = index;
    values(d)[d->n++] = value;
    return true;
}

static tw_status append_row(libsvm_decoder *d, double label, tw_error *err) {
    if (d->label) TRY(column_builder_float(d->label, label, err));
    if (!d->features) return TW_OK;
    column_builder *to_index = column_builder_child(d->features, 0);
    column_builder *to_value = column_builder_child(d->features, 1);
    for (uint32_t i = 0; i < d->n; i++) {
        TRY(column_builder_int(to_index, indices(d)[i], err));
        TRY(column_builder_float(to_value, (double)values(d)[i], err));
    }
    return column_builder_end_list(d->features, err);
}

static tw_status libsvm_line(decoder *base, const uint8_t *p, size_t n, line_verdict *out, char reason[REASON_MAX],
                             tw_error *err) {
    libsvm_decoder *d = (libsvm_decoder *)base;
    const uint8_t *end = p + find_byte(p, n, '#');
    double label = 0;
    bool has_label = false;
    *out = LINE_BAD;
    d->n = 0;
    while (true) {
        while (p < end && is_space(*p)) p++;
        if (p == end) break;
        const uint8_t *begin = p;
        while (p < end && !is_space(*p)) p++;
        size_t length = (size_t)(p - begin);
        if (has_label) {
            if (d->n == d->room) TRY(grow_pairs(d, err));
            if (!read_pair(d, begin, length, reason)) return TW_OK;
            continue;
        }
        has_label = true;
        if (parse_float64((const char *)begin, length, &label) == PARSE_OK) continue;
        char shown[SHOWN_MAX];
        snprintf(reason, REASON_MAX, "the label '%s' is no float64", shown_text(begin, length, shown));
        return TW_OK;
    }
    *out = has_label ? LINE_TAKEN : LINE_BLANK;
    return has_label ? append_row(d, label, err) : TW_OK;
}

static tw_status libsvm_finish(decoder *base, batch *b, tw_error *err) {
    libsvm_decoder *d = (libsvm_decoder *)base;
    if (d->label) TRY(column_builder_finish(d->label, &b->columns[0], err));
    if (d->features) TRY(column_builder_finish(d->features, &b->columns[1], err));
    return TW_OK;
}

static const line_rows_class libsvm_lines = {libsvm_line, libsvm_finish, libsvm_reset};

static void libsvm_begin(decoder *base) { line_rows_begin(base, &((libsvm_decoder *)base)->lines); }

static tw_status libsvm_next(decoder *base, batch **out, tw_error *err) {
    libsvm_decoder *d = (libsvm_decoder *)base;
    if (!d->label && !d->features) d->lines.dirty = true; /* makes the builders */
    return line_rows_next(base, &d->lines, &libsvm_lines, out, err);
}

static void libsvm_free(decoder *base) {
    libsvm_decoder *d = (libsvm_decoder *)base;
    free_builders(d);
    buffer_unref(d->pairs);
    line_rows_free(&d->lines);
}

static const decoder_class libsvm_class = {libsvm_begin, libsvm_next, libsvm_free};

tw_status libsvm_decoder_new(const format *f, run_context *run, decoder **out, tw_error *err) {
    return decoder_allocate(sizeof(libsvm_decoder), &libsvm_class, out, err);
}
