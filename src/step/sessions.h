/* sessions.h: sessions out of fragments. A group's row in a session window is a fragment: the rows of one key whose times lie
 * in one piece of time, as long as the gap, and so in one session. Fragments are added and merged as all groups are; which of
 * them are one session is seen when all fragments of a key stand in one table.
 *
 * Rows that came behind the watermark are fragments of their own, by the watermark that stood before them: they do not
 * belong to sessions that it had passed. All others can't be near one: so no result depends on when fragments are looked at. */
#ifndef STEP_SESSIONS_H
#define STEP_SESSIONS_H

#include "step/group_table.h"

/* Keys of a fragment: the group's, piece of time, watermark (WATERMARK_NONE: the row was not behind it). Its last two aggregates
 * are min and max of time. */
typedef struct session_rule {
    uint32_t n_keys;           /* of the group */
    int64_t gap_us;
    uint32_t start_at, end_at; /* where the output has window_start and window_end */
} session_rule;

enum { SESSION_KEYS = 2, SESSION_AGGREGATES = 2, SESSION_DEPTH_MAX = 4 };

int64_t session_end(const session_rule *r, int64_t last);
/* Pieces of n times. */
void session_pieces(const session_rule *r, const int64_t *times, uint32_t n, int64_t *pieces);
/* From the hashes of the group's keys to those of fragments: the upper half, by which they are spread, stays. */
void session_hashes(const int64_t *pieces, const int64_t *behind, uint32_t n, uint64_t *hashes);

typedef struct session_row {
    uint8_t *row;        /* of the table */
    uint64_t hash;
    int64_t first, last; /* times */
    int64_t behind;
} session_row;

/* What became of the table's first n rows; `rows` and what it points to are the table's and the caller's. */
typedef struct session_list {
    buffer *buffer;
    session_row *rows;
    uint32_t n_closed, n; /* the first n_closed have ended, the others go on */
} session_list;

/* Merges fragments, of all their keys, into sessions. Those that have not ended by the watermark get keys as if they were one
 * fragment. TW_ERR_MEMORY is final. */
tw_status sessions_chain(const session_rule *r, group_table *t, uint64_t n, int64_t watermark, session_list *out, tw_error *err);
void session_list_clear(session_list *l);

#endif
