/* aggregate.h: what a group remembers about its rows, and how: one entry in a table for each function.
 *
 * A state is `bytes` bytes in the group's row, all zero when nothing was added, and for some functions a
 * view field of that row besides, whose bytes lie in the table's arena. count_distinct only counts: that
 * it is given each value once is the affair of group_state.c. Float sums are kept as a pair of
 * doubles whose sum is exact to about 106 bits (Knuth's TwoSum; Dekker, "A floating-point technique for
 * extending the available precision", 1971), and a count of what was carried out of them before they could
 * overflow: results do not depend on the order of addition. */
#ifndef STEP_AGGREGATE_H
#define STEP_AGGREGATE_H

#include "step/arena_rows.h"
#include "step/steps.h"

typedef enum aggregate_kind {
    AGGREGATE_COUNT_ROWS,
    AGGREGATE_COUNT,
    AGGREGATE_COUNT_DISTINCT,
    AGGREGATE_COUNT_SET, /* count_distinct that keeps the values in the group: for groups that are merged further */
    AGGREGATE_SUM,
    AGGREGATE_MEAN,
    AGGREGATE_VARIANCE,
    AGGREGATE_STDDEV,
    AGGREGATE_MIN,
    AGGREGATE_MAX,
    AGGREGATE_FIRST,
    AGGREGATE_LAST,
    AGGREGATE_FIRST_ROW, /* first, but nulls count: for distinct */
    AGGREGATE_QUANTILE,
    AGGREGATE_COLLECT,
} aggregate_kind;

typedef struct aggregate aggregate;

/* Rows to be added: groups[i] is the row of input row first + i. */
typedef struct aggregate_input {
    uint8_t *const *groups;
    uint32_t first, n;
    const column *column; /* NULL for AGGREGATE_COUNT_ROWS; for AGGREGATE_COUNT_DISTINCT the tags */
    uint64_t position;    /* of input row 0 */
    arena_rows *arena;
    uint32_t done;        /* out, with TW_ERR_MEMORY: rows that were added before it was refused */
} aggregate_input;

struct aggregate {
    aggregate_kind kind;
    const char *name;       /* of the output column */
    const type *input;      /* NULL for AGGREGATE_COUNT_ROWS */
    const type *output;
    uint32_t column;        /* of the input batch */
    double fraction;        /* of a quantile */
    int32_t tag;            /* of a count_distinct: see group_state.h */
    uint32_t bytes;         /* of fixed state */
    bool has_view;          /* and a view field */
    uint32_t offset;        /* of the fixed state in the row */
    uint32_t view_offset;   /* of the view field in the row */
    tw_status (*add)(const aggregate *a, aggregate_input *in, tw_error *err);
    /* Merges state `from` into `to`; TW_ERR_MEMORY: refused, and `to` is as it was. */
    tw_status (*merge)(const aggregate *a, uint8_t *to, const uint8_t *from, arena_rows *arena, tw_error *err);
    /* The results of n groups. Bytes of views may be shared with `heap`, which keeps the rows' arena. */
    tw_status (*finish)(const aggregate *a, memory *m, const uint8_t *const *groups, uint32_t n, buffer *heap,
                        column *out, tw_error *err);
};

/* Fills in types, sizes and functions for `kind` over `input`. TW_ERR_JOB with a message when the type
 * does not suit. */
tw_status aggregate_init(aggregate *a, aggregate_kind kind, const type *input, tw_error *err);
const char *aggregate_name(aggregate_kind kind);
/* What min and max of times remember; some time was added. */
int64_t aggregate_extreme_time(const aggregate *a, const uint8_t *group);
/* "count", "sum(price)", "quantile(x, 0.99)" -> kind, the text of the argument (allocated, "" if none),
 * fraction. `column_in_text` (from 1) of an error in err->column. */
tw_status aggregate_parse(const char *text, aggregate_kind *kind, char **argument, uint32_t *argument_at,
                          double *fraction, tw_error *err);

/* aggregate_bytes.c: the ones whose state is a view. */
extern const struct aggregate_functions {
    tw_status (*add)(const aggregate *, aggregate_input *, tw_error *);
    tw_status (*merge)(const aggregate *, uint8_t *, const uint8_t *, arena_rows *, tw_error *);
    tw_status (*finish)(const aggregate *, memory *, const uint8_t *const *, uint32_t, buffer *, column *, tw_error *);
} aggregate_extreme_bytes, aggregate_place_bytes, aggregate_quantile, aggregate_collect, aggregate_set;

#endif
