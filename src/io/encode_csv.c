/* encode_csv.c: CSV after RFC 4180, lines ended by LF, fields quoted only where they must be. */
#include <stdio.h>
#include <stdlib.h>

#include "io/encode_internal.h"

/* ---- texts ---- */

static inline bytes16 all16(uint8_t byte) { return (bytes16){0} + byte; }

static inline bytes16 is_special(const encoder *e, bytes16 x) {
    return (bytes16)((x == all16(e->special[0])) | (x == all16(e->special[1])) | (x == '\n') | (x == '\r'));
}

static uint8_t *put_quoted(const encoder *e, const uint8_t *p, size_t n, uint8_t *to) {
    uint8_t quote = e->options.quote;
    *to++ = quote;
    while (n) {
        const uint8_t *at = memchr(p, quote, n);
        size_t run = at ? (size_t)(at - p) + 1 : n;
        memcpy(to, p, run);
        to += run;
        if (at) *to++ = quote;
        p += run;
        n -= run;
    }
    *to++ = quote;
    return to;
}

/* Copies and looks at once; what turns out to need quotes is written again. */
static uint8_t *put_text(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    const encoder *e = f->encoder;
    const view *v = (const view *)c->values + row;
    uint32_t n = v->size;
    const uint8_t *p = v->small;
    bytes16 found = {0};
    if (n <= VIEW_SMALL_MAX) {
        const bytes16 size_is_no_text = {0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
        found = is_special(e, load16(v)) & size_is_no_text; /* the zeros behind a short one are not special */
        memcpy(to, v->small, VIEW_SMALL_MAX);
    } else if (n < 16) {
        p = v->data;
        uint64_t halves[2];
        memcpy(&halves[0], p, 8);
        memcpy(&halves[1], p + n - 8, 8);
        memcpy(to, &halves[0], 8);
        memcpy(to + n - 8, &halves[1], 8);
        found = is_special(e, load16(halves));
    } else {
        p = v->data;
        for (uint32_t i = 0; i + 16 < n; i += 16) {
            bytes16 x = load16(p + i);
            store16(to + i, x);
            found |= is_special(e, x);
        }
        bytes16 x = load16(p + n - 16);
        store16(to + n - 16, x);
        found |= is_special(e, x);
    }
    if (__builtin_expect(any16(found) || n == 0, 0)) return put_quoted(e, p, n, to);
    return to + n;
}

/* Without quotes: the caller has seen that none are needed. */
static bool needs_quotes(const encoder *e, const view *v) {
    const uint8_t *p = view_data(v);
    for (uint32_t i = 0; i < v->size; i++)
        if (e->special_in[p[i]]) return true;
    return false;
}

/* A number or time where the delimiter is one of the characters it is made of. */
static uint8_t *put_checked(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    uint8_t plain[FORMAT_TIME_MAX + ENCODE_SLACK];
    size_t n = (size_t)(encode_plain_put(c->type)(f, c, row, plain) - plain);
    for (size_t i = 0; i < n; i++)
        if (f->encoder->special_in[plain[i]]) return put_quoted(f->encoder, plain, n, to);
    memcpy(to, plain, n);
    return to + n;
}

/* ---- the plan ---- */

static bool may_stand_in_numbers(uint8_t byte) {
    return (byte >= '0' && byte <= '9') || (byte && strchr("+-.:aefilnrstuTZ", byte));
}

static tw_status csv_plan(encoder *e, tw_error *err) {
    const encode_options *o = &e->options;
    const uint8_t special[] = {o->delimiter, o->quote ? o->quote : o->delimiter, '\n', '\r'};
    memcpy(e->special, special, sizeof special);
    for (size_t i = 0; i < sizeof special; i++) e->special_in[special[i]] = true;
    TRY(encoder_set_fields(e, e->schema->n, err));
    bool ambiguous = may_stand_in_numbers(o->delimiter) || may_stand_in_numbers(o->quote);
    for (uint32_t i = 0; i < e->n_fields; i++) {
        encode_field *f = &e->fields[i];
        const type *t = e->schema->fields[i].type;
        f->column = i;
        if (type_is_view(t)) {
            f->put = o->quote ? put_text : encode_put_raw;
            f->text_growth = 2;
            f->only_special = true;
            f->bytes_max = 3;
            continue;
        }
        f->put = encode_plain_put(t);
        char name[200];
        if (!f->put)
            return error_set(err, TW_ERR_JOB, "CSV has no place for %s: leave it out, or write json",
                             encode_column_name(e, i, name, sizeof name));
        f->bytes_max = encode_plain_bytes_max(t) + 1;
        if (!ambiguous) continue;
        if (!o->quote)
            return error_set(err, TW_ERR_JOB, "without quotes the delimiter '%c' cannot be told from the text of %s",
                             o->delimiter, encode_column_name(e, i, name, sizeof name));
        f->put = put_checked;
        f->bytes_max = encode_plain_bytes_max(t) * 2 + 3;
    }
    return TW_OK;
}

static tw_status csv_begin(const encoder *e, byte_buffer *to, tw_error *err) {
    if (!e->options.header) return TW_OK;
    for (uint32_t i = 0; i < e->n_fields; i++) {
        const char *name = e->schema->fields[i].name;
        size_t n = strlen(name);
        TRY(byte_buffer_reserve(to, n * 2 + 3, err));
        uint8_t *at = to->bytes->data + to->size, *end = at;
        bool quoted = n == 0;
        for (size_t k = 0; k < n; k++) quoted |= e->special_in[(uint8_t)name[k]];
        if (quoted && e->options.quote) {
            end = put_quoted(e, (const uint8_t *)name, n, at);
        } else if (quoted && n) {
            return error_set(err, TW_ERR_DATA, "the name of column '%.100s' needs quotes in CSV, and there are none",
                             name);
        } else {
            memcpy(at, name, n);
            end = at + n;
        }
        *end++ = i + 1 < e->n_fields ? e->options.delimiter : '\n';
        to->size += (size_t)(end - at);
    }
    return TW_OK;
}

/* ---- rows ---- */

static tw_status check_unquoted(const encoder *e, const batch *b, uint32_t first, uint32_t n, tw_error *err) {
    for (uint32_t i = 0; i < e->n_fields; i++) {
        const column *c = &b->columns[i];
        if (!e->fields[i].text_growth) continue;
        for (uint32_t row = first; row < first + n; row++)
            if (column_is_valid(c, row) && needs_quotes(e, (const view *)c->values + row))
                return encode_row_error(b, row, err, "a text in column '%.100s' needs quotes in CSV, and there are "
                                        "none", e->schema->fields[i].name);
    }
    return TW_OK;
}

static tw_status csv_rows(const encoder *e, const batch *b, uint32_t first, uint32_t n, uint8_t **to, tw_error *err) {
    if (!e->options.quote) TRY(check_unquoted(e, b, first, n, err));
    uint32_t fields = e->n_fields;
    uint8_t delimiter = e->options.delimiter, *at = *to;
    for (uint32_t row = first; row < first + n; row++) {
        for (uint32_t i = 0; i < fields; i++) {
            const encode_field *f = &e->fields[i];
            const column *c = &b->columns[i];
            if (column_is_valid(c, row)) at = f->put(f, c, row, at);
            *at++ = delimiter;
        }
        at[-1] = '\n';
    }
    *to = at;
    return TW_OK;
}

const encode_class encode_csv = {
    .plan = csv_plan, .begin = csv_begin, .rows = csv_rows, .lines = true, .ending = ".csv"};
