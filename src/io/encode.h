/* encode.h: rows as the bytes of a format, the counterpart of the decoders in format.h: file sinks and
 * standard output write through it. */
#ifndef IO_ENCODE_H
#define IO_ENCODE_H

#include "io/format.h"

typedef struct encode_options {
    format_kind kind;
    bool header;       /* csv: the first record names the columns */
    uint8_t delimiter; /* csv; any byte but 0, LF, CR and the quote */
    uint8_t quote;     /* csv; 0: none, then a field that would need it is an error */
} encode_options;

encode_options encode_options_default(format_kind kind);

/* Immutable, shared by all threads. */
typedef struct encoder encoder;

/* References the schema. TW_ERR_JOB says what of it this format cannot hold, without a place. */
tw_status encoder_new(const encode_options *o, schema *s, encoder **out, tw_error *err);
void encoder_free(encoder *e); /* NULL is allowed */
/* Sets needed[i] for the columns that it reads. */
void encoder_needs(const encoder *e, bool *needed);
/* Whether every row ends with LF. */
bool encoder_writes_lines(const encoder *e);
/* The ending of a file of this format, with its dot. */
const char *encoder_ending(const encoder *e);

/* Bytes under construction. Start with `byte_buffer b = {.memory = m};`. */
typedef struct byte_buffer {
    memory *memory;
    buffer *bytes; /* MEMORY_FLOW; NULL while there are none */
    size_t size;
} byte_buffer;

/* Room for `more` bytes behind those that are there. */
tw_status byte_buffer_reserve(byte_buffer *b, size_t more, tw_error *err);
tw_status byte_buffer_append(byte_buffer *b, const void *bytes, size_t n, tw_error *err);
void byte_buffer_clear(byte_buffer *b); /* releases */

/* Appends what stands before the first row of a file: a CSV header, else nothing. */
tw_status encoder_begin(const encoder *e, byte_buffer *to, tw_error *err);
/* About how many bytes a batch makes: for choosing room, not a bound. */
size_t encoder_estimate(const encoder *e, const batch *b);
/* Appends all rows of a batch or, after an error, none. TW_ERR_DATA (with the row's origin): a value
 * that the format cannot hold. */
tw_status encoder_append(const encoder *e, const batch *b, byte_buffer *to, tw_error *err);
/* The same for one row. */
tw_status encoder_append_row(const encoder *e, const batch *b, uint32_t row, byte_buffer *to, tw_error *err);

#endif
