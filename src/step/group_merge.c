#include "step/group_merge.h"

#include <stdlib.h>

/* Partitions of an exchange that wait for their turn. */
typedef struct merge_work {
    exchange *exchange;
    bool owned; /* the exchange is freed with its last partition */
    uint32_t partition, end, depth;
    struct merge_work *next;
} merge_work;

struct group_merge {
    group_store *store;
    merge_work *work;      /* a stack: what was split again comes first */
    group_table table;
    bool open;             /* the first partition of the work is being merged, */
    row_block *block;      /* this block of it, */
    group_progress progress; /* so far */
    exchange *parts;       /* the table was too small: its groups go here and are merged later */
    size_t bytes;          /* of the partitions in the table */
    uint64_t complete;     /* groups in the table, the first ones, to which nothing will come any more */
    struct flush_scratch *scratch;
    bool merged;           /* those are to be given now, from here on: */
    uint64_t given;
    uint32_t chunk, row;
    buffer *heap;
    tw_status failed;      /* for good */
    tw_error error;
};

static void pop_work(group_merge *m) {
    merge_work *w = m->work;
    m->work = w->next;
    if (w->owned) exchange_free(w->exchange);
    free(w);
}

static tw_status push_work(group_merge *m, exchange *x, bool owned, uint32_t begin, uint32_t end, uint32_t depth, tw_error *err) {
    merge_work *w = malloc(sizeof *w);
    if (!w) return error_set(err, TW_ERR_MEMORY, "out of memory for groups");
    *w = (merge_work){x, owned, begin, end, depth, m->work};
    m->work = w;
    return TW_OK;
}

void group_merge_free(group_merge *m) {
    if (!m) return;
    while (m->work) pop_work(m);
    row_block_free(m->block);
    exchange_free(m->parts);
    buffer_unref(m->heap);
    group_table_destroy(&m->table);
    free(m->scratch);
    free(m);
}

tw_status group_merge_open(group_store *s, uint64_t split, group_merge **out, tw_error *err) {
    group_merge *m = calloc(1, sizeof *m);
    if (!m) return error_set(err, TW_ERR_MEMORY, "out of memory for groups");
    m->store = s;
    m->scratch = flush_scratch_new();
    tw_status status = m->scratch ? TW_OK : error_set(err, TW_ERR_MEMORY, "out of memory for groups");
    if (status == TW_OK) status = group_table_init(&m->table, s->shape, s->run->memory, s->merged_bytes_max, err);
    m->table.keeps_one = true;
    if (status == TW_OK) status = push_work(m, s->exchange, false, s->first_partition[split], s->first_partition[split + 1], 0, err);
    if (status == TW_OK) *out = m;
    else group_merge_free(m);
    return status;
}

/* The table is full. What is complete in it can be given; the rest goes to parts. */
static tw_status overflow(group_merge *m, tw_error *err) {
    group_store *s = m->store;
    uint32_t depth = m->work->depth + 1;
    /* Groups that can't be told apart any further, as the fragments of one key, may take what there is. */
    if (m->complete == 0 && depth > s->depth_max && m->table.rows.n > 1 && m->table.bytes_max < SIZE_MAX) {
        m->table.bytes_max = SIZE_MAX;
        return TW_OK;
    }
    if (m->complete == 0 && (depth > s->depth_max || m->table.rows.n < 2))
        return error_set(err, TW_ERR_MEMORY, "run.memory is too small: what one group holds must fit in its share of it");
    if (!m->parts)
        TRY(exchange_create(s->run->memory, s->run->spill, s->shape->layout, GROUP_SUB_PARTITIONS, 0, &m->parts, err));
    TRY(group_table_flush(&m->table, m->complete, m->parts, depth, m->scratch, err));
    if (m->complete) m->merged = true;
    else group_table_rewind(&m->table);
    return TW_OK;
}

/* The partition has been read. */
static tw_status close_partition(group_merge *m, tw_error *err) {
    uint32_t depth = m->work->depth + 1;
    m->open = false;
    m->work->partition++;
    if (!m->parts) {
        m->complete = m->table.rows.n;
        return TW_OK;
    }
    TRY(group_table_flush(&m->table, 0, m->parts, depth, m->scratch, err));
    group_table_reset(&m->table);
    exchange_seal(m->parts);
    TRY(push_work(m, m->parts, true, 0, GROUP_SUB_PARTITIONS, depth, err));
    m->parts = NULL;
    m->bytes = 0;
    return TW_OK;
}

/* Sets m->open, unless there is nothing to be merged with what the table has: then m->merged. */
static void open_partition(group_merge *m) {
    while (m->work && m->work->partition == m->work->end) pop_work(m);
    if (!m->work) {
        m->merged = true;
        return;
    }
    uint64_t more = exchange_partition_bytes(m->work->exchange, m->work->partition);
    if (more == 0) m->work->partition++;
    else if (m->table.rows.n && m->bytes + more > m->store->merged_bytes_max / 3) m->merged = true;
    else m->open = true;
    if (!m->open) return;
    if (m->table.rows.n == 0) group_table_expect(&m->table, exchange_rows(m->work->exchange, m->work->partition));
    m->bytes += more;
}

static tw_status take_block(group_merge *m, tw_error *err) {
    merge_work *w = m->work;
    m->progress = (group_progress){0};
    return exchange_take(w->exchange, w->partition, &m->block, err);
}

/* Merges the block, or as much of it as there is room for while the table has groups to be given. */
static tw_status merge_block(group_merge *m, tw_error *err) {
    tw_status status;
    group_progress before = {.rows = UINT32_MAX};
    while ((status = group_table_merge(&m->table, m->block->rows->data, m->block->n, &m->progress, err)) == TW_END) {
        TRY(group_table_stuck(&before, &m->progress, err));
        before = m->progress;
        TRY(overflow(m, err));
        if (m->merged) return TW_OK;
    }
    TRY(status);
    row_block_free(m->block);
    m->block = NULL;
    return run_cancelled(m->store->run) ? error_set(err, TW_ERR_CANCELLED, "interrupted") : TW_OK;
}

static tw_status fail_for_good(group_merge *m, tw_status status, const tw_error *err) {
    m->failed = status;
    if (err) m->error = *err;
    return status;
}

/* Merges as many partitions as belong together into the table. An error of reading leaves all as it was. */
static tw_status fill_table(group_merge *m, tw_error *err) {
    while (!m->merged) {
        tw_status status = TW_OK;
        if (!m->open) {
            open_partition(m);
            continue;
        }
        if (!m->block) status = take_block(m, err);
        if (status == TW_OK) status = merge_block(m, err);
        else if (status == TW_END) status = close_partition(m, err);
        else return status;
        if (status != TW_OK) return fail_for_good(m, status, err);
    }
    return TW_OK;
}

tw_status group_merge_table(group_merge *m, group_table **out, uint64_t *n, tw_error *err) {
    if (m->failed != TW_OK) {
        if (err) *err = m->error;
        return m->failed;
    }
    TRY(fill_table(m, err));
    *out = &m->table;
    *n = m->complete;
    return m->complete ? TW_OK : TW_END;
}

tw_status group_merge_rows(group_merge *m, uint32_t most, const uint8_t **rows, uint32_t *n, buffer **heap, tw_error *err) {
    group_table *t;
    uint64_t complete;
    TRY(group_merge_table(m, &t, &complete, err));
    if (most > m->complete - m->given) most = (uint32_t)(m->complete - m->given);
    if (!m->heap) TRY(arena_rows_heap(&m->table.rows, &m->heap, err));
    *heap = m->heap;
    *n = 0;
    size_t stride = m->store->shape->layout->stride;
    uint32_t row = m->row;
    for (uint32_t chunk = m->chunk; chunk < m->table.rows.n_chunks && *n < most; chunk++, row = 0) {
        uint8_t *base;
        uint32_t count = arena_rows_chunk(&m->table.rows, chunk, &base);
        for (; row < count && *n < most; row++) rows[(*n)++] = base + (size_t)row * stride;
    }
    return TW_OK;
}

void group_merge_advance(group_merge *m, uint32_t n) {
    m->row += n;
    m->given += n;
    uint8_t *base;
    for (uint32_t count; m->given < m->complete && m->row >= (count = arena_rows_chunk(&m->table.rows, m->chunk, &base)); m->chunk++)
        m->row -= count;
    if (m->given == m->complete) group_merge_skip(m);
}

void group_merge_skip(group_merge *m) {
    buffer_unref(m->heap);
    m->heap = NULL;
    group_table_reset(&m->table);
    m->table.bytes_max = m->store->merged_bytes_max;
    m->merged = false;
    m->chunk = m->row = 0;
    m->complete = m->given = 0;
    m->bytes = 0;
}
