/* dead_letters.h: records that a run goes on without, as lines of JSON: {"file", "record", "reason", "data"}, or
 * "data_base64" when the record is no UTF-8. They wait in a hidden file; who owns them says when they appear. */
#ifndef ENGINE_DEAD_LETTERS_H
#define ENGINE_DEAD_LETTERS_H

#include "engine/pipeline.h"

typedef struct dead_letters dead_letters;

/* Into a device they go directly. */
tw_status dead_letters_open(const char *path, dead_letters **out, tw_error *err);
void dead_letters_free(dead_letters *d); /* removes what did not appear; NULL is allowed */
/* `raw` is the record as it came, without its end, NULL if not at hand; `file` NULL for rows that were made inside the run.
 * Thread-safe. */
tw_status dead_letters_put(dead_letters *d, const char *file, uint64_t record, const uint8_t *raw, size_t raw_bytes,
                           const char *reason, tw_error *err);
/* The same for row `row` of a batch, with the place and raw bytes that its origin gives. */
tw_status dead_letters_put_row(dead_letters *d, const batch *b, uint32_t row, const char *reason, tw_error *err);
/* The file appears whole, in place of one that was there; nothing may follow. */
tw_status dead_letters_commit(dead_letters *d, tw_error *err);

/* Of an endless flow: those put so far appear behind those before, the first in place of a file that was there, and are on the
 * disk when it returns; *bytes: how long the file is by then. One thread at a time, and nobody puts any meanwhile. */
tw_status dead_letters_append(dead_letters *d, int64_t *bytes, tw_error *err);
/* Before the first of them, when a run goes on: the file is kept, as far as it went by then. */
void dead_letters_resume(dead_letters *d, int64_t bytes);

/* Where a row came from: its place, and the record as it came (NULL: not at hand). */
const uint8_t *row_as_it_came(const batch *b, uint32_t row, tw_error *place, size_t *bytes);

#endif
