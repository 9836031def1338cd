#include "io/chunk_writer.h"

#include <stdlib.h>
#include <time.h>

#define CHUNK_BYTES_MAX ((size_t)1 << 20)
#define CHUNK_BYTES_MIN ((size_t)64 << 10)
#define PENDING_BYTES_MAX ((size_t)32 << 20)
#define MEMORY_RETRIES_MAX 200

struct chunk_writer {
    const chunk_target *target;
    size_t chunk_bytes;
    byte_buffer open; /* formatted rows of the split at hand */
    uint64_t rows;
    compressor *compressor;
    buffer *packed; /* room to compress into */
};

void chunk_free(chunk *c) {
    if (!c) return;
    buffer_unref(c->bytes);
    free(c);
}

size_t chunk_pending_bytes_max(const run_context *run) {
    size_t bytes = memory_limit(run->memory) / 16;
    return bytes < PENDING_BYTES_MAX ? bytes : PENDING_BYTES_MAX;
}

tw_status chunk_writer_new(const chunk_target *target, chunk_writer **out, tw_error *err) {
    chunk_writer *w = calloc(1, sizeof *w);
    if (!w) return error_set(err, TW_ERR_MEMORY, "out of memory for a writer");
    w->target = target;
    w->open.memory = target->run->memory;
    w->chunk_bytes = memory_limit(target->run->memory) / 64;
    if (w->chunk_bytes > CHUNK_BYTES_MAX) w->chunk_bytes = CHUNK_BYTES_MAX;
    if (w->chunk_bytes < CHUNK_BYTES_MIN) w->chunk_bytes = CHUNK_BYTES_MIN;
    tw_status status = TW_OK;
    if (target->compression != COMPRESSION_NONE) status = compressor_new(target->compression, &w->compressor, err);
    if (status != TW_OK) {
        free(w);
        return status;
    }
    *out = w;
    return TW_OK;
}

void chunk_writer_free(chunk_writer *w) {
    if (!w) return;
    byte_buffer_clear(&w->open);
    compressor_free(w->compressor);
    buffer_unref(w->packed);
    free(w);
}

/* ---- from open rows to a chunk ---- */

static tw_status copy_of(memory *m, const uint8_t *bytes, size_t size, buffer **out, tw_error *err) {
    TRY(buffer_new(m, MEMORY_FLOW, size, out, err));
    if (size) memcpy((*out)->data, bytes, size);
    return TW_OK;
}

/* Compresses the open rows; a copy of exact size leaves the roomy buffer to the next chunk. */
static tw_status pack(chunk_writer *w, chunk *c, tw_error *err) {
    memory *m = w->open.memory;
    size_t room = compressor_bound(w->compressor, w->open.size);
    if (!w->packed || w->packed->size < room) {
        buffer_unref(w->packed);
        w->packed = NULL;
        TRY(buffer_new(m, MEMORY_FLOW, room, &w->packed, err));
    }
    TRY(compressor_run(w->compressor, w->open.bytes->data, w->open.size, w->packed->data, room, &c->size, err));
    return copy_of(m, w->packed->data, c->size, &c->bytes, err);
}

/* The chunk's bytes; after an error all is as before. */
static tw_status close_open(chunk_writer *w, chunk *c, tw_error *err) {
    if (w->compressor) {
        TRY(pack(w, c, err));
    } else if (w->open.size < w->open.bytes->capacity / 2) {
        TRY(copy_of(w->open.memory, w->open.bytes->data, w->open.size, &c->bytes, err));
        c->size = w->open.size;
    } else {
        c->bytes = w->open.bytes;
        c->size = w->open.size;
        w->open.bytes = NULL;
    }
    w->open.size = 0;
    return TW_OK;
}

/* Pushes the open rows. TW_ERR_MEMORY: they are still there. */
static tw_status flush(chunk_writer *w, const batch_order *order, tw_error *err) {
    if (w->open.size == 0 && w->rows == 0) return TW_OK;
    chunk *c = calloc(1, sizeof *c);
    if (!c) return error_set(err, TW_ERR_MEMORY, "out of memory for a writer");
    tw_status status = close_open(w, c, err);
    if (status != TW_OK) {
        free(c);
        return status;
    }
    c->rows = w->rows;
    c->input = order->input;
    c->split = order->split;
    w->rows = 0;
    status = sequencer_push(w->target->order, order, c, c->bytes->capacity, err);
    return status == TW_ERR_MEMORY ? TW_ERR_INTERNAL : status; /* the rows are gone */
}

/* Others let go of theirs in a while. */
static tw_status flush_patiently(chunk_writer *w, const batch_order *order, tw_error *err) {
    struct timespec pause = {.tv_nsec = 1000000};
    tw_status status = flush(w, order, err);
    for (unsigned i = 0; status == TW_ERR_MEMORY && i < MEMORY_RETRIES_MAX && !run_cancelled(w->target->run); i++) {
        nanosleep(&pause, NULL);
        status = flush(w, order, err);
    }
    return status;
}

tw_status chunk_writer_push(chunk_writer *w, const batch_order *order, const batch *b, tw_error *err) {
    const encoder *e = w->target->encoder;
    size_t estimate = encoder_estimate(e, b);
    size_t room = w->open.bytes ? w->open.bytes->size - w->open.size : 0;
    bool full = w->open.size >= w->chunk_bytes || (w->open.size > w->chunk_bytes / 2 && room < estimate);
    if (full) TRY(flush(w, order, err));
    if (!w->open.bytes) {
        size_t bytes = w->chunk_bytes + w->chunk_bytes / 4;
        TRY(byte_buffer_reserve(&w->open, bytes > estimate ? bytes : estimate, err));
    }
    TRY(encoder_append(e, b, &w->open, err));
    w->rows += b->rows;
    if (w->open.size < w->chunk_bytes) return TW_OK;
    tw_error later;
    tw_status status = flush(w, order, &later); /* short of memory: tried again with the next batch */
    if (status != TW_OK && status != TW_ERR_MEMORY && err) *err = later;
    return status == TW_ERR_MEMORY ? TW_OK : status;
}

tw_status chunk_writer_end_split(chunk_writer *w, const batch_order *order, tw_error *err) {
    TRY(flush_patiently(w, order, err));
    return sequencer_end_split(w->target->order, order, err);
}

tw_status chunk_file_start(const chunk_target *target, buffer **bytes, size_t *size, bool no_rows, tw_error *err) {
    *bytes = NULL;
    *size = 0;
    chunk_writer *w = NULL;
    TRY(chunk_writer_new(target, &w, err));
    chunk c = {0};
    tw_status status = byte_buffer_reserve(&w->open, 1, err);
    if (status == TW_OK) status = encoder_begin(target->encoder, &w->open, err);
    if (status == TW_OK && (w->open.size || (no_rows && w->compressor))) status = close_open(w, &c, err);
    if (status == TW_OK) *bytes = c.bytes, *size = c.size;
    chunk_writer_free(w);
    return status;
}
