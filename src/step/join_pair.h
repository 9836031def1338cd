/* join_pair.h: joins one partition of the left side with its partner of the right side, both as rows in
 * exchanges, in bounded memory: a table over the side that fits, else both sides are split by further
 * bits of the hash, and where that is in vain (one key that is half of the rows) the table takes one
 * side chunk by chunk, and the other side is read again for each. One thread at a time. */
#ifndef STEP_JOIN_PAIR_H
#define STEP_JOIN_PAIR_H

#include "step/join_internal.h"

typedef struct join_pair join_pair;

/* Partition `partition` of both sides. `bytes_max`: about what it may hold. */
tw_status join_pair_create(join *j, uint32_t partition, size_t bytes_max, join_pair **out, tw_error *err);
/* Of a partition that is in memory the rows of the right side that nobody matched. */
tw_status join_pair_create_unmatched(join *j, uint32_t partition, join_pair **out, tw_error *err);
/* The next batch, TW_END after the last. After TW_ERR_IO and TW_ERR_MEMORY it may be called again. */
tw_status join_pair_next(join_pair *p, batch **out, tw_error *err);
void join_pair_free(join_pair *p); /* NULL is allowed */

/* ---- between join_pair.c, join_pair_input.c and join_pair_output.c ---- */

enum { PAIR_LEVELS_MAX = 7, PAIR_WINDOW_ROWS = 1024 };

/* A pair of exchanges whose partitions are joined one by one; the first is the join's own. */
typedef struct pair_level {
    exchange *rows[2];
    uint32_t next, n;
    uint64_t parent_rows[2]; /* that were split to make it */
} pair_level;

/* A side written down as frames of its own, to be read several times. */
typedef struct kept_rows {
    frame_place *places;
    uint32_t n, capacity, next;
} kept_rows;

/* Which side the table takes, and what comes out. */
typedef struct pair_role {
    uint8_t hashed;          /* LEFT or RIGHT; the other is scanned */
    bool whole;              /* the table has all of its side */
    bool listed[2];          /* the side is read from `kept` */
    bool pairs;              /* give (left, right) for each match */
    bool scan_matched, scan_unmatched;   /* scanned rows with, without a match */
    bool table_matched, table_unmatched; /* after the scan: rows of the table with, without one */
} pair_role;

typedef enum pair_stage {
    PAIR_CHOOSE, /* the next partition, and how to join it */
    PAIR_SPLIT,
    PAIR_KEEP,   /* sides are written down */
    PAIR_LOAD,   /* a chunk of the hashed side */
    PAIR_SCAN,
    PAIR_AFTER,  /* what the scan left of the chunk */
    PAIR_DONE
} pair_stage;

/* Rows that make up the next batch; a null row stands for a side that has none. */
typedef struct pair_rows {
    const uint8_t **rows[2]; /* join->batch_rows each */
    const uint8_t **keys;    /* for batches whose keys come from both sides */
    uint32_t n, n_absent[2];
    buffer *heap[2];         /* what the rows' views point into; not owned */
} pair_rows;

struct join_pair {
    join *join;
    run_context *run;
    size_t bytes_now;     /* about what it may hold; halved after each refusal */
    pair_stage stage;
    pair_level levels[PAIR_LEVELS_MAX];
    uint32_t depth;       /* index of the current level */
    uint32_t partition;   /* of that level */
    pair_role role;
    bool second_pass;     /* of a full join by chunks: unmatched rows of the right side */
    kept_rows kept[2];
    pair_level into;      /* PAIR_SPLIT: what is being made */

    row_table table;
    row_block *chunk;     /* rows of the table, the latest first */
    bool hashed_ended;    /* the chunk is the last */
    buffer *slots, *heap;
    uint64_t slot;        /* PAIR_AFTER */

    row_block *block;     /* PAIR_SCAN */
    uint32_t row, window, window_end; /* rows of the block; heads[] are those of the window */
    uint8_t *heads[PAIR_WINDOW_ROWS];
    const uint8_t *next;  /* in the chain, PAIR_SCAN and PAIR_AFTER */
    pair_rows output;
    tw_error failure;     /* once set, for good */
};

/* The next block of a side; TW_END. */
tw_status pair_input_next(join_pair *p, unsigned side, row_block **out, tw_error *err);
/* Writes what is left of a side down. */
tw_status pair_keep(join_pair *p, unsigned side, tw_error *err);
void pair_forget_kept(join_pair *p);
/* Rows and bytes of a side of the current partition. */
uint64_t pair_rows_of(const join_pair *p, unsigned side);
size_t pair_bytes_of(const join_pair *p, unsigned side);
/* Splits the current partition into p->into. */
tw_status pair_split(join_pair *p, tw_error *err);
void pair_level_free(pair_level *l);

/* For zeroed rows; cleared also after a failure. */
tw_status pair_rows_init(pair_rows *o, const join *j, tw_error *err);
void pair_rows_clear(pair_rows *o);
/* Rows of one or both sides, of which there are some, as a batch; then there are none. */
tw_status pair_rows_batch(pair_rows *o, const join *j, batch **out, tw_error *err);
/* A row of a side, with its partner or NULL. There must be room. */
static inline void pair_rows_add(pair_rows *o, const join *j, unsigned side, const uint8_t *row, const uint8_t *other) {
    o->rows[side][o->n] = row;
    o->rows[!side][o->n] = other ? other : j->sides[!side].null_row;
    o->n_absent[!side] += !other;
    o->n++;
}

#endif
