/* csv_rows.h: CSV text -> where the fields of its rows lie. Used by the decoder and for finding types.
 * What is a record is decided by line feeds outside quotes alone. */
#ifndef IO_CSV_ROWS_H
#define IO_CSV_ROWS_H

#include "base/memory.h"

/* Fields of n rows: field k of row r is text[ends[i - 1] + 1 .. ends[i]) with i = first[r] + k (in 32
 * bits: before the first byte stands UINT32_MAX). The last field may end in a CR that does not count;
 * quotes are still there. */
typedef struct text_rows {
    const uint8_t *text;
    const uint32_t *ends;
    uint32_t *first;
    uint32_t *record; /* of each row: which record, from the first one of this round */
    uint32_t n;
    uint8_t quote;    /* 0: no field is quoted */
} text_rows;

typedef enum csv_fault {
    CSV_FIELDS,   /* another number of fields */
    CSV_QUOTE,    /* a quote inside an unquoted field, or text after a closing one */
    CSV_UNCLOSED, /* a quote that is never closed */
} csv_fault;

typedef struct csv_bad {
    csv_fault fault;
    uint32_t record; /* as text_rows.record */
    uint32_t begin, end;
    uint32_t fields; /* it has; CSV_QUOTE: the field, from 0 */
} csv_bad;

typedef struct csv_rows {
    /* Set by the caller before csv_rows_open. */
    memory *memory;
    uint32_t n_fields;
    uint32_t rows_max;
    size_t bytes_max;
    uint8_t delimiter, quote;

    const uint8_t *text;
    size_t size, scanned;
    uint64_t in_quote;
    bool has_quotes;
    buffer *ends_buffer, *rows_buffer, *records_buffer;
    uint32_t *ends;            /* ends[-1] can be written */
    size_t capacity, used, count;
    bool skipping;             /* the record at hand has more fields than fit here */
    uint32_t skip_fields;
    uint64_t record;           /* how many of the text are taken: the first of this round */
    size_t next_used;          /* after this round */
    bool next_skipping;
    uint32_t next_record;      /* records of this round */

    text_rows rows;            /* of this round */
    csv_bad *bad;              /* of this round, in order */
    uint32_t n_bad, bad_capacity;
    uint32_t *begin, *end;     /* of its records, next_record of them; only with `keep_ends` */
    bool keep_ends;
    buffer *extent_buffer;
} csv_rows;

tw_status csv_rows_open(csv_rows *c, tw_error *err);
void csv_rows_close(csv_rows *c);
/* Whole records; the last may lack its line end. Below 4 GiB. */
void csv_rows_feed(csv_rows *c, const uint8_t *text, size_t size);
/* Finds the next rows into c->rows and c->bad, at least one of either; TW_END at the end of the text.
 * Gives the same again until csv_rows_take. */
tw_status csv_rows_next(csv_rows *c, tw_error *err);
void csv_rows_take(csv_rows *c);

#endif
