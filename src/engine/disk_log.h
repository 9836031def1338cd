/* disk_log.h: rows of an endless source that wait for their turn on disk. Whoever brings a batch encodes it; batches that
 * follow each other make a piece, which is written as one frame of the run's spill file, and comes back as batches of
 * rows of one partition that came from records in a row, with those as their origin. The owner keeps the pieces in
 * order; a piece has one user at a time. */
#ifndef ENGINE_DISK_LOG_H
#define ENGINE_DISK_LOG_H

#include "engine/pipeline.h"

typedef struct disk_log disk_log;

typedef struct log_piece {
    row_block *first, **last; /* in memory */
    uint32_t n_blocks;
    uint64_t rows;
    size_t bytes;             /* of the blocks */
    frame_place place;        /* on disk, when there are no blocks */
    uint32_t at;              /* row of the first block that comes next */
} log_piece;

/* Of the columns that are needed. */
tw_status disk_log_create(schema *s, const bool *needed, run_context *run, disk_log **out, tw_error *err);
void disk_log_free(disk_log *l); /* NULL is allowed */
/* From any thread. All or nothing. */
tw_status disk_log_encode(const disk_log *l, const batch *b, uint32_t partition, row_block **out, tw_error *err);

void log_piece_init(log_piece *p);
void log_piece_add(log_piece *p, row_block *b); /* takes it over */
/* A copy on disk; the piece is as it was. A full disk is TW_ERR_IO. */
tw_status disk_log_write(const disk_log *l, const log_piece *p, frame_place *out, tw_error *err);
/* The blocks are on disk by now; the caller frees the list that is returned. */
row_block *log_piece_stored(log_piece *p, frame_place place);
/* The next batch; TW_END. TW_ERR_DATA: what is on disk is not what was written. After TW_ERR_MEMORY again. */
tw_status disk_log_next(const disk_log *l, log_piece *p, batch **out, uint32_t *partition, tw_error *err);
void log_piece_clear(const disk_log *l, log_piece *p);
void row_blocks_free(row_block *list);

#endif
