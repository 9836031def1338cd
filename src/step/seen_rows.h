/* seen_rows.h: the keys that dedupe let through, and when: a row is a repeat if its key was let through less than `within`
 * away from it. Shards of open addressing over rows; a key is looked for by its hash together with the span of time it
 * was let through in, so that one that comes again and again leaves short chains. Used by one thread at a time. */
#ifndef STEP_SEEN_ROWS_H
#define STEP_SEEN_ROWS_H

#include "engine/checkpoint.h"

#define SEEN_FOREVER INT64_MAX

typedef struct seen_rows seen_rows;

/* within: microseconds; SEEN_FOREVER: times don't count. */
tw_status seen_rows_new(const type *const *keys, uint32_t n_keys, int64_t within, seen_rows **out, tw_error *err);
void seen_rows_free(seen_rows *s); /* NULL is allowed */
/* Before all that follow. */
void seen_rows_start(seen_rows *s, memory *m);
/* In order, rows[i] of the key columns at times[rows[i]] (NULL: all at `time`), i < *n; those that are no repeats are
 * remembered and left in `rows`. hashes: hash_columns of all rows. Errors are final. */
tw_status seen_rows_keep(seen_rows *s, const column *keys, const uint64_t *hashes, const int64_t *times, int64_t time,
                         uint32_t *rows, uint32_t *n, tw_error *err);
/* Who was let through at this time or before need not be remembered. */
void seen_rows_forget(seen_rows *s, int64_t until);
uint64_t seen_rows_count(const seen_rows *s);

/* As frames with tag 0. Loading adds to what is there. */
tw_status seen_rows_save(const seen_rows *s, saved_part *to, tw_error *err);
tw_status seen_rows_load(seen_rows *s, const saved_part *from, tw_error *err);

#endif
