/* decode_internal.h: what all decoders share. */
#ifndef IO_DECODE_INTERNAL_H
#define IO_DECODE_INTERNAL_H

#include "io/format.h"

typedef struct decoder_class {
    /* A new span is at hand. */
    void (*begin)(decoder *self);
    tw_status (*next)(decoder *self, batch **out, tw_error *err);
    void (*free)(decoder *self);
} decoder_class;

struct decoder {
    const decoder_class *class;
    const format *format;
    run_context *run;
    const bool *needed;
    const csv_layout *layout;
    bool keep_raw;
    span span;
    span_place place;
    uint64_t records;  /* of the span, that are dealt with */
    uint64_t rows;     /* that came from it */
    uint64_t reported; /* bad ones among its records below this have been reported */
    /* A bad record that must end the run: the rows before it are given first. */
    bool failed, stopped;
    uint64_t failed_record;
    batch *last; /* once stopped: what the rows before it are cut from; NULL: all are given */
    tw_error failure;
};

static inline bool decoder_needs(const decoder *d, uint32_t index) {
    return !d->needed || d->needed[index];
}

/* The record `record` (from 0, of the span) at [raw, raw + size) is bad. Reports it once, whatever is
 * tried again later. TW_OK: go on without it; decoder_next cuts off what comes after if it ends the run. */
tw_status decoder_bad(decoder *d, uint64_t record, const uint8_t *raw, size_t size, const char *reason,
                      tw_error *err);

/* Which records the rows of a batch come from. */
typedef struct row_places {
    uint64_t first;         /* record of the span that `record` counts from */
    const uint32_t *record; /* of each row, from `first`; NULL: row i is record i */
    uint32_t n_records;     /* from `first` to the last row's */
    /* With keep_raw: where each of these records lies in the span. */
    const uint32_t *raw_begin, *raw_end;
} row_places;

/* Gives a batch its position and origin. */
tw_status decoder_place(decoder *d, const row_places *places, batch *b, tw_error *err);

/* Puts `text`, cut to 40 bytes and made printable, into out. */
enum { SHOWN_MAX = 48 };
const char *shown_text(const uint8_t *text, size_t size, char out[SHOWN_MAX]);
/* "column 'price': 'abc' is no int64 (inferred from the first 65536 rows: set columns)". */
void misfit_reason(const format *f, uint32_t index, const char *shown, bool out_of_range, char *out,
                   size_t capacity);

tw_status lines_decoder_new(decoder **out, tw_error *err);
tw_status csv_decoder_new(const format *f, run_context *run, decoder **out, tw_error *err);
tw_status json_decoder_new(const format *f, run_context *run, decoder **out, tw_error *err);
tw_status records_decoder_new(decoder **out, tw_error *err);
tw_status binary_decoder_new(decoder **out, tw_error *err);
tw_status libsvm_decoder_new(const format *f, run_context *run, decoder **out, tw_error *err);
tw_status edges_decoder_new(const format *f, run_context *run, decoder **out, tw_error *err);

/* A decoder of `bytes`, zeroed, with its class. */
tw_status decoder_allocate(size_t bytes, const decoder_class *class, decoder **out, tw_error *err);

/* The view of text[0, n), which must stay where it is when n > 12; reads up to 12 bytes from `p` on. */
static inline view view_of(const uint8_t *p, uint32_t n) {
    uint64_t head, words[2];
    uint32_t tail;
    memcpy(&head, p, 8);
    memcpy(&tail, p + 8, 4);
    if (n <= VIEW_SMALL_MAX) {
        if (n < 8) {
            head &= ((uint64_t)1 << (8 * n)) - 1;
            tail = 0;
        } else {
            tail &= (uint32_t)(((uint64_t)1 << (8 * (n - 8))) - 1);
        }
        words[1] = head >> 32 | (uint64_t)tail << 32;
    } else {
        words[1] = (uint64_t)(uintptr_t)p;
    }
    words[0] = n | head << 32;
    view v;
    memcpy(&v, words, 16);
    return v;
}

#endif
