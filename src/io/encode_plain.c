/* encode_plain.c: values as plain text, the same in CSV, lines and edges. */
#include "io/encode_internal.h"

#define VALUES(type) ((const type *)c->values)

static uint8_t *put_bool(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    bool value = VALUES(uint8_t)[row];
    memcpy(to, value ? "true" : "false", 5);
    return to + (value ? 4 : 5);
}
static uint8_t *put_int32(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    return to + format_int64(VALUES(int32_t)[row], (char *)to);
}
static uint8_t *put_int64(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    return to + format_int64(VALUES(int64_t)[row], (char *)to);
}
static uint8_t *put_float32(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    return to + format_float32(VALUES(float)[row], (char *)to);
}
static uint8_t *put_float64(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    return to + format_float64(VALUES(double)[row], (char *)to);
}
static uint8_t *put_date(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    return to + format_date(VALUES(int32_t)[row], (char *)to);
}
static uint8_t *put_timestamp(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    return to + format_timestamp(VALUES(int64_t)[row], (char *)to);
}

put_value encode_plain_put(const type *t) {
    switch (t->kind) {
    case TYPE_BOOL: return put_bool;
    case TYPE_INT32: return put_int32;
    case TYPE_INT64: return put_int64;
    case TYPE_FLOAT32: return put_float32;
    case TYPE_FLOAT64: return put_float64;
    case TYPE_DATE: return put_date;
    case TYPE_TIMESTAMP: return put_timestamp;
    default: return NULL;
    }
}

size_t encode_plain_bytes_max(const type *t) {
    switch (t->kind) {
    case TYPE_BOOL: return 5;
    case TYPE_INT32: return 11;
    case TYPE_INT64: return 20;
    case TYPE_FLOAT32: return 16;
    case TYPE_FLOAT64: return 25;
    default: return FORMAT_TIME_MAX;
    }
}

uint8_t *encode_put_raw(const encode_field *f, const column *c, uint32_t row, uint8_t *to) {
    return put_raw(VALUES(view) + row, to);
}
