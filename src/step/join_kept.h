/* join_kept.h: rows of both sides of a join within a time range, as long as a partner may come: a symmetric hash join
 * (Wilschut and Apers, "Dataflow Query Execution in a Parallel Main-Memory Environment", 1991) whose tables forget
 * behind the watermark. A row that comes looks for its partners among the other side's rows and is put beside its own
 * side's; of what it finds only the heads of chains are noted (join_hit), and the pairs are made from them later, in
 * bounded batches, by whoever has the hits: a chain grows at its head, so behind a head nothing ever changes.
 *
 * Rows are found by their key's hash together with a span of time, so that a key that comes for hours leaves short
 * chains. A partition of the keys is a lock and two row sets. Behind the watermark the rows that still count move to a
 * fresh set; the old one lives as long as hits refer to it. */
#ifndef STEP_JOIN_KEPT_H
#define STEP_JOIN_KEPT_H

#include "step/arena_rows.h"
#include "step/join_internal.h"

enum { KEPT_ROWS_TOGETHER = 64 };

/* One side's rows of one partition. */
typedef struct row_set {
    atomic_uint references;
    arena_rows rows;   /* in extra: row_when */
    buffer *slots;
    row_table table;   /* chains of rows with one key in one span, the last that came first; under row_when.hash */
    uint64_t n_chains;
    int64_t oldest;    /* no row is older */
} row_set;

typedef struct row_when {
    uint64_t hash; /* of the key and the span */
    int64_t time;
} row_when;

typedef struct kept_part {
    pthread_mutex_t lock;
    row_set *sets[2];
    uint64_t arrived[2]; /* since it was looked for rows to forget */
} kept_part;

typedef struct join_kept {
    const join *join;
    join_range range;
    int64_t span;       /* longer than the range, so that no more than KEPT_SPANS are looked at */
    int64_t sweep_step; /* of the watermark: no row is forgotten later than that */
    unsigned bits;      /* partition = the hash's upper bits */
    uint32_t n_parts;
    kept_part *parts;
} join_kept;

enum { KEPT_SPANS = 2 };

/* What comes out: `row` with each row of the chain that is in range of it, or alone. */
typedef struct join_hit {
    const uint8_t *row, *chain; /* NULL: alone */
} join_hit;

/* Hits of one call, all of one partition; or what was swept: rows of the side's old set below `bound` that nobody
 * matched. */
typedef struct join_finding {
    kept_part *part;
    row_set *sets[2]; /* referenced; NULL: not needed */
    uint8_t side;     /* of hit.row */
    bool swept;
    int64_t bound;
    uint32_t first, n; /* hits */
} join_finding;

/* All of one push, or of one advance. */
typedef struct join_findings {
    join_finding *items;
    uint32_t n, capacity;
    buffer *hits;
    uint32_t n_hits;
} join_findings;

tw_status join_kept_init(join_kept *k, const join *j, join_range range, tw_error *err); /* k is zeroed */
void join_kept_clear(join_kept *k);
static inline uint32_t join_kept_part(const join_kept *k, uint64_t hash) { return (uint32_t)(hash >> (64 - k->bits)); }

/* Some rows of a batch, all of one partition and not late. */
typedef struct kept_input {
    unsigned side;
    const column *columns;  /* as the side's layout has them */
    const uint64_t *hashes; /* of the keys; by row of the batch, as times */
    const int64_t *times;
    const uint32_t *rows;
    uint32_t n;
} kept_input;

/* *done, 0 at first, counts rows that were taken, also before TW_ERR_MEMORY: the call may be repeated then. Without `wait`
 * none is when another thread has the partition. */
tw_status join_kept_take(join_kept *k, uint32_t part, const kept_input *in, bool wait, uint32_t *done, join_findings *found,
                         tw_error *err);
/* No row of a time before the watermark is to come: forgets, and finds who has no partner. *out: no row that is found
 * from now on is older. */
tw_status join_kept_advance(join_kept *k, int64_t watermark, join_findings *found, int64_t *out, tw_error *err);

void join_findings_clear(join_findings *f);

/* As frames whose tag is the side. Nobody takes rows meanwhile. */
tw_status join_kept_save(const join_kept *k, struct saved_part *to, tw_error *err);
tw_status join_kept_load(join_kept *k, const struct saved_part *from, tw_error *err);

static inline row_when row_when_of(const row_layout *l, const uint8_t *row) {
    row_when w;
    memcpy(&w, row + l->extra_offset, sizeof w);
    return w;
}

/* Times that partners of a row of `side` may have. */
typedef struct time_range {
    int64_t low, high;
} time_range;
static inline time_range join_kept_range(const join_kept *k, unsigned side, int64_t time) {
    int64_t down = side == LEFT ? k->range.before : k->range.after, up = side == LEFT ? k->range.after : k->range.before;
    return (time_range){time < INT64_MIN + down ? INT64_MIN : time - down, time > INT64_MAX - up ? INT64_MAX : time + up};
}
static inline bool is_within(const row_layout *l, const uint8_t *row, time_range r) {
    int64_t time = row_when_of(l, row).time;
    return r.low <= time && time <= r.high;
}
/* Whether rows of this side without a partner come out. */
static inline bool join_gives_unmatched(const join *j, unsigned side) {
    return side == LEFT ? join_keeps_left(j) || j->kind == JOIN_ANTI : join_keeps_right(j);
}

#endif
