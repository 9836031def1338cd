/* block_reader.h: a file or a part of it as spans of whole records, for a decoder.
 *
 * A part [begin, end) of a file holds the records that start in it; the last may end behind it. One
 * thread at a time. After TW_ERR_IO and TW_ERR_MEMORY a call may be repeated. */
#ifndef IO_BLOCK_READER_H
#define IO_BLOCK_READER_H

#include "io/byte_stream.h"
#include "io/format.h"

enum { BLOCK_BYTES = 1 << 20, BLOCK_TAIL_BYTES = (128 << 10) - 64 };

typedef struct block_reader block_reader;

typedef struct block_options {
    memory *memory;
    framing framing;
    uint8_t quote;          /* FRAMING_QUOTED */
    uint32_t record_bytes;  /* FRAMING_FIXED */
    size_t record_bytes_max; /* a longer one is reported as too long */
    const char *path;       /* for messages; must outlive the reader */
} block_options;

/* What a record may take: a quarter of the budget, below 1 GiB. */
size_t record_bytes_max(const memory *m);

/* A part of a plain file. */
typedef struct block_range {
    int fd;                 /* taken over */
    uint64_t begin, end;    /* bytes */
    uint64_t file_bytes;    /* end <= file_bytes: what the file had when the run began */
    atomic_uint_fast64_t *counter; /* as in byte_stream_options */
    /* FRAMING_QUOTED with begin > 0: whether `begin` lies within quotes. Called once, with the bytes of
     * the part, before anything else. */
    tw_status (*inside)(void *context, const uint8_t *bytes, size_t size, bool *out, tw_error *err);
    void *context;
} block_range;

tw_status block_reader_open_range(const block_options *o, const block_range *range, block_reader **out,
                                  tw_error *err);
/* All of a stream, which it takes over (only on success). */
tw_status block_reader_open_stream(const block_options *o, byte_stream *s, block_reader **out, tw_error *err);
void block_reader_close(block_reader *r); /* NULL is allowed */

typedef struct block {
    span span;     /* holds a reference to its owner: unref when done */
    bool too_long; /* the beginning of a record that exceeds record_bytes_max; the rest is left out */
} block;

/* TW_END after the last. */
tw_status block_reader_next(block_reader *r, block *out, tw_error *err);
/* The stream it reads; NULL for a range. */
byte_stream *block_reader_stream(block_reader *r);
void block_reader_move(block_reader *r, memory *m, size_t record_max);

/* How many records end in text[0, size), whose first byte lies within quotes or not; changes *inside to
 * what holds after it. For numbers of records and for the parts of a quoted file. */
uint64_t count_record_ends(const uint8_t *text, size_t size, uint8_t quote, bool *inside);

#endif
