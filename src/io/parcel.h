/* parcel.h: rows as messages ready to be sent. */
#ifndef IO_PARCEL_H
#define IO_PARCEL_H

#include "io/encode.h"
#include "io/framing.h"

enum { PARCEL_HEAD_MAX = 512 };

/* Whole messages: `head`, then `data`. Immutable but for its references and `next`. */
typedef struct parcel {
    atomic_uint references;
    atomic_bool counted;   /* its rows have left */
    struct parcel *next;   /* of those of one batch */
    uint8_t head[PARCEL_HEAD_MAX];
    size_t head_bytes;
    const uint8_t *data;
    size_t data_bytes;
    buffer *bytes;         /* what keeps the data alive: one of the two */
    batch *rows_of;
    uint64_t rows;
} parcel;

typedef struct parcel_format {
    encoder *encoder;
    encode_options encode;
    stream_framing framing;
    bool one_each;         /* a parcel for each message */
    bool start_each;       /* each parcel begins with what else a connection does */
    int raw_column;        /* messages are the bytes of this column; -1: the encoder's */
    /* http: what stands before `n` bytes of data; NULL: nothing. */
    size_t (*head)(void *context, size_t n, uint8_t out[PARCEL_HEAD_MAX]);
    void *context;
} parcel_format;

/* The column whose bytes are the messages, when nothing is to be written around them; else -1. */
int parcel_raw_column(const encode_options *o, stream_framing framing, const encoder *e, const schema *s);

static inline size_t parcel_bytes(const parcel *p) { return p->head_bytes + p->data_bytes; }
void parcel_unref(parcel *p); /* NULL is allowed */
void parcels_free(parcel *p); /* a list: a reference of each */

/* The parcels of a batch, as a list. TW_ERR_MEMORY, TW_ERR_DATA: none are made. */
tw_status parcels_of_batch(const parcel_format *f, memory *m, batch *b, parcel **out, tw_error *err);
/* What a connection begins with; NULL: nothing. */
tw_status parcel_of_start(const parcel_format *f, memory *m, parcel **out, tw_error *err);
/* Where the message begins that byte `at` belongs to. */
size_t parcel_message_begin(const parcel_format *f, const parcel *p, size_t at);

#endif
