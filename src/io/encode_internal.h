/* encode_internal.h: what the encoders share. An encoder is a list of fields, each with a function that
 * writes one value, and a function that writes rows; encode.c sees to room, so that neither checks it. */
#ifndef IO_ENCODE_INTERNAL_H
#define IO_ENCODE_INTERNAL_H

#include "data/number_text.h"
#include "data/time_text.h"
#include "io/encode.h"

/* Writers may touch so many bytes past what they are granted. */
#define ENCODE_SLACK 32

typedef struct encode_field encode_field;

/* Writes value `row`, which is not null; returns the end. */
typedef uint8_t *(*put_value)(const encode_field *f, const column *c, uint32_t row, uint8_t *to);

struct encode_field {
    const encoder *encoder;
    uint32_t column;      /* of the schema */
    put_value put;
    uint8_t *before;      /* JSON: the name and what stands around it; owned */
    uint32_t before_bytes;
    size_t bytes_max;     /* at most so many for a row, what surrounds the value included; of texts
                           * and nested values: besides their own */
    unsigned text_growth; /* texts: a byte becomes at most so many; 0: no text */
    bool only_special;    /* texts: and only those that are special grow */
    bool nested;          /* list or sparse: only looking tells the bytes */
};

typedef struct encode_class {
    /* Checks the schema and fills in the fields. Errors as encoder_new. */
    tw_status (*plan)(encoder *e, tw_error *err);
    /* Optional; as encoder_begin. */
    tw_status (*begin)(const encoder *e, byte_buffer *to, tw_error *err);
    /* Writes rows [first, first + n) and moves *to; the room is there. TW_ERR_DATA. */
    tw_status (*rows)(const encoder *e, const batch *b, uint32_t first, uint32_t n, uint8_t **to, tw_error *err);
    bool lines;
    const char *ending;
} encode_class;

struct encoder {
    const encode_class *class;
    encode_options options;
    schema *schema;
    uint32_t n_fields;
    encode_field *fields;
    uint8_t special[4];   /* csv: bytes that make a text be quoted */
    bool special_in[256]; /* csv and json: bytes that are not written as they are */
};

extern const encode_class encode_csv, encode_json, encode_lines, encode_records, encode_binary, encode_libsvm,
    encode_edges;

/* Room for n fields, zeroed but for the encoder. */
tw_status encoder_set_fields(encoder *e, uint32_t n, tw_error *err);
/* "column 'x' of type list<int64>" */
const char *encode_column_name(const encoder *e, uint32_t index, char *out, size_t capacity);
/* The bytes that a value takes at most in JSON, whatever its type. */
size_t encode_json_bound(const column *c, uint32_t row);

/* A type's plain text, as CSV has it: bool to timestamp. NULL for other types. */
put_value encode_plain_put(const type *t);
/* Its longest text. */
size_t encode_plain_bytes_max(const type *t);
/* Any type as JSON. */
put_value encode_json_put(const type *t);
/* The bytes of a string or binary as they are. */
uint8_t *encode_put_raw(const encode_field *f, const column *c, uint32_t row, uint8_t *to);
/* An error about a value of row `row` (with its place). TW_ERR_DATA. */
tw_status encode_row_error(const batch *b, uint32_t row, tw_error *err, const char *words, ...)
    __attribute__((format(printf, 4, 5)));

/* The only column, or the one of that name; -1 if there is neither. */
int encode_chosen_column(const schema *s, const char *name);

/* ---- sixteen bytes at a time, on whatever the processor has ---- */

typedef uint8_t bytes16 __attribute__((vector_size(16)));

static inline bytes16 load16(const void *p) {
    bytes16 x;
    memcpy(&x, p, 16);
    return x;
}
static inline void store16(void *p, bytes16 x) { memcpy(p, &x, 16); }

/* The bytes of a view as they are. */
static inline uint8_t *put_raw(const view *v, uint8_t *to) {
    if (v->size <= VIEW_SMALL_MAX) {
        memcpy(to, v->small, VIEW_SMALL_MAX);
        return to + v->size;
    }
    /* Sixteen at a time, the last ones again: most texts are too short for a call of memcpy to pay. */
    uint32_t n = v->size;
    if (n > 128) {
        memcpy(to, v->data, n);
    } else if (n >= 16) {
        for (uint32_t i = 0; i + 16 < n; i += 16) store16(to + i, load16(v->data + i));
        store16(to + n - 16, load16(v->data + n - 16));
    } else {
        memcpy(to, v->data, 8);
        memcpy(to + n - 8, v->data + n - 8, 8);
    }
    return to + n;
}

static inline bool any16(bytes16 x) {
    uint64_t halves[2];
    memcpy(halves, &x, 16);
    return (halves[0] | halves[1]) != 0;
}

#endif
