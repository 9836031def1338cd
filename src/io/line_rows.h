/* line_rows.h: decoders that take a line at a time: cutting, blank lines, bad records, batches. */
#ifndef IO_LINE_ROWS_H
#define IO_LINE_ROWS_H

#include "io/decode_internal.h"

typedef enum line_verdict { LINE_TAKEN, LINE_BLANK, LINE_BAD } line_verdict;

enum { REASON_MAX = 400 };

typedef struct line_rows_class {
    /* Reads one line, without its end. LINE_BAD: why, in `reason`; nothing was taken. */
    tw_status (*line)(decoder *d, const uint8_t *p, size_t n, line_verdict *out, char reason[REASON_MAX],
                      tw_error *err);
    /* Moves the rows taken into the batch's columns. */
    tw_status (*finish)(decoder *d, batch *b, tw_error *err);
    /* Forgets the rows taken. */
    tw_status (*reset)(decoder *d, tw_error *err);
} line_rows_class;

typedef struct line_rows {
    size_t at; /* in the span */
    bool dirty; /* a batch was begun and not finished */
    buffer *log;
    uint32_t capacity, n, n_records;
    uint32_t *record, *begin, *end;
} line_rows;

void line_rows_begin(decoder *d, line_rows *l);
tw_status line_rows_next(decoder *d, line_rows *l, const line_rows_class *class, batch **out, tw_error *err);
void line_rows_free(line_rows *l);

#endif
