#include "step/group_store.h"

#include "engine/checkpoint.h"

#include <math.h>
#include <stdlib.h>

enum {
    split_rows = 65536,          /* partitions are merged together up to about this many rows */
    thin_check_groups = 65536,
    thin_groups = 32768,
    apart_groups = 8192,
    apart_flushes = 32,
    flush_rows = 8192,
};

static const double apart_ratio = 0.9; /* of groups to rows, from which on combining in the cache is not worth it */

typedef struct flush_scratch {
    const uint8_t *from[flush_rows];
    uint32_t to[flush_rows];
} flush_scratch;

flush_scratch *flush_scratch_new(void) { return malloc(sizeof(flush_scratch)); }

/* ---- the store ---- */

tw_status group_store_start(group_store *s, run_context *run, uint32_t lane_tables, tw_error *err) {
    s->run = run;
    size_t state = memory_limit(run->memory) / 4 * 3;
    /* One step's tables are filled while those of the step before are read; the rest is for exchanges. */
    s->table_bytes_max = state / 2 / ((size_t)run->parallelism * lane_tables);
    s->merged_bytes_max = state / 8 * 3 / run->parallelism;
    s->depth_max = GROUP_DEPTH_MAX;
    return exchange_create(run->memory, run->spill, s->shape->layout, GROUP_PARTITIONS, 0, &s->exchange, err);
}

/* Neighbouring small partitions become one split, so that a small result is one batch. */
tw_status group_store_seal(group_store *s, tw_error *err) {
    exchange_seal(s->exchange);
    s->first_partition = calloc(GROUP_PARTITIONS + 1, sizeof *s->first_partition);
    if (!s->first_partition) return error_set(err, TW_ERR_MEMORY, "out of memory for groups");
    uint64_t rows = 0, bytes = 0;
    for (uint32_t p = 0; p < GROUP_PARTITIONS; p++) {
        uint64_t more = exchange_rows(s->exchange, p), more_bytes = exchange_partition_bytes(s->exchange, p);
        s->rows += more;
        if (more == 0) continue;
        if (s->n_splits == 0 || rows + more > split_rows || bytes + more_bytes > s->merged_bytes_max / 3) {
            s->first_partition[s->n_splits++] = p;
            rows = bytes = 0;
        }
        rows += more;
        bytes += more_bytes;
    }
    s->first_partition[s->n_splits] = GROUP_PARTITIONS;
    return TW_OK;
}

void group_store_clear(group_store *s) {
    exchange_free(s->exchange);
    group_shape_free(s->shape);
    free(s->first_partition);
    *s = (group_store){0};
}

/* ---- flushing ---- */

/* Eight bits first, then six each time. */
static uint32_t partition_of(uint64_t hash, uint32_t depth) {
    if (depth == 0) return (uint32_t)(hash >> 56);
    return (uint32_t)(hash >> (56 - 6 * depth)) % GROUP_SUB_PARTITIONS;
}

tw_status group_table_flush(group_table *t, uint64_t first, exchange *to, uint32_t depth, flush_scratch *scratch,
                            tw_error *err) {
    const arena_rows *rows = &t->rows;
    size_t stride = t->shape->layout->stride;
    uint32_t n = 0;
    for (uint32_t c = 0; c < rows->n_chunks; c++) {
        uint8_t *row;
        uint32_t count = arena_rows_chunk(rows, c, &row), skip = first < count ? (uint32_t)first : count;
        first -= skip;
        row += skip * stride;
        for (uint32_t i = skip; i < count; i++, row += stride) {
            scratch->from[n] = row;
            scratch->to[n] = partition_of(row_header(row), depth);
            if (++n < flush_rows) continue;
            TRY(exchange_append_rows(to, scratch->from, n, scratch->to, err));
            n = 0;
        }
    }
    if (n) TRY(exchange_append_rows(to, scratch->from, n, scratch->to, err));
    return TW_OK;
}

tw_status group_table_stuck(const group_progress *before, const group_progress *now, tw_error *err) {
    if (memcmp(before, now, sizeof *now) != 0) return TW_OK;
    return error_set(err, TW_ERR_MEMORY, "run.memory is too small: what one group holds must fit in its share of it");
}

/* ---- lanes ---- */

tw_status group_lane_init(group_lane *l, group_store *s, tw_error *err) {
    *l = (group_lane){.store = s};
    TRY(group_table_init(&l->table, s->shape, s->run->memory, s->table_bytes_max, err));
    l->scratch = flush_scratch_new();
    if (l->scratch) return TW_OK;
    group_lane_clear(l);
    return error_set(err, TW_ERR_MEMORY, "out of memory for groups");
}

void group_lane_clear(group_lane *l) {
    if (l->store) group_table_destroy(&l->table);
    free(l->scratch);
    *l = (group_lane){0};
}

/* How many groups there are, if all are equally likely, when so many rows had so many: groups / rows is
 * (1 - e^-x) / x for x rows a group. */
static double expected_groups(uint64_t rows, uint64_t groups) {
    double ratio = (double)groups / (double)rows, low = 1e-9, high = 64;
    for (int i = 0; i < 60; i++) {
        double x = sqrt(low * high);
        if (-expm1(-x) / x > ratio) low = x;
        else high = x;
    }
    return (double)rows / low;
}

/* Whether a table as large as there may be would be full before rows met their groups again: then it is emptied
 * while it still fits the cache. */
static bool is_thin(const group_lane *l) {
    uint64_t groups = l->table.rows.n;
    double bytes = (double)group_table_bytes(&l->table) / (double)groups;
    return expected_groups(l->rows_since_flush, groups) * bytes > (double)l->table.bytes_max;
}

/* How the table is used next, from what it has now. */
static void choose_mode(group_lane *l) {
    if (l->flushes_apart) {
        l->flushes_apart--;
    } else if (l->table.rows.n >= thin_groups / 2) {
        l->thin = is_thin(l);
        bool apart = l->thin && (double)l->table.rows.n > apart_ratio * (double)l->rows_since_flush;
        l->flushes_apart = apart ? apart_flushes : 0;
    }
    l->table.groups_max = l->flushes_apart ? apart_groups : l->thin ? thin_groups : UINT64_MAX;
}

tw_status group_lane_flush(group_lane *l, tw_error *err) {
    bool was_thin = l->thin;
    choose_mode(l);
    bool apart = l->flushes_apart > 0;
    l->rows_since_flush = 0;
    l->checked = false;
    TRY(group_table_flush(&l->table, 0, l->store->exchange, 0, l->scratch, err));
    if (was_thin && l->thin && apart == l->table.apart) group_table_rewind(&l->table);
    else group_table_reset(&l->table);
    l->table.apart = apart;
    return TW_OK;
}

tw_status group_lane_add(group_lane *l, const group_input *in, tw_error *err) {
    group_progress progress = {0}, before = {.rows = UINT32_MAX};
    for (;;) {
        uint32_t begin = progress.rows;
        tw_status status = group_table_add(&l->table, in, &progress, err);
        l->rows_since_flush += progress.rows - begin;
        if (status == TW_OK) break;
        if (status != TW_END) return status;
        TRY(group_table_stuck(&before, &progress, err));
        before = progress;
        TRY(group_lane_flush(l, err));
    }
    if (l->checked || l->table.rows.n < thin_check_groups) return TW_OK;
    l->checked = true;
    return is_thin(l) ? group_lane_flush(l, err) : TW_OK;
}

/* ---- going on after a stop ---- */

typedef struct saving {
    group_store *store;
    saved_part *to;
    int64_t tag;
} saving;

static tw_status save_blocks(void *context, const row_block *const *blocks, uint32_t n, tw_error *err) {
    const saving *s = context;
    return part_put_rows(s->to, s->tag, s->store->shape->layout, blocks, n, err);
}

tw_status group_store_save(group_store *s, saved_part *to, int64_t tag, tw_error *err) {
    saving context = {s, to, tag};
    return exchange_each(s->exchange, save_blocks, &context, err);
}

tw_status group_lane_save(group_lane *l, saved_part *to, int64_t tag, tw_error *err) {
    return arena_rows_save(&l->table.rows, to, tag, err);
}

tw_status group_store_append(group_store *s, const uint8_t *const *rows, uint32_t n, tw_error *err) {
    uint32_t to[1024];
    for (uint32_t i = 0; i < n; i++) to[i] = partition_of(row_header(rows[i]), 0);
    return exchange_append_rows(s->exchange, rows, n, to, err);
}

tw_status group_store_load(group_store *s, const saved_part *from, uint32_t frame, tw_error *err) {
    const row_layout *l = s->shape->layout;
    const uint8_t *rows[1024];
    row_block *b;
    TRY(part_read_rows(from, frame, s->run->memory, l, &b, err));
    tw_status status = TW_OK;
    for (uint32_t done = 0, n; done < b->n && status == TW_OK; done += n) {
        n = b->n - done < 1024 ? b->n - done : 1024;
        for (uint32_t i = 0; i < n; i++) rows[i] = b->rows->data + (size_t)(done + i) * l->stride;
        status = group_store_append(s, rows, n, err);
    }
    row_block_free(b);
    return status;
}
