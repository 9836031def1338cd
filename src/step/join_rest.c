/* What a join still has to give when the left side has ended: partitions that were put aside, and rows
 * of the right side without a match. A split is one partition. */
#include <stdlib.h>

#include "step/join_pair.h"

#define LANE_MEMORY_BYTES ((size_t)16 << 20) /* as the engine counts lanes */

typedef struct rest_reader {
    reader reader;
    join_pair *pair;
} rest_reader;

static join *of_source(source *s) { return (join *)((char *)s - offsetof(join, source)); }

static tw_status no_memory(tw_error *err) { return error_set(err, TW_ERR_MEMORY, "out of memory for a join"); }

static uint64_t rows_of(const join *j, unsigned side, uint32_t p) {
    exchange *x = j->sides[side].rows;
    return x && (side == RIGHT || p < j->n_partitions) ? exchange_rows(x, p) : 0;
}

/* Without a batch of the left side no table was ever made. */
static bool has_table(const join *j, uint32_t p) {
    return p < j->n_partitions && j->later && !j->later[p] && j->tables[p].capacity > 0;
}

static bool has_rest(const join *j, uint32_t p) {
    if (has_table(j, p)) return join_keeps_right(j);
    return rows_of(j, LEFT, p) > 0 || (join_keeps_right(j) && rows_of(j, RIGHT, p) > 0);
}

static tw_status rest_start(source *self, run_context *run, uint64_t *n_splits, tw_error *err) {
    join *j = of_source(self);
    j->resting = true;
    free(j->chosen);
    j->n_chosen = 0;
    j->chosen = malloc((j->n_partitions + 1) * sizeof *j->chosen);
    if (!j->chosen) return no_memory(err);
    if (j->sides[LEFT].rows) exchange_seal(j->sides[LEFT].rows);
    /* Tables first: they make room for the others. */
    for (int table = 1; table >= 0; table--)
        for (uint32_t p = 0; p <= j->n_partitions; p++)
            if (has_table(j, p) == table && has_rest(j, p)) j->chosen[j->n_chosen++] = p;
    if (!join_keeps_right(j)) join_unload_tables(j);
    buffer_unref(j->heap); /* each table's rows go as soon as they were given */
    j->heap = NULL;
    *n_splits = j->n_chosen;
    return TW_OK;
}

/* A half of what states may hold, for all lanes together. */
static size_t pair_bytes(const run_context *run) {
    size_t limit = memory_limit(run->memory), lanes = limit / LANE_MEMORY_BYTES;
    if (lanes > run->parallelism) lanes = run->parallelism;
    return limit / 8 * 3 / (lanes ? lanes : 1);
}

static tw_status rest_next(reader *self, batch **out, tw_error *err) {
    return join_pair_next(((rest_reader *)self)->pair, out, err);
}

static void rest_reader_free(reader *self) {
    join_pair_free(((rest_reader *)self)->pair);
    free(self);
}

static const reader_class rest_reader_class = {.next = rest_next, .free = rest_reader_free};

static tw_status rest_open(source *self, uint64_t split, reader **out, tw_error *err) {
    join *j = of_source(self);
    if (split >= j->n_chosen) return TW_END;
    uint32_t p = j->chosen[split];
    rest_reader *r = calloc(1, sizeof *r);
    if (!r) return no_memory(err);
    r->reader = (reader){.class = &rest_reader_class, .position = split << 32};
    tw_status status = has_table(j, p) ? join_pair_create_unmatched(j, p, &r->pair, err)
                                       : join_pair_create(j, p, pair_bytes(j->run), &r->pair, err);
    if (status == TW_OK) *out = &r->reader;
    else free(r);
    return status;
}

static void rest_prune(source *self, const bool *needed) {
    join *j = of_source(self);
    j->asked = true;
    for (uint32_t i = 0; i < j->out->n; i++) j->columns[i].needed |= needed[i];
}

static void rest_describe(const source *self, char *out, size_t capacity) {
    const join *j = of_source((source *)(uintptr_t)self);
    strncat(out, join_keeps_right(j) ? "partitions that did not fit, rows without a match" : "partitions that did not fit",
            capacity - 1);
}

/* The last pipeline of the join is over: what it held is given back now. One that never began, as nobody
 * wants its rows, may end before the others. */
static void rest_free(source *self) {
    join *j = of_source(self);
    if (j->resting) join_unload(j);
    join_release(j);
}

const source_class join_rest_class = {
    .start = rest_start,
    .open = rest_open,
    .prune = rest_prune,
    .describe = rest_describe,
    .free = rest_free,
};
