/* checkpoint.h: what a run must remember to go on after a stop, as files in a folder.
 *
 *   DIR/0000000012.json   the parts: who they are, small values, where their rows lie; ends in a checksum
 *   DIR/0000000012.rows   frames of rows, as spilled ones (engine/spill.h), each with its checksum
 *
 * The .json is renamed into place last, after all is synced: a checkpoint is there whole or not at all. The newest
 * and the one before it are kept. */
#ifndef ENGINE_CHECKPOINT_H
#define ENGINE_CHECKPOINT_H

#include "engine/spill.h"

typedef struct checkpoint checkpoint;
typedef struct saved_part saved_part; /* of one step, source or sink; the checkpoint's */

/* Makes the folder; nobody else gets it, in this process or another, until the descriptor *out is closed. */
tw_status checkpoint_lock(const char *folder, int *out, tw_error *err);

/* ---- writing ---- */

/* Number `number`, in `folder` (which is made, if it is gone). `job` names the job. */
tw_status checkpoint_begin(const char *folder, uint64_t number, const char *job, checkpoint **out, tw_error *err);
/* id: who it is, unique; shape: what its state depends on, as text for people. Any thread. */
tw_status checkpoint_add(checkpoint *c, const char *id, const char *shape, saved_part **out, tw_error *err);
/* Each part is written by one thread. */
tw_status part_put(saved_part *p, const char *key, const char *value, tw_error *err);
tw_status part_put_int(saved_part *p, const char *key, int64_t value, tw_error *err);
/* One frame of rows under a tag, such as the end of a window. */
tw_status part_put_rows(saved_part *p, int64_t tag, const row_layout *l, const row_block *const *blocks, uint32_t n,
                        tw_error *err);
/* On the disk and visible. */
tw_status checkpoint_finish(checkpoint *c, tw_error *err);
/* Removes what was begun and not finished. NULL is allowed. */
void checkpoint_free(checkpoint *c);

/* ---- reading ---- */

/* The numbers that are there, newest first; *n of them, at most `most`. A folder that is not there has none. */
tw_status checkpoint_list(const char *folder, uint64_t *numbers, uint32_t most, uint32_t *n, tw_error *err);
/* TW_ERR_DATA: it is torn or of another version. */
tw_status checkpoint_load(const char *folder, uint64_t number, checkpoint **out, tw_error *err);
uint64_t checkpoint_number(const checkpoint *c);
const char *checkpoint_job(const checkpoint *c);
uint64_t checkpoint_bytes(const checkpoint *c);
uint32_t checkpoint_parts(const checkpoint *c);
const saved_part *checkpoint_part(const checkpoint *c, uint32_t i);
/* NULL: there is none. */
const saved_part *checkpoint_find(const checkpoint *c, const char *id);
const char *part_id(const saved_part *p);
const char *part_shape(const saved_part *p);
/* The i-th value; false past the last. */
bool part_value(const saved_part *p, uint32_t i, const char **key, const char **value);
const char *part_get(const saved_part *p, const char *key); /* NULL: not there */
int64_t part_get_int(const saved_part *p, const char *key, int64_t otherwise);
uint32_t part_frames(const saved_part *p);
int64_t part_frame_tag(const saved_part *p, uint32_t i);
uint64_t part_frame_bytes(const saved_part *p, uint32_t i);
tw_status part_read_rows(const saved_part *p, uint32_t i, memory *m, const row_layout *l, row_block **out, tw_error *err);
/* Whether every frame has the bytes that were written. */
tw_status checkpoint_verify(const checkpoint *c, tw_error *err);
tw_status checkpoint_delete(const char *folder, uint64_t number, tw_error *err);

#endif
