/* chunk_writer.h: one lane's way from batches to pieces of a file: rows are formatted and compressed on the
 * worker that has them, about CHUNK bytes at a time, and go to the sink's sequencer in row order. */
#ifndef IO_CHUNK_WRITER_H
#define IO_CHUNK_WRITER_H

#include "engine/sequencer.h"
#include "io/compress.h"
#include "io/encode.h"

/* A piece of a file: whole rows of one split, compressed as a member or frame of its own. */
typedef struct chunk {
    buffer *bytes;
    size_t size;
    uint64_t rows;
    uint32_t input;
    uint64_t split;
    void *part; /* the sink's: what file, and where in it */
    uint64_t offset;
} chunk;
void chunk_free(chunk *c); /* NULL is allowed */

/* What all lanes of a sink share. */
typedef struct chunk_target {
    run_context *run;
    const encoder *encoder;
    compression compression;
    sequencer *order; /* its items are chunks */
} chunk_target;

typedef struct chunk_writer chunk_writer;

tw_status chunk_writer_new(const chunk_target *target, chunk_writer **out, tw_error *err);
void chunk_writer_free(chunk_writer *w); /* drops what is not pushed; NULL is allowed */
/* As a sink's push and end_split. */
tw_status chunk_writer_push(chunk_writer *w, const batch_order *order, const batch *b, tw_error *err);
tw_status chunk_writer_end_split(chunk_writer *w, const batch_order *order, tw_error *err);

/* How many bytes of chunks may wait for their turn. */
size_t chunk_pending_bytes_max(const run_context *run);
/* The bytes before the first row, compressed; and of a file without any row an empty member, as no bytes
 * at all would be no compressed file. `bytes` NULL: none. */
tw_status chunk_file_start(const chunk_target *target, buffer **bytes, size_t *size, bool no_rows, tw_error *err);

#endif
