/* encode_json.c: one object a line. Names stand as they are, so a dotted one stays flat; null, NaN and the
 * infinities are null; lists and vectors are arrays, a sparse value is {"indices": [...], "values": [...]},
 * a binary is base64 text. */
#include <math.h>
#include <stdlib.h>

#include "base/base64.h"
#include "io/encode_internal.h"

static uint8_t *put_bytes(uint8_t *to, const char *bytes, size_t n) {
    memcpy(to, bytes, n);
    return to + n;
}
static uint8_t *put_null(uint8_t *to) { return put_bytes(to, "null", 4); }

/* ---- texts ---- */

/* How a byte below 0x20, a quote or a backslash is written. */
static uint8_t *put_escape(uint8_t c, uint8_t *to) {
    static const char hex[] = "0123456789abcdef";
    *to++ = '\\';
    switch (c) {
    case '"':
    case '\\': *to++ = c; return to;
    case '\b': *to++ = 'b'; return to;
    case '\f': *to++ = 'f'; return to;
    case '\n': *to++ = 'n'; return to;
    case '\r': *to++ = 'r'; return to;
    case '\t': *to++ = 't'; return to;
    default:
        to = put_bytes(to, "u00", 3);
        *to++ = (uint8_t)hex[c >> 4];
        *to++ = (uint8_t)hex[c & 15];
        return to;
    }
}

static bool must_escape(uint8_t c) { return c < 0x20 || c == '"' || c == '\\'; }

static inline bytes16 escapes(bytes16 x) { return (bytes16)((x < 0x20) | (x == '"') | (x == '\\')); }

static uint8_t *put_escaped(const uint8_t *p, size_t n, uint8_t *to) {
    for (size_t i = 0; i < n; i++) {
        if (must_escape(p[i])) to = put_escape(p[i], to);
        else *to++ = p[i];
    }
    return to;
}

static uint8_t *put_string(const view *v, uint8_t *to) {
    const uint8_t *p = view_data(v);
    size_t n = v->size, i = 0;
    *to++ = '"';
    for (; i + 16 <= n; i += 16) {
        bytes16 x = load16(p + i);
        if (any16(escapes(x))) {
            to = put_escaped(p + i, 16, to);
        } else {
            store16(to, x);
            to += 16;
        }
    }
    to = put_escaped(p + i, n - i, to);
    *to++ = '"';
    return to;
}

static uint8_t *put_text(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    return put_string((const view *)c->values + row, to);
}
static uint8_t *put_binary(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    const view *v = (const view *)c->values + row;
    *to++ = '"';
    to = base64_encode(view_data(v), v->size, to);
    *to++ = '"';
    return to;
}

/* ---- numbers and times ---- */

/* Many readers, ours too, take "-0" for the integer, which has no sign. */
static uint8_t *put_fraction_of_zero(float value, uint8_t *to) {
    return value == 0 && signbit(value) ? put_bytes(to, ".0", 2) : to;
}
static uint8_t *put_one_float32(float value, uint8_t *to) {
    if (!isfinite(value)) return put_null(to);
    return put_fraction_of_zero(value, to + format_float32(value, (char *)to));
}
static uint8_t *put_float32(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    return put_one_float32(((const float *)c->values)[row], to);
}
static uint8_t *put_float64(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    double value = ((const double *)c->values)[row];
    if (!isfinite(value)) return put_null(to);
    to += format_float64(value, (char *)to);
    return value == 0 ? put_fraction_of_zero((float)value, to) : to;
}
static uint8_t *put_time(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    *to++ = '"';
    to = encode_plain_put(c->type)(f, c, row, to);
    *to++ = '"';
    return to;
}

/* ---- nested values ---- */

static uint8_t *put_floats(const float *values, size_t n, uint8_t *to) {
    *to++ = '[';
    for (size_t i = 0; i < n; i++) {
        if (i) *to++ = ',';
        to = put_one_float32(values[i], to);
    }
    *to++ = ']';
    return to;
}

static uint8_t *put_vector(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    uint32_t width = c->type->width;
    return put_floats((const float *)c->values + (size_t)row * width, width, to);
}

static uint8_t *put_sparse(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    const uint32_t *offsets = c->values;
    to = put_bytes(to, "{\"indices\":[", 12);
    for (uint32_t i = offsets[row]; i < offsets[row + 1]; i++) {
        if (i > offsets[row]) *to++ = ',';
        to += format_int64(((const int32_t *)c->children[0].values)[i], (char *)to);
    }
    to = put_bytes(to, "],\"values\":", 11);
    to = put_floats((const float *)c->children[1].values + offsets[row], offsets[row + 1] - offsets[row], to);
    *to++ = '}';
    return to;
}

static uint8_t *put_list(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    const uint32_t *offsets = c->values;
    const column *items = &c->children[0];
    put_value put = encode_json_put(items->type);
    *to++ = '[';
    for (uint32_t i = offsets[row]; i < offsets[row + 1]; i++) {
        if (i > offsets[row]) *to++ = ',';
        to = column_is_valid(items, i) ? put(f, items, i, to) : put_null(to);
    }
    *to++ = ']';
    return to;
}

put_value encode_json_put(const type *t) {
    switch (t->kind) {
    case TYPE_FLOAT32: return put_float32;
    case TYPE_FLOAT64: return put_float64;
    case TYPE_DATE:
    case TYPE_TIMESTAMP: return put_time;
    case TYPE_STRING: return put_text;
    case TYPE_BINARY: return put_binary;
    case TYPE_VECTOR: return put_vector;
    case TYPE_SPARSE: return put_sparse;
    case TYPE_LIST: return put_list;
    default: return encode_plain_put(t);
    }
}

/* A value of fixed size, without the bytes of its text. */
static size_t bytes_max_of(const type *t) {
    switch (t->kind) {
    case TYPE_STRING:
    case TYPE_BINARY: return 8; /* quotes, and the last base64 group */
    case TYPE_VECTOR: return 2 + (size_t)t->width * (encode_plain_bytes_max(type_of(TYPE_FLOAT32)) + 1);
    case TYPE_SPARSE:
    case TYPE_LIST: return 4;
    default: return encode_plain_bytes_max(t) + 2;
    }
}

static unsigned text_growth_of(const type *t) {
    return t->kind == TYPE_STRING ? 6 : t->kind == TYPE_BINARY ? 2 : 0;
}

size_t encode_json_bound(const column *c, uint32_t row) {
    const type *t = c->type;
    size_t bound = bytes_max_of(t) + 1;
    if (type_is_view(t)) return bound + ((const view *)c->values)[row].size * (size_t)text_growth_of(t);
    if (!type_is_nested(t)) return bound;
    const uint32_t *offsets = c->values;
    uint32_t n = offsets[row + 1] - offsets[row];
    if (t->kind == TYPE_SPARSE) return bound + 32 + (size_t)n * (11 + 16 + 2);
    const column *items = &c->children[0];
    if (!type_is_view(items->type) && !type_is_nested(items->type)) return bound + n * (bytes_max_of(items->type) + 1);
    for (uint32_t i = offsets[row]; i < offsets[row + 1]; i++)
        bound += column_is_valid(items, i) ? encode_json_bound(items, i) : 5;
    return bound;
}

/* ---- the plan and the rows ---- */

/* `{"name":` of the first field, `,"name":` of the others. */
static tw_status make_before(encode_field *f, const char *name, bool first, tw_error *err) {
    size_t n = strlen(name);
    f->before = malloc(n * 6 + 4);
    if (!f->before) return error_set(err, TW_ERR_MEMORY, "out of memory for an encoder");
    uint8_t *to = f->before;
    *to++ = first ? '{' : ',';
    *to++ = '"';
    to = put_escaped((const uint8_t *)name, n, to);
    *to++ = '"';
    *to++ = ':';
    f->before_bytes = (uint32_t)(to - f->before);
    return TW_OK;
}

static tw_status json_plan(encoder *e, tw_error *err) {
    for (int c = 0; c < 256; c++) e->special_in[c] = must_escape((uint8_t)c);
    TRY(encoder_set_fields(e, e->schema->n, err));
    for (uint32_t i = 0; i < e->n_fields; i++) {
        encode_field *f = &e->fields[i];
        const type *t = e->schema->fields[i].type;
        f->column = i;
        f->put = encode_json_put(t);
        f->text_growth = text_growth_of(t);
        f->only_special = t->kind == TYPE_STRING;
        f->nested = type_is_nested(t);
        TRY(make_before(f, e->schema->fields[i].name, i == 0, err));
        f->bytes_max = bytes_max_of(t) + f->before_bytes + 6; /* "null", the end of the object and the line */
    }
    return TW_OK;
}

static tw_status json_rows(const encoder *e, const batch *b, uint32_t first, uint32_t n, uint8_t **to, tw_error *err) {
    uint8_t *at = *to;
    for (uint32_t row = first; row < first + n; row++) {
        for (uint32_t i = 0; i < e->n_fields; i++) {
            const encode_field *f = &e->fields[i];
            const column *c = &b->columns[i];
            memcpy(at, f->before, f->before_bytes);
            at += f->before_bytes;
            at = column_is_valid(c, row) ? f->put(f, c, row, at) : put_null(at);
        }
        *at++ = '}';
        *at++ = '\n';
    }
    *to = at;
    return TW_OK;
}

const encode_class encode_json = {.plan = json_plan, .rows = json_rows, .lines = true, .ending = ".json"};
