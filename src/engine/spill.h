/* spill.h: a temporary file that never outlives the process, holding frames.
 * A frame is a header (magic, version, sizes, XXH3 checksum) and its bytes; what is read back is
 * checked. Appends and reads may come from any thread. Calls that the system interrupts or cuts
 * short go on; an EIO is tried again three times. */
#ifndef ENGINE_SPILL_H
#define ENGINE_SPILL_H

#include "data/rows.h"

typedef struct spill spill;

/* Where a frame lies. */
typedef struct frame_place {
    uint64_t offset;
    uint64_t bytes; /* header included */
} frame_place;

/* `folder` NULL or "": the system's temporary folder. Nothing is created before the first append. */
tw_status spill_create(const char *folder, spill **out, tw_error *err);
void spill_free(spill *s);
uint64_t spill_bytes(const spill *s); /* written in all, for the summary */

/* The same over a file with a name, which stays: for checkpoints. It must not be there yet, or (`exists`) it
 * is only read. */
tw_status spill_create_named(const char *path, bool exists, spill **out, tw_error *err);
tw_status spill_sync(spill *s, tw_error *err); /* what was written is on the disk */
uint64_t spill_end(const spill *s);            /* where the next frame would begin */

/* One frame of a block's rows and heap. A full disk is TW_ERR_IO naming the folder. */
tw_status spill_write_block(spill *s, const row_layout *l, const row_block *b, frame_place *out,
                            tw_error *err);
/* Several blocks as one frame, which is read back as one block. n >= 1, no more than 4 G rows. */
tw_status spill_write_blocks(spill *s, const row_layout *l, const row_block *const *blocks, uint32_t n,
                             frame_place *out, tw_error *err);
/* Reads it back into a new block charged to `use`, long views relocated. A frame that fails its
 * checksum is TW_ERR_DATA. TW_ERR_MEMORY leaves it there to be read later. */
tw_status spill_read_block(spill *s, memory *m, memory_use use, const row_layout *l, frame_place place,
                           row_block **out, tw_error *err);
/* Whether a frame is what was written, whatever its rows are. */
tw_status spill_check_frame(spill *s, frame_place place, tw_error *err);
/* Says that a frame will not be read again; its disk space is given back (hole punching). */
void spill_forget(spill *s, frame_place place);

/* Blocks in memory. */
tw_status row_block_new(memory *m, memory_use use, const row_layout *l, uint32_t capacity,
                        size_t heap_bytes, row_block **out, tw_error *err);
/* Charged to MEMORY_STATE; NULL when refused, without spilling. */
row_block *row_block_try(memory *m, const row_layout *l, uint32_t capacity, size_t heap_bytes);
void row_block_free(row_block *b);
size_t row_block_bytes(const row_block *b);
/* Whole columns of `rows` rows as a block of just their size, headers 0; and some of its rows as columns again, whose
 * long views point into the block's heap, which they keep. */
tw_status row_block_encode(memory *m, memory_use use, const row_layout *l, const column *columns, uint32_t rows,
                           row_block **out, tw_error *err);
tw_status row_block_decode(memory *m, const row_layout *l, const row_block *b, uint32_t first, uint32_t n, column *out,
                           tw_error *err);

#endif
